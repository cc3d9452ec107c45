"""Every test slice, to be looked at."""
