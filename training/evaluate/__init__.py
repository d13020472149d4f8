"""Metrics (pure functions) and the runners that apply them to a model and its baselines."""
