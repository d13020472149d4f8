# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""All that the node may be told, as typed dataclasses: the pipeline's options and a node's own.

The one source of the ROS parameters, of launch/g2vlm.yaml and of the tables in the documentation.
No rclpy here: `node_options` and `camera_options` say what to declare, `parse` turns plain values
into a frozen `NodeParams` or raises one `ValueError` that lists all that is wrong.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from g2vlm_map.dense.options import (
    ScanOptions,
)
from g2vlm_map.option_fields import Option, Value, described, flat, from_flat, option
from g2vlm_map.options import (
    CloudOptions,
    ImageOptions,
    PipelineOptions,
    StatusOptions,
)
from g2vlm_ros.frame_options import (
    FramesParams,
    SensorParams,
    TfParams,
    is_topic_name,
    mounting,
)
from g2vlm_ros.topics import AUTO

__all__ = [
    "REMOVED",
    "RENAMED",
    "CameraParams",
    "ImageParams",
    "NodeParams",
    "StatusParams",
    "camera_options",
    "is_camera_name",
    "nearest",
    "node_options",
    "parse",
]

# Names of earlier versions, and what they are called now.
RENAMED = {
    "backend": "runtime",
    "engines": "export",
    "tf.map_frame": "frames.map",
    "tf.odom_frame": "frames.odom",
}
# Those that have no successor of the same meaning, and what to do.
REMOVED = {
    "tf.invert": "name the robot's frames with frames.odom and frames.base, and map -> odom or "
    "map -> base is broadcast: no child has two parents",
}
_RENAMED_OF_CAMERAS = {"transport": "image_transport"}

_OPTIONAL_TOPICS = ("camera_info_topic", "depth_topic", "depth_info_topic")
_CAMERA_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


@dataclass(frozen=True)
class ImageParams(ImageOptions):
    """What comes in, and how it is subscribed."""

    reliability: str = option(
        "best_effort",
        "QoS of the image and CameraInfo subscriptions",
        choices=("best_effort", "reliable"),
    )
    queue: int = option(
        5, "QoS history of the image subscriptions", unit="messages", low=1, high=100
    )


@dataclass(frozen=True)
class StatusParams(StatusOptions):
    """How reasons are reported, and how often."""

    period_s: float = option(
        1.0,
        "Period of the status, diagnostics and repeated warnings",
        unit="s",
        low=0.02,
        high=60.0,
    )


@dataclass(frozen=True)
class CameraParams:
    """Topics of one camera; `{camera}` in a default stands for its name."""

    name: str
    image_topic: str = option("{camera}/image_raw", "Base topic of the frames")
    camera_info_topic: str = option(
        AUTO, "Topic of the CameraInfo; auto: camera_info beside the base topic; empty: none"
    )
    image_transport: str = option(
        "raw",
        "Image of the base topic, or CompressedImage of its /compressed",
        choices=("raw", "compressed"),
    )
    frame_id: str = option("", "Optical frame to use in place of the header's")
    rectified: str = option(
        "auto",
        "Whether the frames are straight already; auto: by the topic's name (image_rect...), else "
        "by the lens in the CameraInfo",
        choices=("auto", "true", "false"),
    )
    extrinsics: str = option(
        "",
        "'x y z qx qy qz qw' of the optical frame in frames.base, metres; empty: from TF",
    )
    depth_topic: str = option(
        "",
        "Depth image of another sensor, in this camera's frame or one that TF knows; empty: none",
    )
    depth_info_topic: str = option(
        "", "CameraInfo of that depth; empty: the sibling of depth_topic"
    )


@dataclass(frozen=True)
class NodeParams(PipelineOptions):
    """All parameters of the node; the pipeline takes its own from it."""

    autostart: bool = option(False, "Configure and activate by itself, without a lifecycle manager")
    bond_timeout: float = option(
        4.0,
        "Heartbeat of the bond with a lifecycle manager, as Nav2's parameter of this name; 0: none",
        unit="s",
        low=0.0,
        high=3600.0,
    )
    lazy: bool = option(
        False,
        "Use no frames while nobody listens to an output and no transform is broadcast; the map "
        "has gaps then",
    )
    map_folder: str = option(
        "",
        "Folder that ~/save_map and ~/load_map stay in; empty: any file that the node may write",
    )
    model: str = option("nano", "Embedded model name or folder of a model")
    runtime: str = option(
        "auto",
        "What executes the model: auto, torch, onnx, tensorrt, or 'package.module:function'",
    )
    export: str = option(
        "",
        "Folder of `g2vlm export` that onnx and tensorrt take; empty: the cache, filled by itself",
    )
    device: str = option("auto", "Device of the runtime: auto, cpu, cuda, cuda:0")
    precision: str = option(
        "auto", "Number format of the weights: auto, fp32, bf16, fp16, int8, int4+int8, int4"
    )
    prompt_mode: str = option(
        "auto",
        "Geometry and questions share one pass, or each has its published prompt; auto: published "
        "where the model's geometry hangs on the prompt",
        choices=("auto", "shared", "published"),
    )
    images: ImageParams = field(default_factory=ImageParams)
    points: CloudOptions = field(default_factory=CloudOptions)
    scan: ScanOptions = field(default_factory=ScanOptions)
    frames: FramesParams = field(default_factory=FramesParams)
    tf: TfParams = field(default_factory=TfParams)
    sensors: SensorParams = field(default_factory=SensorParams)
    status: StatusParams = field(default_factory=StatusParams)
    topics: tuple[CameraParams, ...] = ()  # one for each of `cameras`

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.scan.max_range >= self.obstacles.max_range:
            raise ValueError(
                f"scan.max_range is {self.scan.max_range:g}, expected below obstacles.max_range = "
                f"{self.obstacles.max_range:g}: the floor is not seen further, and nothing free"
            )

    @property
    def needs_transforms(self) -> bool:
        """Whether transforms between the robot's frames are looked up."""
        sensors = self.sensors
        by_tf = any(not camera.extrinsics for camera in self.topics)
        heard = sensors.imu_topic or sensors.cloud_topics or sensors.scan_topics
        return bool(
            (self.frames.base and by_tf) or self.frames.odom or sensors.odometry_topic or heard
        )

    @property
    def broadcasts(self) -> bool:
        """Whether transforms are broadcast."""
        return self.tf.publish or self.tf.up_to_scale

    def replaced(self, changes: Mapping[str, Any]) -> NodeParams:
        """A copy with some values changed, by full name, and everything checked again.

        Raises:
            ValueError: As `parse`.
        """
        topics = {
            f"{camera.name}.{item.name}": getattr(camera, item.name)
            for camera in self.topics
            for item in fields(camera)
            if item.name != "name"
        }
        return parse({**flat(self), **topics, **changes})


