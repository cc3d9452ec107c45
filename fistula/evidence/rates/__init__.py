"""Rates at a threshold."""
