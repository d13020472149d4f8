# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Keyframes with exact depth, sensors that fit them, and a tracker, for the tests of the scale."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from g2vlm_map.events import Event, ScaleChanged
from g2vlm_map.mapping.keyframe import Edge, Keyframe, PlacedKeyframe, Tracks, View
from g2vlm_map.options import StatusOptions
from g2vlm_map.poses import Floats, inverse, rigid, rotation
from g2vlm_map.scale.estimate import ScaleEstimate
from g2vlm_map.scale.options import ScaleOptions
from g2vlm_map.scale.tracker import ScaleTracker
from g2vlm_map.sensing import Extrinsics, OdometrySample
from g2vlm_map.status import StatusBoard

NS = 1_000_000_000
STEP_NS = NS // 2  # between keyframes
PARTS = 10  # samples of odometry in that time
SIZE = (60, 80)
K = np.array([[60.0, 0.0, 39.5], [0.0, 60.0, 29.5], [0.0, 0.0, 1.0]])
# Optical axes in a base's: z of the camera is x of the base, x of it is -y.
T_BASE_CAM = rigid(np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]]), np.array([0.2, 0.0, 0.5]))
METRES_PER_UNIT = 1.6


def room_depth(T_world_cam: Floats, K_33: Floats = K, size_hw: tuple[int, int] = SIZE) -> Floats:
    """(H, W) exact z-depth in metres in a box of 8 x 6 x 3 m, z up, its floor at 0."""
    row, column = np.indices(size_hw)
    pixel = np.stack((column, row, np.ones_like(row)), axis=-1).reshape(-1, 3)
    ray = pixel @ np.linalg.inv(K_33).T @ T_world_cam[:3, :3].T
    start = T_world_cam[:3, 3]
    low, high = np.array([-4.0, -3.0, 0.0]), np.array([4.0, 3.0, 3.0])
    with np.errstate(divide="ignore"):
        reach = np.where(ray > 0, (high - start) / ray, (low - start) / ray)
    depth = np.where(np.isfinite(reach), reach, np.inf).min(axis=1)
    return np.asarray(depth.reshape(size_hw), np.float64)


def base_pose(index: float) -> Floats:
    """T_world_base of a robot on a curve through that box; also between keyframes."""
    angle = 0.12 * index
    place = np.array([1.5 * np.sin(angle), -1.0 * np.cos(angle), 0.0])
    return rigid(rotation(np.array([0.0, 0.0, angle])), place)


def wall_points(count: int = 1500) -> Floats:
    """(count, 3) points on the walls, the floor and the ceiling of that box."""
    rng = np.random.default_rng(9)
    half = np.array([4.0, 3.0, 1.5])
    point = rng.uniform(-half, half, (count, 3))
    wall = rng.integers(0, 3, count)
    point[np.arange(count), wall] = np.sign(point[np.arange(count), wall]) * half[wall]
    return np.asarray(point + np.array([0.0, 0.0, 1.5]))


WALL_POINTS = wall_points()


def points_seen(T_world_cam: Floats) -> tuple[Floats, Floats]:
    """Pixels (M, 2) and z-depths (M,) in metres of the points that a camera sees, and NaN."""
    local = (WALL_POINTS - T_world_cam[:3, 3]) @ T_world_cam[:3, :3]
    with np.errstate(divide="ignore", invalid="ignore"):
        pixel = (local @ K.T)[:, :2] / local[:, 2:]
        seen = (
            (local[:, 2] > 0.1) & (pixel > 0).all(1) & (pixel < (SIZE[1] - 1, SIZE[0] - 1)).all(1)
        )
    return np.where(seen[:, None], pixel, np.nan), np.where(seen, local[:, 2], np.nan)


def tracked_edge(i: int, j: int, metres_per_unit: float = METRES_PER_UNIT) -> Edge:
    """The edge between two keyframes of `base_pose`, with exact matches of the points above.

    A feature's index is that of its point: keyframes hold all points (`View.feature_F2`).
    """
    poses = [base_pose(number) @ T_BASE_CAM for number in (i, j)]
    T_i_j = inverse(poses[0]) @ poses[1]
    length = float(np.linalg.norm(T_i_j[:3, 3]))
    depths = np.stack([points_seen(T)[1] for T in poses], axis=1)
    both = np.flatnonzero(np.isfinite(depths).all(axis=1))
    T_i_j[:3, 3] /= metres_per_unit
    tracks = Tracks(
        np.stack((both, both), axis=1).astype(np.uint16),
        np.log(depths[both] / length).astype(np.float32),
        np.full(len(both), 0.02, np.float32),
        (np.nan, np.nan),
        (np.inf, np.inf),
    )
    return Edge(i, j, "visual", T_i_j, 0.01, 0.06, 0.05, len(both), 2.0, tracks=tracks)


def edges_back(number: int, metres_per_unit: float = METRES_PER_UNIT) -> tuple[Edge, ...]:
    """Edges of a keyframe to those 1, 2, 3 and 5 before it."""
    return tuple(
        tracked_edge(number - gap, number, metres_per_unit) for gap in (1, 2, 3, 5) if number >= gap
    )


Pose = Callable[[float], Floats]


