# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Measures of a model that only tools take; nothing of it runs on a robot."""
