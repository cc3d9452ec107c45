"""Comparisons, and how many patients they need."""
