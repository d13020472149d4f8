"""Procedural rooms with exact ground truth, and a ray caster that photographs them.

    room = make_room(seed)
    T_world_cam = camera_path(room, seed, num_frames=60, style="robot")
    frames = render(room, T_world_cam, intrinsics(65.0, (240, 320)), (240, 320), supersample=2)

World axes: x forward, y left, z up, metres, floor at z = 0, room centred on the z axis.
Cameras use OpenCV optical axes.
"""

from .paths import PATH_STYLES, camera_path, intrinsics
from .render import RenderedFrames, render
from .room import Room, SceneObject, Split, make_room, scene_seed

__all__ = [
    "PATH_STYLES",
    "RenderedFrames",
    "Room",
    "SceneObject",
    "Split",
    "camera_path",
    "intrinsics",
    "make_room",
    "render",
    "scene_seed",
]
