"""The networks of the field's history: one paper, one file."""
