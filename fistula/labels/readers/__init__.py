"""Several readers of the same slices."""
