"""Importing this makes full garbage collections rare: among imports they find nothing, and take a fifth of a start.

Young objects are looked through as often as ever.
"""

import gc

gc.set_threshold(*gc.get_threshold()[:2], 1000)
