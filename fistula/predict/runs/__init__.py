"""Trained runs, and what they know."""
