"""Speed, measured beside what a user would otherwise install: `python -m benchmarks`."""
