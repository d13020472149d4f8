# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A drive to and fro that never ends, and a runtime that returns its true geometry at once.

Runtime "tests.chaos.loop_drive:create"; `model` is the file that `write_loop` has made. Pictures
go to the end of the drive and back again, so every place is seen again and loops are found; the
map comes to its bound in memory and stays there. A frame says which picture it is of in the last
three digits of its stamp (`stamped`), so the runtime looks nothing up.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from g2vlm_demo.drives import DriveSpec, make_drive
from numpy.typing import NDArray

from benchmarks.instant_runtime import InstantRuntime, InstantScene
from g2vlm_map.poses import inverse
from g2vlm_model.interface import FrameWindow, GeometryPrediction

__all__ = ["MOST_PICTURES", "create", "picture_number", "read_pictures", "stamped", "write_loop"]

MOST_PICTURES = 1000  # as many as three digits name
PICTURE_HW = (168, 224)
_TAKEN = 2  # pixels of the picture to one of the runtime's, along a side


def write_loop(
    path: Path, size_hw: tuple[int, int] = PICTURE_HW, pictures: int = 160, scene: str = "hall"
) -> None:
    """Render a drive and keep what the camera and the runtime need of it.

    Args:
        path: An .npz: rgb (N, H, W, 3) uint8, depth (N, H / 2, W / 2) float32 metres, T_world_cam
            (N, 4, 4) float64 optical axes, K (3, 3) of the depth's pixels.
        size_hw: H and W; even.
        pictures: Of the drive's beginning; at most `MOST_PICTURES`.
        scene: As in `DriveSpec`.
    """
    drive = make_drive(DriveSpec(scene, size_hw=size_hw, supersample=1, rate_hz=10.0), keep=False)
    count = min(pictures, len(drive.stamp_N), MOST_PICTURES)
    frames = [drive.frame(number) for number in range(count)]
    half = slice(None, None, _TAKEN)
    K = drive.K.copy()
    K[:2] /= _TAKEN
    np.savez(
        path,
        rgb=np.stack([frame.rgb for frame in frames]),
        depth=np.stack([frame.depth[half, half] for frame in frames]),
        T_world_cam=np.stack([frame.T_world_cam for frame in frames]),
        K=K,
    )


def read_pictures(path: Path) -> NDArray[np.uint8]:
    """The pictures, (N, H, W, 3) RGB."""
    with np.load(path, allow_pickle=False) as file:
        pictures: NDArray[np.uint8] = file["rgb"]
    return pictures


def picture_number(count: int, pictures: int) -> int:
    """The picture of the `count`-th frame: to the end, and back to the beginning."""
    place = count % (2 * pictures - 2)
    return min(place, 2 * pictures - 2 - place)


def stamped(time_ns: int, number: int) -> int:
    """A stamp that says which picture it is of."""
    assert 0 <= number < MOST_PICTURES, number
    return time_ns - time_ns % MOST_PICTURES + number


class LoopRuntime(InstantRuntime):
    """Gives every window what is true of its pictures, in metres times a half."""

    UNIT = 2.0  # metres in a scene unit: the scale is unknown to the map, as a model's is

    def __init__(self, path: Path) -> None:
        super().__init__()
        with np.load(path, allow_pickle=False) as file:
            depth_NHW = file["depth"] / np.float32(self.UNIT)
            self._T_world_cam_N44 = file["T_world_cam"]
            self._K = file["K"].astype(np.float32)
            self._color_NHW3 = file["rgb"][:, ::_TAKEN, ::_TAKEN].copy()
        v, u = np.indices(depth_NHW.shape[1:], dtype=np.float32)
        rays_HW3 = np.stack([u, v, np.ones_like(u)], -1) @ np.linalg.inv(self._K).T
        self._points_NHW3 = (rays_HW3 * depth_NHW[..., None]).astype(np.float32)
        self._valid_NHW = depth_NHW > 0

    def observe(
        self, window: FrameWindow, *, cancelled: Callable[[], bool] | None = None
    ) -> InstantScene:
        """Pictures, depth and poses as they were rendered; nothing is computed but one product."""
        at = [frame.stamp_ns % MOST_PICTURES for frame in window.frames]
        T_first = inverse(self._T_world_cam_N44[at[0]])
        T_world_cam_N44 = (T_first @ self._T_world_cam_N44[at]).astype(np.float32)
        T_world_cam_N44[:, :3, 3] /= self.UNIT
        points_NHW3 = self._points_NHW3[at]
        world_NHW3 = np.einsum("nij,nhwj->nhwi", T_world_cam_N44[:, :3, :3], points_NHW3)
        world_NHW3 += T_world_cam_N44[:, None, None, :3, 3]
        valid = self._valid_NHW[at]
        geometry = GeometryPrediction(
            local_points=points_NHW3,
            world_points=world_NHW3,
            T_world_cam=T_world_cam_N44,
            confidence=np.ones(valid.shape, np.float32),
            valid=valid,
            K=np.tile(self._K, (len(at), 1, 1)),
            colors=self._color_NHW3[at],
            confidence_source="head",
        )
        return InstantScene(window, geometry, {"total": 0.0})


def create(
    model: str | Path = "", device: str = "", precision: str = "", prompt_mode: str = ""
) -> LoopRuntime:
    """What the name stands for."""
    return LoopRuntime(Path(model))
