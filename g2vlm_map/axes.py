# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Which way is up, where the base is, and what lies between the map and an odometry.

The graph places a *body* (axes of the reference camera) in the map's own axes and units. A robot
wants its *base* in metres in a frame whose z is up. Three things lead from one to the other: the
extrinsics (`T_base_body`, metres), the scale, and `T_level_map`, which is decided here.

Where there are extrinsics, the level frame is the first base pose of the segment (REP 103: x
forward, z up). An IMU corrects its tilt; without extrinsics the IMU, or the floor of the cloud,
says what is up, and forward is where the camera looked. Without any of them the level frame has
the first body's axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from .mapping.keyframe import PlacedKeyframe
from .poses import Floats, cross_matrix, inverse, metric, rigid, rotation_vector
from .sensing import Extrinsics, Gravity, Sample
from .world import World

__all__ = ["LevelAxes", "base_pose", "floor_normal", "map_to_odom", "pose_covariance"]

_NS = 1_000_000_000
_GRAVITY_GAP_NS = _NS // 5  # a sample this near to a keyframe is of its moment
_GRAVITY_KEPT = 4096
_REFINED_AT = (1, 4, 16)  # keyframes with a sample at which an IMU's word is taken anew
_FLOOR_KEYFRAMES = 12  # of a segment's first ones the floor is looked for in
_FLOOR_AGREE_RAD = np.radians(6.0)
_CAMERA_UP = np.array([0.0, -1.0, 0.0])  # optical axes: y is down
_CAMERA_FORWARD = np.array([0.0, 0.0, 1.0])
_RANK = {"": 0, "floor": 1, "base": 2, "imu": 3}


def base_pose(
    T_level_map: Floats, T_map_body: Floats, T_base_body: Floats, metres_per_unit: float
) -> Floats:
    """T_level_base (4, 4) in metres.

    Args:
        T_level_map: As in `World`, map units.
        T_map_body: Of a keyframe, map units.
        T_base_body: Extrinsics of the reference camera, metres.
        metres_per_unit: The scale.
    """
    return metric(T_level_map @ T_map_body, metres_per_unit) @ inverse(T_base_body)


def map_to_odom(T_map_base: Floats, T_odom_base: Floats) -> Floats:
    """T_map_odom of one instant: what brings an odometry's drift to nothing (REP 105)."""
    return T_map_base @ inverse(T_odom_base)


def pose_covariance(
    T_level_map: Floats,
    T_map_body: Floats,
    T_base_body: Floats,
    covariance_66: Floats,
    metres_per_unit: float,
    sigma_log_scale: float,
) -> Floats:
    """(6, 6) covariance of `base_pose`: x y z in metres, then rotations about the level axes.

    A turn of the body moves the base through the lever between them; the scale's error moves it
    along the way from the origin:

        dp = s R dt + R dr x (lever) + p dlog(s),   dr_level = R dr

    Args:
        covariance_66: Of the body in the map's axes: map units, then rad; see `PlacedKeyframe`.
        sigma_log_scale: Standard deviation of the log of `metres_per_unit`; 0 leaves it out.
    """
    R_level_map = T_level_map[:3, :3]
    T_level_base = base_pose(T_level_map, T_map_body, T_base_body, metres_per_unit)
    body = metric(T_level_map @ T_map_body, metres_per_unit)[:3, 3]
    jacobian = np.zeros((6, 6))
    jacobian[:3, :3] = metres_per_unit * R_level_map
    jacobian[:3, 3:] = -cross_matrix(T_level_base[:3, 3] - body) @ R_level_map
    jacobian[3:, 3:] = R_level_map
    along = np.concatenate([T_level_base[:3, 3], np.zeros(3)]) * sigma_log_scale
    covariance = jacobian @ covariance_66 @ jacobian.T + np.outer(along, along)
    return np.asarray((covariance + covariance.T) / 2.0)


