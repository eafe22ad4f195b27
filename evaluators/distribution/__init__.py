"""Distances between sets of images: images -> features -> statistics -> distance."""
