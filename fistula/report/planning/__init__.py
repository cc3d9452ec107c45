"""Plans for studies to come, from assumptions or from a pilot study."""
