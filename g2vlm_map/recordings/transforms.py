# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A recorded TF tree, looked up and interpolated in time.

A transform between `parent` and `child` is T_parent_child: it maps child coordinates to parent
coordinates (x_parent = T_parent_child @ x_child), as geometry_msgs/TransformStamped stores it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..poses import quaternion_xyzw
from .source import RecordingError

MAX_DEPTH = 64
MAX_METRES = 1e9  # what is further overflows where it is squared
MAX_STRETCH = 0.05


def transform_from(translation: Any, rotation: Any) -> NDArray[np.float64]:
    """(4, 4) from a geometry_msgs Vector3 or Point and a Quaternion.

    Raises:
        RecordingError: The quaternion has no length or a number is not finite.
    """
    quaternion = np.array([rotation.x, rotation.y, rotation.z, rotation.w], np.float64)
    position = np.array([translation.x, translation.y, translation.z], np.float64)
    if not np.isfinite(quaternion).all() or not (np.abs(position) <= MAX_METRES).all():
        raise RecordingError(
            f"transform is not finite, or leads further than {MAX_METRES:g} m: {position} "
            f"{quaternion}"
        )
    length = math.hypot(*quaternion)  # a square would overflow
    if not 1e-6 <= length < math.inf:
        raise RecordingError(f"quaternion {quaternion} has no length")
    T = np.eye(4)
    T[:3, :3] = rotations(quaternion / length)
    T[:3, 3] = position
    return T


def rigid(T_M44: NDArray[np.float64]) -> NDArray[np.float64]:
    """Transforms (M, 4, 4) whose rotations are the nearest exact ones.

    Text files carry rotations with a few digits; what compares poses wants exact ones.

    Raises:
        RecordingError: An upper left part that is no rotation, not even roughly.
    """
    U, stretch, Vt = np.linalg.svd(T_M44[:, :3, :3])
    handed = np.linalg.det(U @ Vt) > 0
    off = np.abs(stretch - 1.0).max(-1)
    if not (handed.all() and (off < MAX_STRETCH).all()):
        worst = int(np.argmax(np.where(handed, off, np.inf)))
        raise RecordingError(
            f"pose {worst} holds no rotation: singular values {stretch[worst].round(3)}, "
            f"{'right' if handed[worst] else 'left'}-handed"
        )
    exact: NDArray[np.float64] = T_M44.copy()
    exact[:, :3, :3] = U @ Vt
    return exact


class TransformTree:
    """Collects /tf and /tf_static of a recording and answers lookups."""

    def __init__(self) -> None:
        self._parents: dict[str, str] = {}
        self._static: dict[str, NDArray[np.float64]] = {}
        self._moving: dict[str, dict[int, NDArray[np.float64]]] = {}

    def add(
        self,
        parent: str,
        child: str,
        stamp_ns: int,
        T_parent_child: NDArray[np.float64],
        *,
        static: bool,
    ) -> None:
        """Store one transform; names lose a leading slash.

        Raises:
            RecordingError: The child already has another parent.
        """
        parent, child = parent.lstrip("/"), child.lstrip("/")
        known = self._parents.setdefault(child, parent)
        if known != parent:
            raise RecordingError(f"TF: {child!r} has two parents, {known!r} and {parent!r}")
        if static:
            self._static[child] = T_parent_child
        else:
            self._moving.setdefault(child, {})[stamp_ns] = T_parent_child

    def chain(self, child: str) -> list[str]:
        """Frames from `child` up to the root, `child` first; only itself where unknown.

        Raises:
            RecordingError: The frames form a loop.
        """
        frames = [child.lstrip("/")]
        while frames[-1] in self._parents:
            frames.append(self._parents[frames[-1]])
            if len(frames) > MAX_DEPTH:
                raise RecordingError(f"TF loops: {' -> '.join(frames[:8])} ...")
        return frames

    def moving_stamps(self, child: str) -> NDArray[np.int64]:
        """Stamps (M,), increasing, of the most often updated moving link above `child`."""
        links = [self._moving[frame] for frame in self.chain(child) if frame in self._moving]
        busiest = max(links, key=len, default={})
        return np.array(sorted(busiest), np.int64)

    def moves(self, child: str) -> bool:
        """Whether the link between a frame and its parent was sent again and again."""
        return child in self._moving

    def static_between(self, a: str, b: str) -> NDArray[np.float64] | None:
        """T_a_b (4, 4) of two frames that nothing moves against each other, else None."""
        chain_a, chain_b = self.chain(a), self.chain(b)
        common = next((frame for frame in chain_a if frame in chain_b), None)
        if common is None:
            return None
        up = chain_a[: chain_a.index(common)]
        down = chain_b[: chain_b.index(common)]
        if any(frame in self._moving for frame in (*up, *down)):
            return None
        T_common_a, T_common_b = np.eye(4), np.eye(4)
        for frame in up:
            T_common_a = self._static[frame] @ T_common_a
        for frame in down:
            T_common_b = self._static[frame] @ T_common_b
        return np.asarray(np.linalg.inv(T_common_a) @ T_common_b)

    def lookup(self, child: str, stamps_ns: NDArray[np.int64]) -> NDArray[np.float64]:
        """T_root_child (M, 4, 4) at stamps; moving links are interpolated, ends are held.

        Raises:
            RecordingError: Nothing is known about `child`.
        """
        frames = self.chain(child)
        if len(frames) == 1:
            raise RecordingError(f"TF knows no parent of {child!r}")
        T_M44 = np.tile(np.eye(4), (len(stamps_ns), 1, 1))
        for frame in frames[:-1]:
            T_M44 = self._link(frame, stamps_ns) @ T_M44
        return T_M44

    def _link(self, child: str, stamps_ns: NDArray[np.int64]) -> NDArray[np.float64]:
        if child not in self._moving:
            return np.tile(self._static[child], (len(stamps_ns), 1, 1))
        known_ns = np.array(sorted(self._moving[child]), np.int64)
        known_M44 = np.stack([self._moving[child][int(stamp)] for stamp in known_ns])
        return interpolate_poses(known_ns, known_M44, stamps_ns)


