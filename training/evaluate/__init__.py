# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Metrics (pure functions) and the runners that apply them to a model and its baselines."""
