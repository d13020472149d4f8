# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A run: what it starts from, its loop, processes, checkpoints, and the model at its end."""
