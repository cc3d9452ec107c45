"""A run's folder, and who may write into it."""