@dataclass(frozen=True, eq=False)
class _Level:
    """What was decided for a segment.

    Args:
        R_level_map: Its rotation.
        T_map_body: Of its first keyframe, whose base is the origin; map units.
        source: As `World.up_source`.
        samples: Keyframes that an IMU has spoken of.
        origin_3: Of the level frame in map units, where a file says it; such a level stands,
            since places that were noted in it are kept outside of the map.
    """

    R_level_map: Floats
    T_map_body: Floats
    source: str = ""
    samples: int = 0
    origin_3: Floats | None = None


class LevelAxes:
    """Decides on T_level_map; owned by whoever makes the `World`.

    A decision stands until a better source speaks (imu over base over floor), or the IMU has
    spoken of 4 and of 16 keyframes: each change moves everything in the map's frame.

    Args:
        camera: Name of the reference camera.
    """

    def __init__(self, camera: str) -> None:
        self._camera = camera
        self._T_base_body: Floats | None = None
        self._gravity: list[Gravity] = []
        self._levels: dict[int, _Level] = {}
        self._floors: dict[int, dict[int, Floats | None]] = {}  # segment -> keyframe -> normal

    @property
    def T_base_body(self) -> Floats | None:
        """Extrinsics of the reference camera; None while nobody has given any."""
        return self._T_base_body

    def forget(self) -> None:
        """Decide anew, with what the sensors say from now on; extrinsics stay."""
        self._gravity, self._levels, self._floors = [], {}, {}

    def restore(self, world: World) -> None:
        """Take over what a map from a file says of its segment, where it knew what is up."""
        ours = [placed for placed in world.keyframes if placed.segment == world.segment]
        if world.up_source and ours:
            R, first = world.T_level_map[:3, :3], min(ours, key=lambda one: one.keyframe.number)
            origin_3 = inverse(world.T_level_map)[:3, 3]
            level = _Level(R, first.T_map_body, world.up_source, origin_3=origin_3)
            self._levels[world.segment] = level

    def take(self, sample: Sample) -> None:
        """Take over extrinsics of the reference camera and gravity; all else is ignored."""
        if isinstance(sample, Extrinsics) and sample.camera == self._camera:
            known = self._T_base_body
            if known is None or not np.array_equal(known, sample.T_base_cam):
                self._T_base_body = sample.T_base_cam
                self._levels = {
                    segment: level
                    if level.origin_3 is not None
                    else replace(level, source="", samples=0)
                    for segment, level in self._levels.items()
                }
        elif isinstance(sample, Gravity):
            self._gravity.append(sample)
            if len(self._gravity) > _GRAVITY_KEPT:
                del self._gravity[: _GRAVITY_KEPT // 2]

    def level(
        self, segment: int, keyframes: Sequence[PlacedKeyframe], metres_per_unit: float | None
    ) -> tuple[Floats, str]:
        """T_level_map and what says up, of a segment as it stands now.

        Args:
            segment: Its number.
            keyframes: Of the map; those of other segments are left out.
            metres_per_unit: None while the scale does not carry: the camera's lever is then left
                out, and the origin is the first camera.

        Returns:
            (4, 4) in map units, and "base", "imu", "floor" or "".
        """
        ours = [placed for placed in keyframes if placed.segment == segment]
        if not ours:
            return np.eye(4), ""
        known = self._levels.get(segment)
        if known is None:
            self._drop_all_but({placed.segment for placed in keyframes})
        first = min(ours, key=lambda placed: placed.keyframe.number)
        level = known or _Level(first.T_map_body[:3, :3].T, first.T_map_body)
        level = self._better(segment, level, first, ours)
        self._levels[segment] = level
        R, origin = level.R_level_map, level.T_map_body[:3, 3]
        if level.origin_3 is not None:
            origin = level.origin_3
        elif metres_per_unit is not None and self._T_base_body is not None:
            lever = inverse(self._T_base_body)[:3, 3] / metres_per_unit
            origin = origin + level.T_map_body[:3, :3] @ lever
        return rigid(R, -R @ origin), level.source

    def apply(self, world: World) -> tuple[World, str]:
        """The world with T_level_map, up_source and T_base_body as they are now.

        Args:
            world: As the mapper made it, of whatever axes.

        Returns:
            The new world, and what changed of the axes of a segment that others have seen
            already, in words: its version has to change then. "" where nothing did.
        """
        before = self._levels.get(world.segment)
        scale = world.scale.metres_per_unit if world.scale.metric else None
        T_level_map, source = self.level(world.segment, world.keyframes, scale)
        after = self._levels.get(world.segment)
        told = ""
        if before is not None and after is not None and before is not after:
            turned = rotation_vector(after.R_level_map @ before.R_level_map.T)
            told = (
                f"up is by {source or 'the first camera'} now, it was by "
                f"{before.source or 'the first camera'}; the map's axes turned by "
                f"{np.degrees(np.linalg.norm(turned)):.1f} deg"
            )
        applied = replace(
            world, T_level_map=T_level_map, up_source=source, T_base_body=self._T_base_body
        )
        return applied, told

    def _better(
        self,
        segment: int,
        level: _Level,
        first: PlacedKeyframe,
        ours: Sequence[PlacedKeyframe],
    ) -> _Level:
        """The level by the best source that speaks now."""
        if level.origin_3 is not None:
            return level
        left = [count for count in _REFINED_AT if level.samples < count <= len(ours)]
        ups = self._ups(ours) if left else []
        if any(count <= len(ups) for count in left):
            R = _levelled(self._forward(level.T_map_body), np.mean(ups, axis=0))
            return _Level(R, level.T_map_body, "imu", len(ups))
        if _RANK[level.source] < _RANK["base"] and self._T_base_body is not None:
            R_map_base = level.T_map_body[:3, :3] @ self._T_base_body[:3, :3].T
            return _Level(R_map_base.T, level.T_map_body, "base")
        if level.source == "":
            up = self._floor(segment, ours)
            if up is not None:
                R = _levelled(self._forward(level.T_map_body), up)
                return _Level(R, level.T_map_body, "floor")
        return level

    def _drop_all_but(self, segments: set[int]) -> None:
        """Forget the segments that the map has let go; no number comes twice."""
        self._levels = {number: one for number, one in self._levels.items() if number in segments}
        self._floors = {number: one for number, one in self._floors.items() if number in segments}

    def _forward(self, T_map_body: Floats) -> Floats:
        """Where the robot looks, in the map's axes: x of the base, else the optical axis."""
        if self._T_base_body is None:
            return np.asarray(T_map_body[:3, :3] @ _CAMERA_FORWARD)
        return np.asarray(T_map_body[:3, :3] @ self._T_base_body[0, :3])

    def _ups(self, ours: Sequence[PlacedKeyframe]) -> list[Floats]:
        """Up in the map's axes by the sample nearest to each keyframe, weighed by its sigma."""
        gravity = list(self._gravity)  # others add to it meanwhile
        if not gravity:
            return []
        stamps = np.array([sample.stamp_ns for sample in gravity], np.int64)
        R_body_base = np.eye(3) if self._T_base_body is None else self._T_base_body[:3, :3].T
        ups = []
        for placed in ours:
            nearest = int(np.argmin(np.abs(stamps - placed.keyframe.stamp_ns)))
            if abs(int(stamps[nearest]) - placed.keyframe.stamp_ns) <= _GRAVITY_GAP_NS:
                sample = gravity[nearest]
                up = placed.T_map_body[:3, :3] @ R_body_base @ sample.up_base_3
                ups.append(up / max(sample.sigma_rad, 1e-3) ** 2)
        return ups

    def _floor(self, segment: int, ours: Sequence[PlacedKeyframe]) -> Floats | None:
        """Up by the floor: the first two keyframes whose planes agree; None while none do."""
        seen = self._floors.setdefault(segment, {})
        for placed in ours[:_FLOOR_KEYFRAMES]:
            number = placed.keyframe.number
            if number in seen:
                continue
            found = floor_normal(placed)
            up = None if found is None else placed.T_map_body[:3, :3] @ found
            for other in seen.values():
                if up is not None and other is not None:
                    angle = float(np.arccos(np.clip(up @ other, -1.0, 1.0)))
                    if angle < _FLOOR_AGREE_RAD:
                        return np.asarray((up + other) / np.linalg.norm(up + other))
            seen[number] = up
        return None


def _levelled(forward: Floats, up: Floats) -> Floats:
    """R_level_map with z up and x along what is horizontal of forward, both in the map's axes."""
    z = up / np.linalg.norm(up)
    x = forward - z * (forward @ z)
    if np.linalg.norm(x) < 1e-6:  # it looks straight up or down: any heading will do
        x = np.cross(z, [0.0, 0.0, 1.0] if abs(z[2]) < 0.9 else [0.0, 1.0, 0.0])
    x = x / np.linalg.norm(x)
    return np.stack([x, np.cross(z, x), z])


def floor_normal(
    placed: PlacedKeyframe, trials: int = 100, share: float = 0.2, tilt_deg: float = 40.0
) -> Floats | None:
    """Normal of the floor in a keyframe's depth, in its body's axes; None where none is seen.

    The plane with most points among those through three random ones, of a normal within
    `tilt_deg` of the camera's own up, below the camera, with hardly a point under it. A table is as
    level as a floor, so for this use it may be taken for one.

    Args:
        placed: Its reference view is looked at.
        trials: Planes that are tried.
        share: Of the points that must lie in it.
        tilt_deg: A camera is not tilted or pitched by more.
    """
    points = _sparse_points(placed)
    if len(points) < 50:
        return None
    rng = np.random.default_rng(0)
    corners = points[rng.integers(0, len(points), (trials, 3))]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(normals, axis=1)
    good = length > 1e-9
    corners, normals = corners[good], normals[good] / length[good, None]
    normals *= np.sign(normals @ _CAMERA_UP)[:, None]
    level = normals @ _CAMERA_UP > np.cos(np.radians(tilt_deg))
    corners, normals = corners[level], normals[level]
    if not len(normals):
        return None
    height_TM = normals @ points.T - (normals * corners[:, 0]).sum(1)[:, None]
    near = 0.02 * float(np.median(np.linalg.norm(points, axis=1)))
    inside = np.abs(height_TM) < near
    under = (height_TM < -3.0 * near).mean(1) < 0.05
    counts = np.where(under & ((normals * corners[:, 0]).sum(1) < 0), inside.sum(1), 0)
    best = int(np.argmax(counts))
    if counts[best] < share * len(points):
        return None
    chosen = points[inside[best]]
    _, _, Vt = np.linalg.svd(chosen - chosen.mean(0), full_matrices=False)
    normal = Vt[2] * np.sign(Vt[2] @ normals[best])
    return np.asarray(normal, np.float64)


def _sparse_points(placed: PlacedKeyframe) -> Floats:
    """(M, 3) some hundred points of the reference view in its camera's axes, map units."""
    view, depth = placed.keyframe.views[0], placed.depth(0)
    step = max(1, int(np.sqrt(depth.size / 1500)))
    v, u = np.mgrid[0 : depth.shape[0] : step, 0 : depth.shape[1] : step]
    z = depth[::step, ::step].astype(np.float64)
    rays = np.stack([(u - view.K[0, 2]) / view.K[0, 0], (v - view.K[1, 2]) / view.K[1, 1]], -1)
    valid = z > 0
    return np.concatenate([rays[valid] * z[valid][:, None], z[valid][:, None]], axis=1)
