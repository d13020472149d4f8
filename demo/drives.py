# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Drives: what every sensor of a robot says while it goes through a synthetic scene.

    drive = make_drive(DriveSpec("street", 0))
    for frame in drive.frames():
        frame.rgb, frame.depth, frame.T_world_cam

The same spec is the same drive, on every machine. Scenes of `split="val"` are there to tune on,
those of `split="test"` to evaluate; `TUNING` and `EVALUATION` name some of each. Training uses
neither. Two drives of "test" were looked at while parameters were chosen and are in no list: room
3, which `make demo` replays, and street 0 (docs/map.md).

Letters: N pictures, M odometry samples, S scans, A beams.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from g2vlm_training.synthetic import Split, intrinsics
from numpy.typing import NDArray

from .faults import Faults, during
from .lidar import Lidar, Scanner
from .motion import TICK_S, Motion, drive_along, motion_of
from .pictures import Lens, PictureStore, drives_folder
from .robot import turn_z
from .scenes import Scene, make_scene
from .wheels import WheelErrors, WheelOdometry

__all__ = [
    "EVALUATION", "TUNING", "Drive", "DriveFrame", "DriveSpec", "Odometry", "Scans", "make_drive",
]  # fmt: skip

Floats = NDArray[np.float64]
NS = 1_000_000_000
START_NS = 1_000 * NS
_COVERED_LEVEL = 6.0  # mean of the noise of a covered camera, of 255


@dataclass(frozen=True)
class DriveSpec:
    """Which drive.

    Args:
        scene: "room", "hall", "yard", "street" (300 m and more at 2 to 10 m/s), "twins", "mirror".
        index: Of the scene within its split.
        split: "val" to tune on, "test" to evaluate.
        seed: Of the sensors' errors, apart from the scene.
        rate_hz: Of the pictures.
        size_hw, fov_deg, supersample: Of the camera; see `Lens`.
        stereo_m: Baseline of a second camera to the right of the first; 0: there is none.
        scan_hz, odometry_hz: Of lidar and wheels; 50 / `odometry_hz` is a whole number.
        wheels: How wrong the odometry is; 2 % unless told otherwise.
        lidar: None: as the robot of the scene has it.
        seconds: Where the drive ends; 0: with its tour.
        faults: What goes wrong.
    """

    scene: str = "room"
    index: int = 0
    split: Split = "val"
    seed: int = 0
    rate_hz: float = 10.0
    size_hw: tuple[int, int] = (240, 320)
    fov_deg: float = 75.0
    supersample: int = 2
    stereo_m: float = 0.0
    scan_hz: float = 10.0
    odometry_hz: float = 50.0
    wheels: WheelErrors = field(default_factory=WheelErrors)
    lidar: Lidar | None = None
    seconds: float = 0.0
    faults: Faults = field(default_factory=Faults)


TUNING: tuple[DriveSpec, ...] = (
    *(DriveSpec("room", index) for index in range(4)),
    *(DriveSpec("hall", index) for index in range(2)),
    *(DriveSpec("yard", index) for index in range(2)),
    *(DriveSpec("street", index, supersample=1) for index in range(3)),
)
EVALUATION: tuple[DriveSpec, ...] = (
    *(DriveSpec("room", index, "test") for index in range(8) if index != 3),
    *(DriveSpec("hall", index, "test") for index in range(4)),
    *(DriveSpec("yard", index, "test") for index in range(3)),
    *(DriveSpec("street", index, "test", supersample=1) for index in range(1, 5)),
)


@dataclass(frozen=True, eq=False)
class DriveFrame:
    """A picture and the truth about it.

    Args:
        stamp_ns: When it was taken.
        rgb: (H, W, 3) uint8.
        depth: (H, W) float32 true z-depth, metres; 0 in the sky.
        T_world_cam: (4, 4) of the optical axes.
        right: (H, W, 3) uint8 of the second camera, or None.
    """

    stamp_ns: int
    rgb: NDArray[np.uint8]
    depth: NDArray[np.float32]
    T_world_cam: Floats
    right: NDArray[np.uint8] | None


@dataclass(frozen=True, eq=False)
class Odometry:
    """What the wheels say.

    Args:
        stamp_M: int64 nanoseconds.
        T_odom_base_M44: (M, 4, 4), metres.
        twist_M2: Metres and radians per second.
    """

    stamp_M: NDArray[np.int64]
    T_odom_base_M44: Floats
    twist_M2: Floats


