"""Runs to look at without training anything big: a small real one and a synthetic one of published size."""
