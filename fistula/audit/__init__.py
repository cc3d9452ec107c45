"""Check a split before training: who stands on both sides of it, and what looks the same."""
