# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""GASP (arXiv 2605.30231): correspondences between frames teach the language model's tokens."""
