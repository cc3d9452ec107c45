"""One short module per command: configuration in, one call, a summary out."""
