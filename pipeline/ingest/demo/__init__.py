"""Garments drawn for the demo: the simulated catalogue has no photo in it."""
