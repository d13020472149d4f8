# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Parameters of the simulated robot: plain values that become a drive."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from g2vlm_ros.policy import Rights, any_node

from ..drives import DriveSpec
from ..faults import NO_FAULTS, Faults
from ..stream import Streams
from ..wheels import WheelErrors

__all__ = ["SimulatorOptions", "defaults", "parse", "robot_rights"]

_FAULT = "faults."


@dataclass(frozen=True)
class SimulatorOptions:
    """What the simulated robot does.

    Args:
        mode: "tour": the tour of the scene, round after round; "cmd_vel": as it is told.
        loop: Go on after the first round; else it stands still behind it.
        scene, index, split, seed: See `DriveSpec`.
        rate_hz, width, height, fov_deg, supersample, stereo_m: Of the camera.
        scan_hz, odometry_hz: Of lidar and wheels; 0 scans: there is no lidar.
        odometry_share: Error of the wheels as a share of the way.
        raw, compressed: Kinds of pictures that are published.
        depth: Also publish true depth.
        prerender: Render the whole tour before the first message, unless it was kept; else
            pictures are rendered as they are due, and those that come too late are left out.
        faults: What goes wrong, in each round; parameters `faults.NAME`.

    Raises:
        ValueError: An unknown mode or split.
    """

    mode: str = "tour"
    loop: bool = True
    scene: str = "room"
    index: int = 0
    split: str = "test"
    seed: int = 0
    rate_hz: float = 10.0
    width: int = 240
    height: int = 180
    fov_deg: float = 75.0
    supersample: int = 1
    stereo_m: float = 0.0
    scan_hz: float = 10.0
    odometry_hz: float = 50.0
    odometry_share: float = 0.02
    raw: bool = True
    compressed: bool = True
    depth: bool = False
    prerender: bool = True
    faults: Faults = NO_FAULTS

    def __post_init__(self) -> None:
        if self.mode not in ("tour", "cmd_vel"):
            raise ValueError(f"mode is {self.mode!r}, expected 'tour' or 'cmd_vel'")
        if self.split not in ("val", "test"):
            raise ValueError(f"split is {self.split!r}, expected 'val' or 'test'")

    def drive(self) -> DriveSpec:
        """The drive that the robot does."""
        return DriveSpec(
            scene=self.scene, index=self.index, split="val" if self.split == "val" else "test",
            seed=self.seed,
            rate_hz=self.rate_hz, size_hw=(self.height, self.width), fov_deg=self.fov_deg,
            supersample=self.supersample, stereo_m=self.stereo_m,
            scan_hz=self.scan_hz or 1.0, odometry_hz=self.odometry_hz,
            wheels=WheelErrors(scale=self.odometry_share), faults=self.faults,
        )  # fmt: skip

    def streams(self) -> Streams:
        """What is published."""
        return Streams(
            raw=self.raw, compressed=self.compressed, scan=self.scan_hz > 0.0,
            depth_every=int(self.depth),
        )  # fmt: skip


def defaults() -> dict[str, Any]:
    """Every parameter with its default; faults as `faults.NAME`."""
    plain = SimulatorOptions()
    values = {field.name: getattr(plain, field.name) for field in fields(plain)}
    faults: Faults = values.pop("faults")
    return values | {f"{_FAULT}{name}": value for name, value in vars(faults).items()}


def parse(given: Mapping[str, Any]) -> SimulatorOptions:
    """Options out of parameters.

    Raises:
        ValueError: A parameter that there is none of, or a value that makes no sense.
    """
    known = defaults()
    wrong = sorted(set(given) - set(known))
    if wrong:
        raise ValueError(f"unknown parameters {wrong}, expected some of {sorted(known)}")
    values = {name: _typed(name, given.get(name, value), value) for name, value in known.items()}
    faults = {
        name.removeprefix(_FAULT): value
        for name, value in values.items()
        if name.startswith(_FAULT)
    }
    plain = {name: value for name, value in values.items() if not name.startswith(_FAULT)}
    return SimulatorOptions(**plain, faults=Faults(**faults))


def robot_rights(options: SimulatorOptions) -> Rights:
    """What the simulated robot does in the graph, without faults."""
    cameras = ["/camera", *(["/right_camera"] if options.stereo_m else [])]
    publish = ["/odom", "/tf", "/tf_static", "/ground_truth/odometry"]
    publish += ["/scan"] if options.scan_hz > 0.0 else []
    publish += ["/ground_truth/depth"] if options.depth else []
    for camera in cameras:
        publish.append(f"{camera}/camera_info")
        publish += [f"{camera}/image_raw"] if options.raw else []
        publish += [f"{camera}/image_raw/compressed"] if options.compressed else []
    return any_node("/robot", publish, ["/cmd_vel"] if options.mode == "cmd_vel" else [])


def _typed(name: str, value: Any, default: Any) -> Any:
    """A value of its default's type; whole numbers are numbers too."""
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not type(default):
        wanted = type(default).__name__
        raise ValueError(f"{name} is {value!r}, expected a value of type {wanted}")
    return value
