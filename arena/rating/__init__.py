"""Ratings: pure functions from votes to numbers. No files, databases, clocks or random state in here."""
