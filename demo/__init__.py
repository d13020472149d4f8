# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A robot that does not exist: synthetic scenes, drives through them, and its sensors.

    drive = make_drive(DriveSpec(scene="room", seed=3))
    for frame in drive.frames():
        frame.rgb, frame.depth, frame.T_world_cam
    for sample in pipeline_inputs(drive):      # frames, odometry, scans in the order of time
        ...

World axes: x forward, y left, z up, metres, the floor at z = 0. The base stands on the floor, x
forward, z up; cameras have optical axes. `T_a_b` maps coordinates of b to a.
"""
