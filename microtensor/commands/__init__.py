"""The commands of the `microtensor` program, beside those in cli.py. They look up: at networks and their weights."""
