# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The node's way of a replay: the real node as a child process, driven over ROS."""
