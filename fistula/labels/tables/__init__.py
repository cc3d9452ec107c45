"""Tables of labels and ratings, as people have them."""
