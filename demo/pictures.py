# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What the robot's camera sees: pictures with one exposure per drive, their true depth, a cache.

Rendering takes about a tenth of a second a picture on one core, so what was rendered is kept:
in $G2VLM_DRIVES, else below the cache folder of the user, under a key of the scene, the poses,
the camera and the code that renders.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import os
from dataclasses import dataclass, replace
from pathlib import Path

import g2vlm_training.synthetic
import numpy as np
import torch
from g2vlm_training.synthetic import Room, Shot
from g2vlm_training.synthetic.raycast import camera_hits
from g2vlm_training.synthetic.studio import Studio, expose
from numpy.typing import NDArray

from g2vlm_model.interface.whole_files import remove_remains, whole_file

__all__ = ["Lens", "Photographer", "Picture", "PictureStore", "drives_folder"]

Floats = NDArray[np.float64]

_BRIGHTNESS = 0.24  # of the mean linear light in pictures, as the renderer exposes
_METER = 12  # pictures that set the exposure of a drive
_METER_HW = (24, 32)
_AT_ONCE = 8
_PER_FILE = 32
_SIGHT_M = 130.0  # what is farther away is not rendered


@dataclass(frozen=True, eq=False)
class Lens:
    """A pinhole camera and how finely it is rendered.

    Args:
        K: (3, 3) intrinsics in pixels, the centre of the top-left pixel at (0, 0).
        size_hw: Height and width in pixels.
        supersample: Rays per side of a pixel that an edge crosses; 1 is fastest.
    """

    K: Floats
    size_hw: tuple[int, int]
    supersample: int = 2


@dataclass(frozen=True, eq=False)
class Picture:
    """One picture.

    Args:
        rgb: (H, W, 3) uint8.
        depth: (H, W) float32 true z-depth, metres; 0 in the sky.
    """

    rgb: NDArray[np.uint8]
    depth: NDArray[np.float32]


class Photographer:
    """Renders a scene with one exposure.

    Args:
        room: The scene.
        lens: The camera.
        meter_N44: (N, 4, 4) poses, optical axes, whose mean light sets the exposure.
        mirror_x: The true depth ends at the plane x = `mirror_x`; None: there is no mirror.
    """

    def __init__(
        self, room: Room, lens: Lens, meter_N44: Floats, mirror_x: float | None = None
    ) -> None:
        self._room, self._lens, self._mirror_x = room, lens, mirror_x
        few = meter_N44[np.linspace(0, len(meter_N44) - 1, _METER).astype(int)]
        K = lens.K.copy()
        K[:2] *= _METER_HW[1] / lens.size_hw[1]
        self._gain = 0.0
        light = self._look(few, Lens(K, _METER_HW, 1))[0]
        self._gain = _BRIGHTNESS / max(1e-6, _level(light))

    def take(self, T_world_cam_N44: Floats) -> list[Picture]:
        """One picture for each pose (optical axes)."""
        pictures: list[Picture] = []
        for start in range(0, len(T_world_cam_N44), _AT_ONCE):
            poses = T_world_cam_N44[start : start + _AT_ONCE]
            _, rgb, depth = self._look(poses, self._lens)
            depth = self._to_the_mirror(depth, poses)
            pictures += [Picture(*pair) for pair in zip(rgb, depth, strict=True)]
        return pictures

    def _look(
        self, poses_N44: Floats, lens: Lens
    ) -> tuple[torch.Tensor, NDArray[np.uint8], NDArray[np.float32]]:
        """Linear light, pictures, z-depth."""
        shot = Shot(_near(self._room, poses_N44), poses_N44, lens.K)
        studio = Studio([shot], torch.device("cpu"))
        cameras = studio.cameras(lens.size_hw, 1)
        hits = camera_hits(studio.geometry, cameras)
        view = studio.look(cameras, hits)
        fine = lens.supersample > 1 and self._gain > 0.0
        edges = studio.edges(cameras, hits, view, lens.supersample) if fine else None
        light = view.light_FHW3
        # `expose` divides by the mean light of what it gets; the drive's own gain takes its place.
        factor = self._gain * _level(light) / _BRIGHTNESS
        rgb = expose(light, edges, studio.shot_F, [factor])
        return light, rgb.numpy(), view.depth_FHW.numpy()

    def _to_the_mirror(
        self, depth_NHW: NDArray[np.float32], poses_N44: Floats
    ) -> NDArray[np.float32]:
        """The depth, cut off where rays pass the mirror's plane."""
        if self._mirror_x is None:
            return depth_NHW
        height, width = self._lens.size_hw
        u, v = np.meshgrid(np.arange(width), np.arange(height))
        rays_HW3 = np.stack([u, v, np.ones_like(u)], axis=-1) @ np.linalg.inv(self._lens.K).T
        toward_NHW = np.einsum("nk,hwk->nhw", poses_N44[:, 0, :3], rays_HW3)
        gap_N = self._mirror_x - poses_N44[:, 0, 3]
        with np.errstate(divide="ignore"):
            plane = np.where(toward_NHW > 0, gap_N[:, None, None] / toward_NHW, np.inf)
        return np.minimum(depth_NHW, plane.astype(np.float32))


