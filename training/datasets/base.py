# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What every data set gives: clips of posed pictures, checked once at this border.

Axes and units are the same whatever the source: `T_world_cam` maps OpenCV camera axes (x right,
y down, z forward) to the world, lengths are metres where `metric` says so, depth is the z
coordinate and 0 where it is unknown, pixel (0, 0) is the centre of the top-left pixel.

Shape letters: N frames, H W pixels.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from g2vlm_model.interface.words import plain

from ..synthetic.room import SceneObject

__all__ = ["Clip", "DataError", "FrameSequence", "Refusals", "SceneInfo", "known_depth"]

_LOG = logging.getLogger(__name__)
_ORTHONORMAL = 1e-3


class DataError(ValueError):
    """Data on disk that cannot be used; the text names the file, and is fit for a terminal.

    Args:
        text: May hold keys and values of the file as they are.
    """

    def __init__(self, text: str) -> None:
        super().__init__(plain(text))


@dataclass(frozen=True)
class SceneInfo:
    """What is known about the place of a clip beyond its pictures.

    Args:
        objects: The named things, in the world axes of the clip.
        room_size: Length along x, width along y, height along z in metres; None outdoors or
            unknown.
        floor_area: Square metres inside of the walls; None outdoors or unknown.
        seed: What `make_room` made the scene with; None for all others.
        split: "train", "val" or "test"; "" unknown.
    """

    objects: tuple[SceneObject, ...] = ()
    room_size: tuple[float, float, float] | None = None
    floor_area: float | None = None
    seed: int | None = None
    split: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain lists and numbers; `from_json` gives back an equal object."""
        return dataclasses.asdict(self)

    @staticmethod
    def from_json(content: dict[str, Any]) -> SceneInfo:
        """Read what `to_json` gave.

        Raises:
            DataError: A key is missing, unknown or of the wrong kind.
        """
        try:
            values = {key: _frozen(value) for key, value in content.items() if key != "objects"}
            objects = tuple(
                SceneObject(**{key: _frozen(value) for key, value in thing.items()})
                for thing in content["objects"]
            )
            return SceneInfo(objects=objects, **values)
        except (AttributeError, KeyError, TypeError) as error:
            raise DataError(f"scene description cannot be read: {error}") from error


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value


@dataclass(frozen=True)
class Clip:
    """N frames of one place, of equal size.

    Args:
        rgb: (N, H, W, 3) uint8 sRGB.
        depth: (N, H, W) float32 z-depth, metres where `metric`; 0 where unknown.
        T_world_cam: (N, 4, 4) float64 camera-to-world.
        K: (N, 3, 3) float64 intrinsics in pixels.
        object_id: (N, H, W) uint8, 0 no named thing, else `SceneObject.object_id`.
        normals: (N, H, W, 3) float32 unit normals (shards round their length by up to 1 %) in
            camera axes, towards the camera; 0 where unknown.
        scene: What is known about the place.
        name: Where the frames come from, for messages.
        metric: Whether lengths are metres, not up to a scale.
        complete: Depth 0 says that nothing is there (sky), not that it is unknown.
        posed: (N,) bool, frames whose pose is known; None: all. Of the others `T_world_cam` is
            the identity, and says nothing.
        clean: Depth is free enough of noise for normals of neighbouring pixels; the published code
            takes the normal loss of such sources alone.

    Raises:
        DataError: No frame, shapes or kinds that do not fit, depth that is not a number or
            below 0, a pose that is no rigid motion, intrinsics that no lens has.
    """

    rgb: NDArray[np.uint8]
    depth: NDArray[np.float32]
    T_world_cam: NDArray[np.float64]
    K: NDArray[np.float64]
    object_id: NDArray[np.uint8] | None = None
    normals: NDArray[np.float32] | None = None
    scene: SceneInfo | None = None
    name: str = "clip"
    metric: bool = True
    complete: bool = False
    posed: NDArray[np.bool_] | None = None
    clean: bool = True

    def __post_init__(self) -> None:
        self._check_shapes()
        bad = ~(self.depth >= 0) | ~np.isfinite(self.depth)
        if bad.any():
            frame = int(np.flatnonzero(bad.any(axis=(1, 2)))[0])
            raise DataError(
                f"{self.name}: frame {frame} has {int(bad[frame].sum())} depths that are negative "
                "or no number; 0 says unknown"
            )
        _check_poses(self.T_world_cam, self.name)
        focal = self.K[:, (0, 1), (0, 1)]
        if not np.isfinite(self.K).all() or not (focal > 0).all():
            raise DataError(f"{self.name}: focal lengths are {focal.tolist()}, expected above 0")

    def __len__(self) -> int:
        return int(self.rgb.shape[0])

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of the pictures."""
        return int(self.rgb.shape[1]), int(self.rgb.shape[2])

    @property
    def all_posed(self) -> bool:
        """Whether every frame's pose is known."""
        return self.posed is None or bool(self.posed.all())

    def _check_shapes(self) -> None:
        if self.rgb.ndim != 4 or self.rgb.shape[-1] != 3 or 0 in self.rgb.shape:
            raise DataError(
                f"{self.name}: pictures have shape {self.rgb.shape}, expected (N, H, W, 3)"
            )
        frames, *size = self.rgb.shape[:3]
        expected: dict[str, tuple[tuple[int, ...], type]] = {
            "rgb": (self.rgb.shape, np.uint8),
            "depth": ((frames, *size), np.float32),
            "T_world_cam": ((frames, 4, 4), np.float64),
            "K": ((frames, 3, 3), np.float64),
            "object_id": ((frames, *size), np.uint8),
            "normals": ((frames, *size, 3), np.float32),
            "posed": ((frames,), np.bool_),
        }
        for key, (shape, kind) in expected.items():
            value = getattr(self, key)
            if value is not None and (value.shape != shape or value.dtype != kind):
                raise DataError(
                    f"{self.name}: {key} is {value.dtype} {value.shape}, expected "
                    f"{np.dtype(kind)} {shape} beside pictures of {self.rgb.shape}"
                )