def interpolate_poses(
    known_ns: NDArray[np.int64], known_M44: NDArray[np.float64], stamps_ns: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Poses at `stamps_ns`: linear positions, slerped rotations, the ends held.

    Args:
        known_ns: (K,) increasing.
        known_M44: (K, 4, 4).
        stamps_ns: (M,).

    Returns:
        (M, 4, 4) float64.
    """
    if len(known_ns) == 1:
        return np.tile(known_M44[0], (len(stamps_ns), 1, 1))
    after = np.searchsorted(known_ns, stamps_ns, side="right").clip(1, len(known_ns) - 1)
    before = after - 1
    share_M = (stamps_ns - known_ns[before]) / (known_ns[after] - known_ns[before])
    share_M1 = share_M.clip(0.0, 1.0)[:, None]
    quaternions_K4 = np.array([quaternion_xyzw(T[:3, :3]) for T in known_M44])
    poses = np.tile(np.eye(4), (len(stamps_ns), 1, 1))
    poses[:, :3, :3] = rotations(_slerp(quaternions_K4[before], quaternions_K4[after], share_M1))
    start_M3, end_M3 = known_M44[before, :3, 3], known_M44[after, :3, 3]
    poses[:, :3, 3] = start_M3 + share_M1 * (end_M3 - start_M3)
    return poses


def rotations(quaternions_M4: NDArray[np.float64]) -> NDArray[np.float64]:
    """(..., 3, 3) rotations of unit quaternions (..., 4) in the order x y z w."""
    x, y, z, w = np.moveaxis(quaternions_M4, -1, 0)
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)),
        (2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)),
        (2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)),
    )
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def _slerp(
    start_M4: NDArray[np.float64], end_M4: NDArray[np.float64], share_M1: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Unit quaternions between two, along the shorter arc."""
    cosine_M1 = (start_M4 * end_M4).sum(-1, keepdims=True)
    end_M4 = np.where(cosine_M1 < 0, -end_M4, end_M4)
    angle_M1 = np.arccos(np.abs(cosine_M1).clip(0.0, 1.0))
    sine_M1 = np.sin(angle_M1)
    near_M1 = sine_M1 < 1e-9  # there the arc is its chord
    divisor_M1 = np.where(near_M1, 1.0, sine_M1)
    first_M1 = np.where(near_M1, 1 - share_M1, np.sin((1 - share_M1) * angle_M1) / divisor_M1)
    second_M1 = np.where(near_M1, share_M1, np.sin(share_M1 * angle_M1) / divisor_M1)
    between_M4 = first_M1 * start_M4 + second_M1 * end_M4
    return np.asarray(between_M4 / np.linalg.norm(between_M4, axis=-1, keepdims=True))
