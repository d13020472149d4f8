# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The map: keyframes, verified edges between them, poses that agree with all edges."""
