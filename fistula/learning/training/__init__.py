"""What goes on beside the steps of training, and what is kept of them."""
