# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Doors under hypothesis: whatever comes, data or a refusal in words."""
