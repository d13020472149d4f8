# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The map as a `World`, made when somebody asks and something has changed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

from .axes import LevelAxes
from .mapping.keyframe import PlacedKeyframe
from .mapping.mapper import Mapper
from .scale.estimate import ScaleEstimate
from .sensing import Extrinsics, Sample
from .world import PathPose, World

__all__ = ["WorldView"]


class WorldView:
    """Safe between threads.

    Args:
        mapper: Whose map it shows.
        reference: Name of the reference camera.
        scale: The estimate of now.
    """

    def __init__(self, mapper: Mapper, reference: str, scale: Callable[[], ScaleEstimate]) -> None:
        self._mapper = mapper
        self._axes = LevelAxes(reference)
        self._levels = 0  # how often the axes changed
        self._sensed = 0  # how many extrinsics came
        self._told: list[str] = []
        self._scale = scale
        self._lock = threading.Lock()
        self._world = World()
        self._seen: tuple[int, int, int] = (-1, -1, -1)
        self._scale_seen: ScaleEstimate | None = None
        self._path: dict[int, tuple[PlacedKeyframe, PathPose]] = {}

    @property
    def now(self) -> World:
        """The map as it is."""
        with self._lock:
            graph = self._mapper.graph
            with graph.lock:
                scale = self._scale()  # in the unit of the poses of this moment
                seen = (graph.revision, self._mapper.segment, self._sensed)
                if seen == self._seen and scale is self._scale_seen:
                    return self._world
                world = World(
                    version=graph.version + scale.version + self._levels,
                    segment=self._mapper.segment,
                    keyframes=graph.placed,
                    scale=scale,
                    loops=graph.loops,
                    edges=graph.edges,
                )
            self._seen, self._scale_seen = seen, scale
            self._world, told = self._axes.apply(world)
            if told:
                self._levels += 1
                self._told.append(told)
                self._world = replace(self._world, version=self._world.version + 1)
            return self._world

    def sense(self, sample: Sample) -> None:
        """Take over what says which way is up."""
        with self._lock:
            self._axes.take(sample)
            self._sensed += isinstance(sample, Extrinsics)

    def forget(self) -> None:
        """Decide anew which way is up."""
        with self._lock:
            self._axes.forget()
            self._seen, self._told = (-1, -1, -1), []

    def restore(self, world: World) -> None:
        """A map from a file is a part of this one now: its segment's axes are as it says."""
        with self._lock:
            self._axes.restore(world)

    def level_changes(self) -> list[str]:
        """How the axes changed since the last call, in words; their version has too."""
        with self._lock:
            told, self._told = self._told, []
            return told

    def path(self, most: int) -> tuple[PathPose, ...]:
        """Where the reference camera was in the present segment.

        A pose that did not change since the last call is the same object.

        Args:
            most: So many of the newest poses.
        """
        world = self.now
        ours = [item for item in world.keyframes if item.segment == world.segment][-most:]
        with self._lock:
            known, self._path = self._path, {}
            for item in ours:
                number = item.keyframe.number
                before = known.get(number)
                if before is None or before[0].T_map_body is not item.T_map_body:
                    before = (item, PathPose(item.keyframe.stamp_ns, item.T_map_body))
                self._path[number] = before
            return tuple(pose for _, pose in self._path.values())
