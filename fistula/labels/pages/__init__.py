"""Pages on which slices are labelled."""
