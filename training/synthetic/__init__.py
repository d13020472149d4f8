# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Procedural rooms with exact ground truth, and a ray caster that photographs them.

    room = make_room(seed)
    T_world_cam = camera_path(room, seed, num_frames=60, style="robot")
    frames = render(room, T_world_cam, intrinsics(65.0, (240, 320)), (240, 320), supersample=2)

World axes: x forward, y left, z up, metres, floor at z = 0, room centred on the z axis.
Cameras use OpenCV optical axes.
"""

from .camera import CameraModel, draw_camera, photograph
from .correspond import Correspondences, correspondences
from .paths import PATH_STYLES, camera_path, intrinsics
from .pieces import OBJECT_NAMES
from .render import RenderedFrames, render, render_shots
from .room import Room, SceneObject, Split, make_room, scene_seed
from .studio import Shot

__all__ = [
    "OBJECT_NAMES",
    "PATH_STYLES",
    "CameraModel",
    "Correspondences",
    "RenderedFrames",
    "Room",
    "SceneObject",
    "Shot",
    "Split",
    "camera_path",
    "correspondences",
    "draw_camera",
    "intrinsics",
    "make_room",
    "photograph",
    "render",
    "render_shots",
    "scene_seed",
]
