"""Score what is uploaded, on this machine."""
