# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What is learned: the stages, their losses, and which weights each of them trains."""
