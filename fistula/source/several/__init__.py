"""Several sequences: which volumes go together, where they lie, and how one is laid onto the slices of the other."""
