# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The paper in small: its ablations with models that train in minutes (`g2vlm reproduce`)."""
