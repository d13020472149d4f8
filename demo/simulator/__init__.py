# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The robot of a drive as a process of its own: its topics, at real rates, through DDS.

    python -m g2vlm_demo.simulator --ros-args -p scene:=room -p stereo_m:=0.1

It follows the tour of its scene round after round, or /cmd_vel with `mode:=cmd_vel`.
"""
