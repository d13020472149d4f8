# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What the map looks like: points, occupancy, obstacles, made from the keyframes' depth."""