def _check_poses(T_world_cam_N44: NDArray[np.float64], name: str) -> None:
    R = T_world_cam_N44[:, :3, :3]
    with np.errstate(invalid="ignore"):
        skew = np.abs(R @ R.transpose(0, 2, 1) - np.eye(3)).max(axis=(1, 2))
        rigid = (skew < _ORTHONORMAL) & (np.linalg.det(R) > 0)
    last_row = (T_world_cam_N44[:, 3] == (0, 0, 0, 1)).all(axis=1)
    good = rigid & last_row & np.isfinite(T_world_cam_N44).all(axis=(1, 2))
    if not good.all():
        frame = int(np.flatnonzero(~good)[0])
        raise DataError(
            f"{name}: pose of frame {frame} is no rigid camera-to-world motion: "
            f"{T_world_cam_N44[frame].tolist()}"
        )


class Refusals:
    """Counts what was left out, and says so at the first, second, fourth, eighth time.

    Args:
        what: Plural noun for the log, e.g. "windows".
    """

    def __init__(self, what: str) -> None:
        self.what = what
        self.count = 0
        self.last = ""

    def add(self, reason: object, count: int = 1) -> None:
        """Count one, or several of which the last had this reason."""
        before, self.count, self.last = self.count, self.count + count, str(reason)
        if before.bit_length() != self.count.bit_length():
            _LOG.warning("refused %d %s so far; the last: %s", self.count, self.what, reason)


class FrameSequence(Protocol):
    """Frames along one camera path, read when they are asked for."""

    @property
    def name(self) -> str:
        """For messages."""

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of the pictures."""

    def __len__(self) -> int:
        """Frames that have a pose."""

    def read(self, frames: Sequence[int]) -> Clip:
        """These frames, in this order.

        Raises:
            DataError: A file is missing, damaged or does not fit.
        """


def known_depth(depth: NDArray[Any], far: float = np.inf) -> NDArray[np.float32]:
    """Depth as float32 with 0 wherever the sensor or renderer gave no usable number.

    Args:
        depth: Any numbers; NaN, infinite, negative and those above `far` become 0.
        far: Largest depth to believe.
    """
    with np.errstate(invalid="ignore"):
        good = np.isfinite(depth) & (depth > 0) & (depth <= far)
    return np.where(good, depth, 0).astype(np.float32)
