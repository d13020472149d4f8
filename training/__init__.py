# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Training: synthetic rooms, losses, the trainer and the metrics (installed as g2vlm_training)."""
