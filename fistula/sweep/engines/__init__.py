"""What runs the jobs of a study."""
