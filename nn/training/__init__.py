"""The training loop, metrics, history, callbacks and checkpoints."""