def _level(light_FHW3: torch.Tensor) -> float:
    """Mean light as `expose` reckons it."""
    return float(light_FHW3.flatten(1).clamp(max=4.0).mean())


def _near(room: Room, poses_N44: Floats) -> Room:
    """The room without what is out of sight: for large scenes, most of it."""
    middle = poses_N44[:, :3, 3].mean(axis=0)
    reach = np.linalg.norm(room.half_M3, axis=1)
    gap = np.linalg.norm(room.centre_M3 - middle, axis=1) - reach
    keep = gap < _SIGHT_M
    keep[0] = True
    if keep.all():
        return room
    parts = ("shape_M", "centre_M3", "half_M3", "turn_M33", "slope_M", "shades_M", "object_M")
    return replace(
        room, material_M6=room.material_M6[keep],
        **{name: getattr(room, name)[keep] for name in parts},
    )  # fmt: skip


class PictureStore:
    """The pictures of one drive, rendered when they are asked for, and kept.

    Args:
        room, lens, mirror_x: As for `Photographer`.
        T_world_cam_N44: (N, 4, 4) poses of all pictures, optical axes.
        meter_N44: Poses whose light sets the exposure: one for both cameras of a pair.
        folder: Where pictures are kept; None keeps nothing.
    """

    def __init__(
        self, room: Room, lens: Lens, T_world_cam_N44: Floats, meter_N44: Floats,
        mirror_x: float | None, folder: Path | None,
    ) -> None:  # fmt: skip
        self._room, self._lens, self._mirror_x = room, lens, mirror_x
        self._poses, self._meter = T_world_cam_N44, meter_N44
        self._folder = None if folder is None else folder / self._key()
        self._photographer: Photographer | None = None
        self._read: tuple[int, list[Picture]] = (-1, [])  # the file that was used last

    def __len__(self) -> int:
        return len(self._poses)

    def picture(self, number: int, *, alone: bool = False) -> Picture:
        """One picture.

        Args:
            number: Which one.
            alone: Where it is not kept yet, render it alone and keep nothing; else its
                neighbours are rendered with it and kept.
        """
        start = number - number % _PER_FILE
        if self._read[0] != start:
            pictures = self._file(start, alone)
            if pictures is None:
                return self.photographer.take(self._poses[number : number + 1])[0]
            self._read = (start, pictures)
        return self._read[1][number - start]

    @property
    def photographer(self) -> Photographer:
        """Who takes pictures at the exposure of this drive."""
        if self._photographer is None:
            self._photographer = Photographer(self._room, self._lens, self._meter, self._mirror_x)
        return self._photographer

    def _file(self, start: int, only_kept: bool) -> list[Picture] | None:
        """The pictures of one file, read or rendered; None where only kept ones are wanted."""
        path = None if self._folder is None else self._folder / f"{start:05d}.npz"
        if path is not None and path.is_file():
            with np.load(path, allow_pickle=False) as kept:
                pairs = zip(kept["rgb"], kept["depth"], strict=True)
                return [Picture(rgb, depth) for rgb, depth in pairs]
        if only_kept:
            return None
        pictures = self.photographer.take(self._poses[start : start + _PER_FILE])
        if path is not None:
            _keep(path, pictures)
        return pictures

    def _key(self) -> str:
        """Names what the pictures depend on: scene, poses, camera, the code that renders."""
        lens, digest = self._lens, hashlib.sha256(_code().encode())
        for name, value in vars(self._room).items():
            digest.update(name.encode())
            digest.update(
                value.tobytes() if isinstance(value, np.ndarray) else repr(value).encode()
            )
        digest.update(self._poses.tobytes() + self._meter.tobytes() + lens.K.tobytes())
        digest.update(repr((lens.size_hw, lens.supersample, self._mirror_x)).encode())
        return digest.hexdigest()[:20]


def _keep(path: Path, pictures: list[Picture]) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_remains(path.parent)
    with whole_file(path) as partial, partial.open("wb") as file:
        rgb = np.stack([picture.rgb for picture in pictures])
        np.savez_compressed(file, rgb=rgb, depth=np.stack([item.depth for item in pictures]))


def drives_folder() -> Path:
    """Where pictures are kept: $G2VLM_DRIVES, else g2vlm/drives below the user's cache."""
    own = os.environ.get("G2VLM_DRIVES", "")
    base = os.environ.get("XDG_CACHE_HOME", "")
    return Path(own) if own else (Path(base) if base else Path.home() / ".cache") / "g2vlm/drives"


@functools.cache
def _code() -> str:
    """Digest of the sources that decide what pictures look like."""
    digest = hashlib.sha256()
    rendering = Path(g2vlm_training.synthetic.__file__).parent
    for path in sorted(rendering.glob("*.py")):
        digest.update(path.read_bytes())
    for item in (Photographer, _near, _level):
        digest.update(inspect.getsource(item).encode())
    digest.update(repr((_BRIGHTNESS, _METER, _METER_HW, _SIGHT_M)).encode())
    return digest.hexdigest()
