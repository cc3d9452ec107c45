"""Statistics as pure functions on arrays. NumPy and SciPy only."""
