"""Readers and other programs beside a study's networks."""