def node_options() -> dict[str, Option]:
    """The parameters of the node by full name, without those of its cameras."""
    return described(NodeParams)


def camera_options(camera: str) -> dict[str, Option]:
    """The parameters of one camera by full name."""
    return {
        f"{camera}.{name}": replace(
            made,
            default=str(made.default).format(camera=camera),
            description=f"{made.description} ({camera})",
        )
        for name, made in described(CameraParams).items()
    }


def is_camera_name(name: str) -> bool:
    """Whether a name can stand in topics and parameters, and is no parameter group."""
    return _CAMERA_NAME.fullmatch(name) is not None and name not in _reserved()


def parse(values: Mapping[str, Any], unknown: Sequence[str] = ()) -> NodeParams:
    """Check all values together.

    Args:
        values: By full name; what is missing takes its default.
        unknown: Names that somebody set and nobody declared.

    Raises:
        ValueError: Every problem: what, got, expected.
    """
    problems: list[str] = []
    params = NodeParams()
    try:
        params = from_flat(NodeParams, values)
    except ValueError as error:
        problems.append(str(error))
    names = _listed_cameras(values.get("cameras", params.cameras))
    problems += [
        f"cameras holds {name!r:.60}, expected letters, digits and _, and none of the parameter "
        f"groups {sorted(_reserved())}"
        for name in names
        if not is_camera_name(name)
    ]
    topics = tuple(_camera(name, values, problems) for name in names if is_camera_name(name))
    known = known_names(values)
    problems += [_unknown(name, known, names) for name in sorted({*unknown, *values} - known)]
    if problems:
        raise ValueError("; ".join(problems))
    return replace(params, topics=topics)


def known_names(values: Mapping[str, Any]) -> frozenset[str]:
    """All parameters that there are with these values, those of the cameras in them too."""
    cameras = _listed_cameras(values.get("cameras", NodeParams().cameras))
    return frozenset(
        {*node_options(), *(full for name in cameras for full in camera_options(name))}
    )


def _listed_cameras(value: Any) -> list[str]:
    """The names in a value that may be anything, each once."""
    listed = value if isinstance(value, list | tuple) else []
    return list(dict.fromkeys(name for name in listed if isinstance(name, str)))


def _camera(name: str, values: Mapping[str, Any], problems: list[str]) -> CameraParams:
    checked: dict[str, Value] = {}
    for full, made in camera_options(name).items():
        short = full.removeprefix(f"{name}.")
        try:
            checked[short] = value = made.check(full, values.get(full, made.default))
        except ValueError as error:
            problems.append(str(error))
            continue
        optional = short in _OPTIONAL_TOPICS and not value
        if short.endswith("_topic") and not optional and not is_topic_name(str(value)):
            problems.append(f"{full} is {value!r:.80}, expected a topic name")
    try:
        mounting(f"{name}.extrinsics", str(checked.get("extrinsics", "")))
    except ValueError as error:
        problems.append(str(error))
    return CameraParams(name, **{short: str(value) for short, value in checked.items()})


def _reserved() -> set[str]:
    return {name.split(".")[0] for name in node_options()}


def nearest(name: str, known: Collection[str]) -> str:
    """`; did you mean ...?` where a known name is much like this one, else ""."""
    found = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
    return f"; did you mean {found[0]}?" if found else ""


def _unknown(name: str, known: Collection[str], cameras: Sequence[str]) -> str:
    if name in RENAMED:
        return f"{name} is called {RENAMED[name]} now; rename it, its value stays"
    if name in REMOVED:
        return f"{name} is gone: {REMOVED[name]}"
    camera, _, short = name.rpartition(".")
    if short in _RENAMED_OF_CAMERAS and camera in cameras:
        return f"{name} is called {camera}.{_RENAMED_OF_CAMERAS[short]} now; rename it"
    if is_camera_name(camera) and short in described(CameraParams):
        return (
            f"{name} is of no camera: cameras is {list(cameras)}; add {camera!r} to it, e.g. "
            f"cameras:=[{camera}]"
        )
    hint = nearest(name, known) or "; remove it or correct its spelling"
    return f"{name} is no parameter of this node{hint}"
