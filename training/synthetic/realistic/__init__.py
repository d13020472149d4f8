# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Furnished scenes of real furniture models, and a renderer that photographs them.

    scene = furnished_scene(seed, open_stock(folder))
    T_world_cam = camera_path(scene, seed, num_frames=24, style="hand")
    frames = Photographer(scene).take(T_world_cam, intrinsics(65.0, (126, 168)), (126, 168))

Needs the extra `scenes` (Embree, Open Image Denoise, trimesh) and a library of models.
"""

from .photo import Photographer
from .rooms import furnished_scene, open_stock
from .scene import FurnishedScene

__all__ = ["FurnishedScene", "Photographer", "furnished_scene", "open_stock"]
