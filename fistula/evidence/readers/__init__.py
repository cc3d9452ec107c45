"""Several readers of the same cases."""