@dataclass(frozen=True, eq=False)
class Scans:
    """What the lidar says.

    Args:
        stamp_S: int64 nanoseconds.
        range_SA: Metres; not finite: no reading.
        lidar: The sensor.
        T_base_laser: (4, 4).
    """

    stamp_S: NDArray[np.int64]
    range_SA: Floats
    lidar: Lidar
    T_base_laser: Floats


class Drive:
    """A drive; its parts are computed when they are asked for.

    Args:
        spec: Which one.
        folder: Where its pictures are kept; None keeps none.
    """

    def __init__(self, spec: DriveSpec, folder: Path | None) -> None:
        self.spec, self._folder = spec, folder
        self.scene: Scene = make_scene(spec.scene, spec.split, spec.index)
        self.motion: Motion = _moved(self.scene, spec)
        self.robot = self.scene.robot
        self._stores: dict[float, PictureStore] = {}
        self.K: Floats = intrinsics(spec.fov_deg, spec.size_hw)
        self._frame_ticks = self._ticks(spec.rate_hz)
        self.stamp_N: NDArray[np.int64] = self._stamps(self._frame_ticks)
        self.T_world_base_N44: Floats = self.motion.T_world_base_M44[self._frame_ticks]
        self.T_world_cam_N44: Floats = self.T_world_base_N44 @ self.robot.T_base_optical()

    @property
    def length_m(self) -> float:
        """Metres of the way."""
        return self.motion.length_m

    @property
    def seconds(self) -> float:
        """From its start to its end."""
        return float(self.motion.time_M[-1])

    @property
    def lidar(self) -> Lidar:
        """The sensor that scans."""
        return self.spec.lidar or Lidar(range_max=self.robot.scan_range)

    def T_world_base(self, stamps_ns: NDArray[np.int64]) -> Floats:
        """(M, 4, 4) true poses of the base at stamps of its sensors."""
        ticks = np.rint((stamps_ns - START_NS) / (TICK_S * NS)).astype(np.int64)
        poses: Floats = self.motion.T_world_base_M44[ticks.clip(0, len(self.motion.time_M) - 1)]
        return poses

    def time_s(self, stamp_ns: int) -> float:
        """Seconds from the start of the drive."""
        return (stamp_ns - START_NS) / NS

    def frames(self, first: int = 0) -> Iterator[DriveFrame]:
        """Pictures with their truth, in the order of time; rendered once, then read.

        Args:
            first: Number of the picture to begin with.
        """
        for number in range(first, len(self.stamp_N)):
            yield self.frame(number)

    def frame(self, number: int, *, alone: bool = False) -> DriveFrame:
        """One picture with its truth.

        Args:
            number: Which one.
            alone: See `PictureStore.picture`.
        """
        stereo, faults = self.spec.stereo_m, self.spec.faults
        stamp = int(self.stamp_N[number])
        taken = self.pictures().picture(number, alone=alone)
        rgb, right = taken.rgb, None
        if stereo:
            right = self.pictures(stereo).picture(number, alone=alone).rgb
        if during(self.time_s(stamp), faults.cover_camera_at_s, faults.cover_camera_for_s):
            rng = np.random.default_rng([self.spec.seed, 61, number])
            noise = rng.normal(_COVERED_LEVEL, 2.0, rgb.shape).clip(0, 255)
            rgb = noise.astype(np.uint8)
            right = None if right is None else rgb
        return DriveFrame(stamp, rgb, taken.depth, self.T_world_cam_N44[number], right)

    @cached_property
    def odometry(self) -> Odometry:
        """The wheels' word."""
        spec, motion, faults = self.spec, self.motion, self.spec.faults
        wheels = WheelOdometry(self.robot.wheel_base, spec.wheels, spec.seed)
        wanted = set(self._ticks(spec.odometry_hz).tolist())
        poses: list[Floats] = []
        twists: list[tuple[float, float]] = []
        was_reset = False
        for tick in range(len(motion.time_M)):
            time = float(motion.time_M[tick])
            if tick:
                slips = during(time, faults.slip_at_s, faults.slip_for_s)
                right = faults.odometry_factor * (faults.slip_factor if slips else 1.0)
                extra = (faults.odometry_factor, right)
                wheels.advance(motion.way_M[tick], motion.turn_M[tick], TICK_S, extra)
            if not was_reset and during(time, faults.odometry_reset_at_s):
                wheels.reset()
                was_reset = True
            if tick in wanted:
                frozen = during(time, faults.odometry_frozen_at_s, faults.odometry_frozen_for_s)
                poses.append(poses[-1] if frozen and poses else wheels.pose)
                twists.append((wheels.speed, wheels.turn_rate))
        stamps = self._stamps(np.array(sorted(wanted)))
        return Odometry(stamps, np.stack([planar(*pose) for pose in poses]), np.array(twists))

    @cached_property
    def scans(self) -> Scans:
        """The lidar's word."""
        spec, faults = self.spec, self.spec.faults
        lidar = self.lidar
        ticks = self._ticks(spec.scan_hz)
        T_base_laser = self.robot.T_base_laser(faults.lidar_upside_down)
        rng = np.random.default_rng([spec.seed, 67])
        scanner = Scanner(self.scene.room, lidar)
        poses = self.motion.T_world_base_M44[ticks] @ T_base_laser
        ranges = np.concatenate(
            [scanner.measured(poses[start : start + 16], rng) for start in range(0, len(poses), 16)]
        )
        broken = rng.random(ranges.shape) < faults.lidar_invalid_share
        junk = rng.choice([np.inf, -np.inf, np.nan, 0.0], ranges.shape)
        return Scans(self._stamps(ticks), np.where(broken, junk, ranges), lidar, T_base_laser)

    def pictures(self, right_m: float = 0.0) -> PictureStore:
        """The pictures of the camera, or of the one to the right of it by so many metres."""
        if right_m not in self._stores:
            spec = self.spec
            poses = self.T_world_base_N44 @ self.robot.T_base_optical(right_m)
            lens = Lens(self.K, spec.size_hw, spec.supersample)
            self._stores[right_m] = PictureStore(
                self.scene.room, lens, poses, self.T_world_cam_N44, self.scene.mirror_x,
                self._folder,
            )  # fmt: skip
        return self._stores[right_m]

    def _ticks(self, rate_hz: float) -> NDArray[np.int64]:
        """Ticks at which a sensor of a rate speaks."""
        count = int(self.motion.time_M[-1] * rate_hz) + 1
        return np.rint(np.arange(count) / rate_hz / TICK_S).astype(np.int64)

    def _stamps(self, ticks: NDArray[np.int64]) -> NDArray[np.int64]:
        return START_NS + ticks * round(TICK_S * NS)


