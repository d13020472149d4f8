# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A window with its truth, and the tables that make asking about it quick.

Shape letters: N frames, H W pixels, M places.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..room import SceneObject

__all__ = ["Seen", "View"]

_MIN_SHARE = 0.003  # of a picture's pixels that a thing needs to be asked about
_TRACE_SHARE = 0.0008  # of a picture's pixels from which on a thing can be confused with another
_NEAR, _FAR = 0.2, 15.0
_SMOOTH = 1.08  # largest depth ratio in the 3 x 3 pixels around a mark


@dataclass(frozen=True)
class Seen:
    """A thing in one frame.

    Args:
        thing: What it is.
        frame: Index of the frame.
        pixels: How many show it.
        row, column: Mean of these pixels.
        name: Words that fit only this thing among those in sight, "" where there are none.
    """

    thing: SceneObject
    frame: int
    pixels: int
    row: float
    column: float
    name: str


@dataclass(frozen=True, eq=False)
class View:
    """A window with its truth; the frames in the order that the model sees.

    Args:
        objects: The named things of the place, world axes, metres.
        depth_NHW: z-depth, metres; 0 where unknown.
        object_id_NHW: uint8, 0 where nothing is named.
        T_world_cam_N44: Camera-to-world; world z points up.
        K_N33: Pixels.
        room_size: Length, width and height in metres, or None.
        floor_area: Square metres inside of the walls, or None.
    """

    objects: tuple[SceneObject, ...]
    depth_NHW: NDArray[np.float32]
    object_id_NHW: NDArray[np.uint8]
    T_world_cam_N44: NDArray[np.float64]
    K_N33: NDArray[np.float64]
    room_size: tuple[float, float, float] | None = None
    floor_area: float | None = None

    @property
    def frames(self) -> int:
        """Number of frames."""
        return len(self.depth_NHW)

    @property
    def size_hw(self) -> tuple[int, int]:
        """Picture size."""
        return int(self.depth_NHW.shape[1]), int(self.depth_NHW.shape[2])

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Picture size of every frame."""
        return [self.size_hw] * self.frames

    @cached_property
    def T_cam_world_N44(self) -> NDArray[np.float64]:
        """World-to-camera."""
        inverse: NDArray[np.float64] = np.linalg.inv(self.T_world_cam_N44).astype(np.float64)
        return inverse

    @cached_property
    def by_id(self) -> dict[int, SceneObject]:
        """The things by their object id."""
        return {thing.object_id: thing for thing in self.objects}

    @cached_property
    def counts_N256(self) -> NDArray[np.int64]:
        """Pixels of every object id in every frame."""
        return np.stack([np.bincount(ids.ravel(), minlength=256) for ids in self.object_id_NHW])

    @cached_property
    def traces(self) -> tuple[frozenset[int], ...]:
        """Ids of the things of every frame that are at least a trace."""
        least = max(4, round(_TRACE_SHARE * self.depth_NHW[0].size))
        return tuple(
            frozenset(int(i) for i in np.flatnonzero(counts >= least) if int(i) in self.by_id)
            for counts in self.counts_N256
        )

    @cached_property
    def seen(self) -> tuple[tuple[Seen, ...], ...]:
        """Things with enough pixels in every frame, named apart from those of that frame."""
        return tuple(self._seen(frame, self.traces[frame]) for frame in range(self.frames))

    @cached_property
    def seen_anywhere(self) -> tuple[Seen, ...]:
        """The same for all frames, named apart from everything in the window."""
        union = frozenset().union(*self.traces)
        return tuple(seen for frame in range(self.frames) for seen in self._seen(frame, union))

    @cached_property
    def named(self) -> tuple[tuple[Seen, ...], ...]:
        """Of `seen`, those with a name whose middle lies in the picture."""
        return tuple(self._centred(seen) for seen in self.seen)

    @cached_property
    def named_anywhere(self) -> tuple[Seen, ...]:
        """Of `seen_anywhere`, those with a name whose middle lies in the picture."""
        return self._centred(self.seen_anywhere)

    def _centred(self, seen: tuple[Seen, ...]) -> tuple[Seen, ...]:
        found = []
        for frame in range(self.frames):
            ours = [one for one in seen if one.frame == frame and one.name]
            if ours:
                centres = np.array([one.thing.centre for one in ours], np.float64)
                good = self.inside(self.project(frame, centres))
                found += [one for one, inside in zip(ours, good, strict=True) if inside]
        return tuple(found)

    def _seen(self, frame: int, rivals: frozenset[int]) -> tuple[Seen, ...]:
        ids = self.object_id_NHW[frame]
        height, width = ids.shape
        least = max(12, round(_MIN_SHARE * ids.size))
        counts = self.counts_N256[frame]
        names = Counter(self.by_id[i].name for i in rivals)
        full = Counter((self.by_id[i].colour, self.by_id[i].name) for i in rivals)
        rows = np.bincount(ids.ravel(), np.repeat(np.arange(height), width), 256)
        columns = np.bincount(ids.ravel(), np.tile(np.arange(width), height), 256)
        found = []
        for thing in self.objects:
            number = thing.object_id
            if counts[number] < least:
                continue
            name = ""
            if names[thing.name] == 1:
                name = thing.name
            elif thing.colour and full[thing.colour, thing.name] == 1:
                name = f"{thing.colour} {thing.name}"
            row, column = rows[number] / counts[number], columns[number] / counts[number]
            found.append(Seen(thing, frame, int(counts[number]), row, column, name))
        return tuple(found)

    @cached_property
    def steady_NHW(self) -> NDArray[np.bool_]:
        """Pixels that a mark can stand at: known depth without an edge beside it."""
        low = high = self.depth_NHW
        for axis in (1, 2):
            around = [np.roll(low, step, axis) for step in (-1, 1)]
            low = np.minimum(np.minimum(low, around[0]), around[1])
            around = [np.roll(high, step, axis) for step in (-1, 1)]
            high = np.maximum(np.maximum(high, around[0]), around[1])
        steady: NDArray[np.bool_] = (low > _NEAR) & (high < _FAR) & (high < _SMOOTH * low)
        steady[:, :2] = steady[:, -2:] = steady[:, :, :2] = steady[:, :, -2:] = False
        return steady

    @cached_property
    def spots(self) -> tuple[tuple[NDArray[np.int64], NDArray[np.int64]], ...]:
        """Flat indices of the steady pixels of every frame: all of them, those on things."""
        found = []
        for steady, ids in zip(self.steady_NHW, self.object_id_NHW, strict=True):
            every = np.flatnonzero(steady)
            found.append((every, every[ids.ravel()[every] > 0]))
        return tuple(found)

    def world(self, frame: int, pixel_M2: NDArray[np.int64]) -> NDArray[np.float64]:
        """(M, 3) world points of (row, column) pixels."""
        z = self.depth_NHW[frame, pixel_M2[:, 0], pixel_M2[:, 1]].astype(np.float64)
        K, T = self.K_N33[frame], self.T_world_cam_N44[frame]
        x = (pixel_M2[:, 1] - K[0, 2]) / K[0, 0] * z
        y = (pixel_M2[:, 0] - K[1, 2]) / K[1, 1] * z
        moved: NDArray[np.float64] = np.stack((x, y, z), axis=-1) @ T[:3, :3].T + T[:3, 3]
        return moved

    def in_camera(self, frame: int, world_M3: NDArray[np.float64]) -> NDArray[np.float64]:
        """(M, 3) world points in the axes of a frame's camera."""
        T = self.T_cam_world_N44[frame]
        moved: NDArray[np.float64] = world_M3 @ T[:3, :3].T + T[:3, 3]
        return moved

    def project(self, frame: int, world_M3: NDArray[np.float64]) -> NDArray[np.float64]:
        """(M, 2) (row, column) of world points in a frame; not a number behind the camera."""
        local = self.in_camera(frame, world_M3)
        z = np.where(local[:, 2] > 1e-3, local[:, 2], np.nan)
        K = self.K_N33[frame]
        column = local[:, 0] / z * K[0, 0] + K[0, 2]
        row = local[:, 1] / z * K[1, 1] + K[1, 2]
        return np.stack((row, column), axis=-1)

    def inside(self, pixel_M2: NDArray[np.float64], margin: float = 0.03) -> NDArray[np.bool_]:
        """Which (row, column) lie in the picture, a share of its sides away from its edges."""
        height, width = self.size_hw
        edge = np.array([height, width]) * margin
        with np.errstate(invalid="ignore"):
            good = (pixel_M2 > edge) & (pixel_M2 < np.array([height, width]) - 1 - edge)
        result: NDArray[np.bool_] = np.all(good, axis=-1)
        return result
