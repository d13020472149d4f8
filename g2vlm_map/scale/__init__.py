"""Metres: readings of the map's scale from whatever sensor speaks, and what they say together."""