class Drive:
    """A tracker, and a robot in a room whose map has another unit than metres.

    Args:
        metres_per_unit: True scale of the map.
        depth_bias: Log of what the depth is off by, by keyframe.
        options: Of the group `scale`.
    """

    def __init__(
        self, metres_per_unit: float = METRES_PER_UNIT, depth_bias: float = 0.0, **options: Any
    ) -> None:
        self.metres_per_unit = metres_per_unit
        self.depth_bias = depth_bias
        self.events: list[Event] = []
        self.board = StatusBoard(StatusOptions(), self.events.append)
        self.tracker = ScaleTracker(ScaleOptions(**options), self.board, self.events.append)
        self.tracker.start()
        self.placed: dict[int, PlacedKeyframe] = {}
        self.pictures: dict[str, Any] = {}
        self.history: list[tuple[ScaleEstimate, float]] = []  # by `drive`: estimates, their errors
        self._sensed = -1  # parts of a keyframe's time until which there was odometry

    def mount(self) -> None:
        """Tell where the camera sits."""
        self.tracker.sense(Extrinsics("camera", T_BASE_CAM))

    def stamp(self, number: int) -> int:
        return 100 * NS + number * STEP_NS

    def add(self, number: int, edges: Sequence[Edge] = (), **changes: Any) -> ScaleEstimate:
        """A keyframe with its edges; the fields of its only view may be changed."""
        T_world_cam = base_pose(number) @ T_BASE_CAM
        T_map_body = T_world_cam.copy()
        T_map_body[:3, 3] /= self.metres_per_unit
        view = replace(self.view(number, T_world_cam), **changes)
        keyframe = Keyframe(number, view.stamp_ns, f"k{number}", (view,), {})
        return self.place(PlacedKeyframe(keyframe, T_map_body, 0.0, np.zeros((6, 6)), 1), edges)

    def place(self, placed: PlacedKeyframe, edges: Sequence[Edge] = ()) -> ScaleEstimate:
        """A keyframe made by the test."""
        self.placed[placed.keyframe.number] = placed
        return self.tracker.add_keyframe(placed, self.placed, self.pictures, edges)

    def view(self, number: int, T_world_cam: Floats) -> View:
        """What the camera gives a keyframe: depth in the map's unit, off by the bias."""
        units = room_depth(T_world_cam) / self.metres_per_unit * np.exp(self.depth_bias)
        return View(
            camera="camera",
            frame_id="camera_optical",
            stamp_ns=self.stamp(number),
            T_body_cam=np.eye(4),
            K=K,
            image_hw=SIZE,
            depth_HW=units.astype(np.float16),
            confidence_HW=np.full(SIZE, 255, np.uint8),
            color_HW3=np.zeros((*SIZE, 3), np.uint8),
            feature_F2=np.nan_to_num(points_seen(T_world_cam)[0]).astype(np.float32),
            descriptor_FE=np.zeros((0, 32), np.uint8),
        )

    def odometry(self, until: int, pose: Pose = base_pose, **fields: Any) -> None:
        """Samples at 20 Hz from the last one on until a keyframe.

        Args:
            until: Number of the keyframe.
            pose: T_odom_base by the number of a keyframe, also between two.
            fields: Of `OdometrySample`.
        """
        for part in range(self._sensed + 1, until * PARTS + 1):
            stamp = self.stamp(0) + part * STEP_NS // PARTS
            self.tracker.sense(OdometrySample(stamp, pose(part / PARTS), **fields))
        self._sensed = until * PARTS

    def drive(self, until: int, pose: Pose | None = base_pose) -> ScaleEstimate:
        """Keyframes until a number, each after the odometry of its time."""
        for number in range(max(self.placed, default=-1) + 1, until + 1):
            if pose is not None:
                self.odometry(number, pose)
            self.history.append((self.add(number), self.error()))
        return self.tracker.estimate

    def reason(self, code: str) -> str:
        """The text of a code in force; "" where it is not."""
        texts = {reason.code: reason.text for reason in self.board.reasons(0.0)}
        return texts.get(code, "")

    @property
    def changes(self) -> list[ScaleChanged]:
        return [event for event in self.events if isinstance(event, ScaleChanged)]

    def error(self, log_scale: float | None = None) -> float:
        """Log of the estimated scale over the true one."""
        said = self.tracker.estimate.log_scale if log_scale is None else log_scale
        return said - float(np.log(self.metres_per_unit))


def room_picture(T_world_cam: Floats, K_33: Floats, size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 of the same box, whose walls are covered with a pattern."""
    depth = room_depth(T_world_cam, K_33, size_hw)
    row, column = np.indices(size_hw)
    ray = np.stack((column, row, np.ones_like(row)), axis=-1) @ np.linalg.inv(K_33).T
    point = (ray * depth[..., None]) @ T_world_cam[:3, :3].T + T_world_cam[:3, 3]
    rng = np.random.default_rng(5)
    light = np.zeros(size_hw)
    for waves in rng.normal(0, 1, (30, 3)) * rng.uniform(3, 25, (30, 1)):
        light += np.sin(point @ waves + rng.uniform(0, 6))
    grey = np.clip(127 + 22 * light, 0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)
