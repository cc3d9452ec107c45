"""Runs and studies: what identifies a run, what state it is in, what must be there before it starts."""
