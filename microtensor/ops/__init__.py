"""The operations, a family a file: rules under `@op`, and what is composed of them."""
