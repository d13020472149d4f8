# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What the map knows around a scene, in the scene's own axes and units, as a question needs it.

One `World` is taken for an answer, with the scale that it holds: an answer is of one state of the
map. Asked for in the thread of the questions; obstacles are made by the same `DenseMap` as those
that the node publishes, of the newest keyframes alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from g2vlm_model.interface import SpatialAnswer

from .answers.asked import MapPose, Recalled
from .answers.intent import Intent, Kind
from .answers.passage import Nearby
from .answers.room import RoomExtent, patches_of, room_extent
from .answers.surroundings import FloorLevel, Surroundings, floor_of, together
from .dense.dense_map import DenseMap, DenseRules
from .dense.obstacles import obstacles_around
from .mapping.keyframe import PlacedKeyframe
from .options import PipelineOptions
from .poses import inverse, metric, rigid
from .scenes import SceneRecord
from .world import World

__all__ = ["SAID_SIGMA", "Around", "T_scene_map", "told_of_map"]

Floats = NDArray[np.float64]

SAID_SIGMA = 0.03  # m, of the floor under a base that stands on it
_ROOM_KEYFRAMES, _ROOM_POINTS = 60, 1500  # that walls are looked for in, and points of each


def T_scene_map(record: SceneRecord) -> Floats | None:
    """(4, 4) from the map's axes and units to the scene's; the scale is part of the turn.

    Args:
        record: As it stands in the map now (`SceneRecord.at`); None where it stands nowhere.
    """
    if record.T_map_cam is None:
        return None
    T_cam_map = inverse(record.T_map_cam)
    T_cam_map[:3] /= record.scale
    return np.asarray(record.geometry.T_world_cam[record.newest], np.float64) @ T_cam_map


class Around:
    """Makes `Surroundings`; one thread at a time.

    Args:
        options: In force; asked for each time.
    """

    def __init__(self, options: Callable[[], PipelineOptions]) -> None:
        self._options = options
        self._dense = DenseMap()
        self._room: tuple[object, RoomExtent] = (None, RoomExtent())

    def of(self, record: SceneRecord, world: World, intent: Intent) -> Surroundings:
        """What a question needs to know around a scene.

        Args:
            record: The scene as it stands in that world.
            world: The map.
            intent: The question: what it does not need is not made.
        """
        T = T_scene_map(record)
        scale = record.metric(world.scale)
        options = self._options()
        base = _base(record, world)
        if T is None:
            return Surroundings(T_world_base=base, scale=scale, reach=options.query.reach)
        R_scene_level = T[:3, :3] * record.scale @ world.T_level_map[:3, :3].T
        up_3 = R_scene_level[:, 2] if world.up_source else None
        floor, nearby, why = None, None, ""
        if intent.kind is Kind.ELEVATION and up_3 is not None:
            floor = self._floor(record, base, up_3, world)
        if intent.kind in (Kind.WAY_FREE, Kind.FREE_WIDTH):
            nearby, why = self._nearby(world, T)
        return Surroundings(
            up_3=up_3,
            floor=floor,
            T_world_base=base,
            scale=scale,
            reach=options.query.reach,
            room=self._room_of(record, world, T) if intent.kind is Kind.ROOM_SIZE else None,
            nearby=nearby,
            no_nearby=why,
        )

    def _floor(
        self, record: SceneRecord, base: Floats | None, up_3: Floats, world: World
    ) -> FloorLevel | None:
        """By the scene's points and, in metres, by the base that stands on it."""
        seen, said, scale = floor_of(record.geometry, up_3), None, record.metric(world.scale)
        if base is not None and scale is not None:
            height = self._options().obstacles.base_height / scale.metres_per_unit
            sigma = SAID_SIGMA / scale.metres_per_unit
            said = FloorLevel(float(base[:3, 3] @ up_3) - height, sigma)
        return together(seen, said)

    def _nearby(self, world: World, T: Floats) -> tuple[Nearby | None, str]:
        """Obstacles around the newest base, or why there are none."""
        if not world.scale.metric:
            return None, (
                "nothing fixes the scale, and obstacles are in metres or not at all: give a scale "
                "(docs/scale.md)"
            )
        if world.T_base_body is None:
            return None, (
                "where the cameras sit on the robot is unknown: give frames.base and the "
                "extrinsics by TF or parameters"
            )
        options = self._options()
        self._dense.rules = DenseRules(options.dense, options.obstacles, options.occupancy)
        recent = self._dense.around(world)
        if not recent:
            return None, "the map has no keyframe yet"
        T_now_level = inverse(recent[-1].T_level_base)
        floors = []
        for view in recent:
            T_now_base = T_now_level @ view.T_level_base
            floor_P3 = view.point_P3[view.is_floor_P]
            floors.append(floor_P3 @ T_now_base[:3, :3].T + T_now_base[:3, 3])
        T_map_level = inverse(world.T_level_map)
        T_scene_base = recent[-1].T_level_base.copy()
        T_scene_base[:3] /= world.scale.metres_per_unit  # metres to map units
        T_scene_base = T @ T_map_level @ T_scene_base
        obstacles = obstacles_around(recent, options.obstacles)
        floor = np.concatenate(floors)
        query = options.query
        return Nearby(obstacles, floor, T_scene_base, query.robot_width, query.way_length), ""

    def _room_of(self, record: SceneRecord, world: World, T: Floats) -> RoomExtent | None:
        """The walls that the segment's keyframes show, in the scene's axes and units."""
        if not world.up_source:
            return None
        ours = [placed for placed in world.keyframes if placed.segment == world.segment]
        key = (world.version, world.segment, len(ours), ours[-1].keyframe.number if ours else 0)
        if key != self._room[0]:
            self._room = key, _room_in(ours, world.T_level_map)
        room = self._room[1]
        corners = None
        if room.corners_43 is not None:
            to_scene = T @ inverse(world.T_level_map)
            corners = room.corners_43 @ to_scene[:3, :3].T + to_scene[:3, 3]
        length, width = (None if side is None else side / record.scale for side in room.sides)
        height = None if room.height is None else room.height / record.scale
        return RoomExtent((length, width), height, room.sigma, corners, room.lack)


