"""Maps of a finding, and the points that they learn from."""
