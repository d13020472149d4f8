# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Clips for training: shards and folders on disk, and what makes windows and batches of them."""
