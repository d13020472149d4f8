# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Clips for training: shards on disk, and the reader that turns them into windows."""
