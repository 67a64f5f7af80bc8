"""What all other code is built on: arrays of NumPy or CuPy, devices, threads, memory, and text for a terminal."""
