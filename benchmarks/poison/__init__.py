"""Training sets with poison in them, and networks that have learnt them."""
