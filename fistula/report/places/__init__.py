"""Where the finding is said to be."""
