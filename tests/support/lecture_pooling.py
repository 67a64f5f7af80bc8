"""The lecture's example of max pooling."""

IMAGE = [[2, 4, 8, 3, 6], [9, 3, 4, 2, 5], [5, 4, 6, 3, 1], [2, 3, 1, 3, 4], [2, 7, 4, 5, 7]]


GRADIENT = [[1, 3, 1], [1, 4, 2], [6, 2, 1]]


LECTURE = {(0, 2): 4, (1, 0): 2, (2, 2): 6, (4, 1): 8, (4, 4): 1}
"""Of the image's gradient: what is not 0."""
