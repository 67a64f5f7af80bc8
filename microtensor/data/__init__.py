"""Data sets, and the loader that cuts them into batches."""
