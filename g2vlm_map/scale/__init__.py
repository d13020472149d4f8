# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Metres: readings of the map's scale from whatever sensor speaks, and what they say together."""
