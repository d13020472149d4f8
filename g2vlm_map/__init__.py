# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A robot's world out of windows: what turns frames into scenes, segments and answers.

numpy and OpenCV, no torch, no rclpy; of the model only `interface`.
"""
