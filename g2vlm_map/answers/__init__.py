"""Answers held against the geometry: what a text says, what the scene measures, do they agree."""