def make_drive(spec: DriveSpec, folder: Path | None = None, *, keep: bool = True) -> Drive:
    """Make a drive; rendering waits until pictures are asked for.

    Args:
        spec: Which one.
        folder: Where its pictures are kept; None: `drives_folder()`.
        keep: False renders anew each time and writes nothing.

    Raises:
        ValueError, RuntimeError: There is no such scene.
    """
    return Drive(spec, (folder or drives_folder()) if keep else None)


def planar(x: float, y: float, yaw: float) -> Floats:
    """(4, 4) of a pose on the floor."""
    T = np.eye(4)
    T[:3, :3] = turn_z(yaw)
    T[:2, 3] = x, y
    return T


def _moved(scene: Scene, spec: DriveSpec) -> Motion:
    """The tour of a scene, cut off and with the robot carried away where the spec says so."""
    motion = drive_along(scene.manoeuvres, scene.robot, spec.index, scene.start_yaw)
    faults = spec.faults
    if during(float(motion.time_M[-1]), faults.kidnap_at_s):
        first = round(faults.kidnap_at_s / TICK_S)
        again = min(first + round(faults.kidnap_by_s / TICK_S), len(motion.time_M) - 2)
        poses = np.concatenate([motion.pose_M3[:first], motion.pose_M3[again:]])
        carried = motion_of(poses, scene.robot, spec.index)
        carried.way_M[first] = carried.turn_M[first] = 0.0  # the wheels know nothing of it
        motion = carried
    if spec.seconds:
        count = round(spec.seconds / TICK_S) + 1
        motion = Motion(**{name: value[:count] for name, value in vars(motion).items()})
    return motion
