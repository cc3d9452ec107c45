"""Learning from a cohort: data, network, what trains and how, one run."""

import logging
import os

# Before albumentations is imported anywhere: it looks for updates on the network otherwise.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
# Which torchmetrics imports: it tells of a new list of fonts, and of a home that it cannot write to.
logging.getLogger("matplotlib").setLevel(logging.ERROR)
