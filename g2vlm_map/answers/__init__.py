# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Answers held against the geometry: what a text says, what the scene measures, do they agree."""
