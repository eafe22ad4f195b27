"""Automatic scores: distances between sets of images, text-image alignment, and judges."""
