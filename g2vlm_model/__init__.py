# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""G²VLM: one model that reconstructs what cameras see and answers questions about it.

Importing this package imports neither torch nor any other heavy library; each of those is
imported where it is first used.
"""
