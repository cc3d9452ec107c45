"""What Hydra finds of this project: it takes plugins from packages under a top-level `hydra_plugins` alone."""
