"""How trees of tensors lie in files, a format a file. `state.py` chooses one by its suffix."""
