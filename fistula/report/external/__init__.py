"""Cohorts that a study never saw, and its own as other scanners might have shown them."""
