# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Looks at a graph or a bag from outside, and names the line that mends what is wrong.

`seen` is what a look leaves: plain data. `live` and `recorded` look, `check_*` judge and touch
nothing, `command` prints. What the node says of itself it says in the same words: the texts come
from where the node has them.
"""
