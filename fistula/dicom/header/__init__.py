"""What a header says, and how it is meant."""
