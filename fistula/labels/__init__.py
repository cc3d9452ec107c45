"""Pages on which radiologists label slices, the tables that they give, and how well readers agree."""