def _room_in(ours: list[PlacedKeyframe], T_level_map: Floats) -> RoomExtent:
    points, normals = [], []
    step = max(1, -(-len(ours) // _ROOM_KEYFRAMES))
    for placed in ours[::step]:
        view, depth_HW = placed.keyframe.views[0], placed.depth(0)
        every = max(1, round((depth_HW.size / _ROOM_POINTS) ** 0.5))
        z_HW = depth_HW[::every, ::every].astype(np.float64)
        v, u = np.mgrid[0 : depth_HW.shape[0] : every, 0 : depth_HW.shape[1] : every]
        x, y = (u - view.K[0, 2]) / view.K[0, 0] * z_HW, (v - view.K[1, 2]) / view.K[1, 1] * z_HW
        T_level_cam = T_level_map @ placed.T_map_body
        level_HW3 = np.stack((x, y, z_HW), axis=-1) @ T_level_cam[:3, :3].T + T_level_cam[:3, 3]
        good_HW = np.isfinite(z_HW) & (z_HW > 0)
        point_P3, normal_P3 = patches_of(level_HW3, good_HW, T_level_cam[:3, 3])
        points.append(point_P3)
        normals.append(normal_P3)
    if not points:
        return RoomExtent(lack="the map has no keyframe yet")
    return room_extent(np.concatenate(points), np.concatenate(normals))


def told_of_map(
    answer: SpatialAnswer, record: SceneRecord, world: World
) -> tuple[SpatialAnswer, Recalled | None]:
    """An answer about a scene with its points in the map's level axes, and where it was seen from.

    Args:
        answer: As `SceneRecord.given_out` has it.
        record: The scene as it stands in the map now.
        world: The map.

    Returns:
        The answer as it is, and None, where the scene is no part of the segment that grows: it
        then shares no axes with the present place, and the message says so.
    """
    if record.T_map_cam is None or record.segment != world.segment:
        note = "the scene is in no part of the present map: points are in the camera's axes"
        message = "; ".join(part for part in (answer.message, note) if part)
        return replace(answer, message=message), None
    metres = world.scale.metres_per_unit if answer.is_metric else 1.0
    T = metric(world.T_level_map @ record.T_map_cam, metres)
    points = (answer.points @ T[:3, :3].T + T[:3, 3]).astype(np.float32)
    base = T
    if world.T_base_body is not None:
        lever = metric(world.T_base_body, 1.0 if answer.is_metric else 0.0)
        base = T @ inverse(lever)
    recalled = Recalled(record.stamp_ns, (MapPose(record.stamp_ns, base),))
    return replace(answer, points=points), recalled


def _base(record: SceneRecord, world: World) -> Floats | None:
    """T_scene_base (4, 4) of the newest moment; its origin is the camera without a scale."""
    if world.T_base_body is None or record.T_map_cam is None:
        return None
    scale = record.metric(world.scale)
    T_body_base = inverse(metric(world.T_base_body, 1.0 if scale else 0.0))
    if scale is not None:
        T_body_base[:3, 3] /= scale.metres_per_unit
    T_scene_cam = np.asarray(record.geometry.T_world_cam[record.newest], np.float64)
    T: Floats = T_scene_cam @ rigid(T_body_base[:3, :3], T_body_base[:3, 3])
    return T
