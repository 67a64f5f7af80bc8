"""How trees of tensors lie in files, a format a file. `microtensor.state` chooses one by its suffix."""
