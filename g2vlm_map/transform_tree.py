# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A robot's tree of frames as it is told piece by piece, looked up in time.

The same questions that tf2's buffer answers, for where tf2 is not installed: the chain from each
frame up to a common ancestor, moving links interpolated, nothing extrapolated. Frames have one
parent each; the latest one told holds.
"""

from __future__ import annotations

import threading

import numpy as np

from .poses import Floats, StampedPoses, inverse

__all__ = ["TransformTree", "TransformUnknownError"]

_MAX_DEPTH = 64


class TransformUnknownError(LookupError):
    """A transform that cannot be told; the text says what is missing."""


class TransformTree:
    """Links by child; safe between threads.

    Args:
        keep_s: How long moving links are kept.
        max_gap_s: Two poses of a link further apart are not interpolated.
    """

    def __init__(self, keep_s: float = 30.0, max_gap_s: float = 1.0) -> None:
        self._keep_s, self._max_gap_s = keep_s, max_gap_s
        self._lock = threading.Lock()
        self._parents: dict[str, str] = {}
        self._static: dict[str, Floats] = {}
        self._moving: dict[str, StampedPoses] = {}

    def add(
        self, parent: str, child: str, stamp_ns: int, T_parent_child: Floats, *, static: bool
    ) -> str:
        """Take a link over.

        Returns:
            "" or what is wrong with it: a cause of `StampedPoses`, "self" for a frame that would be
            its own parent, "cycle" for one that would be its own ancestor. Those three and "order"
            and "value" leave the tree as it was.
        """
        parent, child = parent.lstrip("/"), child.lstrip("/")
        if parent == child or not parent or not child:
            return "self"
        if T_parent_child.shape != (4, 4) or not np.isfinite(T_parent_child).all():
            return StampedPoses.VALUE
        with self._lock:
            if child in self._chain(parent):
                return "cycle"
            known = self._parents.get(child)
            if known != parent or (child in self._static) != static:
                self._static.pop(child, None)
                self._moving.pop(child, None)
                self._parents[child] = parent
            if static:
                self._static[child] = T_parent_child
                return ""
            if child not in self._moving:
                self._moving[child] = StampedPoses(self._keep_s, self._max_gap_s)
            return self._moving[child].add(stamp_ns, T_parent_child)

    def parent(self, child: str) -> str:
        """The parent of a frame; "" where none is known."""
        with self._lock:
            return self._parents.get(child, "")

    def newest(self, target: str, source: str) -> int:
        """The latest stamp at which the transform between two frames is known; 0: all is static.

        Raises:
            TransformUnknownError: They do not hang together.
        """
        with self._lock:
            up, down = self._paths(target, source)
            moving = [self._moving[frame].newest for frame in (*up, *down) if frame in self._moving]
        return min((newest[0] for newest in moving if newest is not None), default=0)

    def lookup(self, target: str, source: str, stamp_ns: int = 0) -> Floats:
        """T_target_source (4, 4) at a stamp; 0 is the latest one that all links know.

        Raises:
            TransformUnknownError: The frames do not hang together, or not at that time.
        """
        stamp_ns = stamp_ns or self.newest(target, source)
        with self._lock:
            up, down = self._paths(target, source)
            T_target, T_source = np.eye(4), np.eye(4)  # of both in their common ancestor
            for frame in up:
                T_target = self._link(frame, stamp_ns) @ T_target
            for frame in down:
                T_source = self._link(frame, stamp_ns) @ T_source
        return inverse(T_target) @ T_source

    def _link(self, child: str, stamp_ns: int) -> Floats:
        if child in self._static:
            return self._static[child]
        poses = self._moving[child]
        T = poses.at(stamp_ns)
        if T is None:
            newest = poses.newest
            late = 0.0 if newest is None else (stamp_ns - newest[0]) / 1e9
            raise TransformUnknownError(
                f"{self._parents[child]} -> {child} is not known at {stamp_ns / 1e9:.3f} s: its "
                f"newest is {late:.3f} s older"
                if late > 0
                else f"{self._parents[child]} -> {child} is not known at {stamp_ns / 1e9:.3f} s"
            )
        return T

    def _paths(self, target: str, source: str) -> tuple[list[str], list[str]]:
        """The links from each frame up to their common ancestor, by child."""
        target, source = target.lstrip("/"), source.lstrip("/")
        above_target, above_source = self._chain(target), self._chain(source)
        common = next((frame for frame in above_target if frame in above_source), None)
        if common is None:
            known = set(self._parents) | set(self._parents.values())
            unknown = [frame for frame in (target, source) if frame not in known]
            what = f"nobody tells of {' and '.join(unknown)}" if unknown else "two separate trees"
            raise TransformUnknownError(f"no transform from {source} to {target}: {what}")
        return (
            above_target[: above_target.index(common)],
            above_source[: above_source.index(common)],
        )

    def _chain(self, frame: str) -> list[str]:
        frames = [frame]
        while frames[-1] in self._parents and len(frames) < _MAX_DEPTH:
            frames.append(self._parents[frames[-1]])
        return frames
