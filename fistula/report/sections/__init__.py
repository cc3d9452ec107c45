"""What single sections of the page say."""
