"""How figures look, and those of ranking and probability."""
