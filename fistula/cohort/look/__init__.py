"""A first look at an archive or a cohort, and what is suspicious about it."""
