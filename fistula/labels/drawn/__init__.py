"""What is drawn on images, as labels."""
