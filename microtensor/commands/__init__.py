"""The `microtensor` program: a file per command or pair of commands, and cli.py, which runs them."""
