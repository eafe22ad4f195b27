"""The arena: pairwise votes on generated images, and the ratings derived from them."""
