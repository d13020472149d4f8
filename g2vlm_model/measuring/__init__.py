"""Measures of a model that only tools take; nothing of it runs on a robot."""
