"""New images in, scores that can be checked out: a run's network, its own way of reading, its own operating point."""
