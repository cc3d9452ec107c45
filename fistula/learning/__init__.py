"""Learning from a cohort: data, network, what trains and how, one run."""

import os

# Before albumentations is imported anywhere: it looks for updates on the network otherwise.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
