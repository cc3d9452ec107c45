"""What is written of new images."""
