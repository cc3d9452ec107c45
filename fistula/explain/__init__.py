"""Where in a slice a classifier sees its class, and how well that is where the finding is."""
