# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Finds and reads the camera's true poses in a bag: TF, PoseStamped or Odometry."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .bag_files import BagReader
from .source import NS, RecordingError, TruePoses
from .transforms import TransformTree, transform_from

TF = "tf2_msgs/msg/TFMessage"
POSE_STAMPED = "geometry_msgs/msg/PoseStamped"
ODOMETRY = "nav_msgs/msg/Odometry"
ODOMETRY_WORD = "odom"  # in the name of the frame that wheels integrate in
TRUTH_WORDS = (
    *("ground_truth", "groundtruth", "gt", "truth", "mocap", "vicon"),
    *("optitrack", "vrpn", "qualisys", "leica"),
)
Deserialize = Callable[[bytes, str], Any]


@dataclass(frozen=True)
class PoseTopic:
    """Where the true poses are: topic "/tf" with its type, or a pose topic with its type."""

    topic: str
    msgtype: str


def find_poses(
    reader: BagReader, named: str, frame_id: str, deserialize: Deserialize
) -> tuple[PoseTopic | None, list[str]]:
    """Choose the source of true poses.

    A topic that the user names wins; then the only one whose name says ground truth; then TF, if
    a moving chain leads to the camera's frame and no frame of it is one that a robot estimates
    itself in (REP 105: map, odom). Any other pose may be a goal or somebody's estimate: it is
    asked for.

    Returns:
        The choice or None, and notes for the report.

    Raises:
        RecordingError: The named topic does not exist or carries no poses.
    """
    poses = {
        item.topic: item.msgtype
        for item in reader.connections
        if item.msgtype in {POSE_STAMPED, ODOMETRY} and item.msgcount
    }
    has_tf = any(item.msgtype == TF and item.msgcount for item in reader.connections)
    if named:
        if named in poses:
            return PoseTopic(named, poses[named]), []
        if named.lstrip("/") == "tf" and has_tf:
            return PoseTopic("/tf", TF), []
        known = sorted(poses) + (["/tf"] if has_tf else [])
        raise RecordingError(
            f"true pose topic {named} carries no poses in this bag; "
            f"it has: {', '.join(known) or 'none'}"
        )
    telling = [topic for topic in poses if is_truth(topic)]
    notes: list[str] = []
    if len(telling) != 1 and has_tf:
        tree = read_tree(reader, deserialize)
        if tree.moving_stamps(frame_id).size > 1:
            chain = tree.chain(frame_id)
            estimates = [frame for frame in chain if is_estimate(frame)]
            if not estimates:
                return PoseTopic("/tf", TF), []
            if ODOMETRY_WORD not in chain[-1].lower():  # wheels alone surprise nobody
                notes = [
                    f"TF leads from {chain[-1]} to {frame_id} through {estimates[-1]}, in which "
                    "robots estimate where they are: it is not taken as the ground truth. Where it "
                    "is, say so (--truth-pose-topic /tf)."
                ]
    if len(telling) == 1:
        return PoseTopic(telling[0], poses[telling[0]]), []
    # What wheels say is no ground truth, unless its name claims it.
    candidates = telling or sorted(t for t, kind in poses.items() if kind != ODOMETRY)
    if candidates:
        return None, [
            *notes,
            f"Poses are carried by {', '.join(sorted(candidates))}; none is taken as the ground "
            "truth, as its name does not say so of one alone. Choose it as true pose topic "
            "(--truth-pose-topic).",
        ]
    return None, notes


def read_poses(
    reader: BagReader, source: PoseTopic, frame_id: str, deserialize: Deserialize
) -> TruePoses:
    """Read the true poses of the camera's optical frame.

    A PoseStamped is taken as the pose of the camera itself. An Odometry is about its
    child_frame_id; a static TF chain from there to the camera is applied where the bag has one.
    """
    if source.msgtype == TF:
        tree = read_tree(reader, deserialize)
        stamps = tree.moving_stamps(frame_id)
        root = tree.chain(frame_id)[-1]
        return TruePoses(
            stamps,
            tree.lookup(frame_id, stamps),
            f"TF {root} -> {frame_id}",
            _tolerance(stamps),
        )
    by_stamp: dict[int, NDArray[np.float64]] = {}
    child = ""
    for message in _read(reader, source.topic, deserialize):
        pose = message.pose.pose if source.msgtype == ODOMETRY else message.pose
        child = getattr(message, "child_frame_id", "").lstrip("/")
        stamp = message.header.stamp.sec * NS + message.header.stamp.nanosec
        by_stamp[stamp] = transform_from(pose.position, pose.orientation)
    stamps = np.array(sorted(by_stamp), np.int64)
    T_world_body_M44 = np.stack([by_stamp[int(stamp)] for stamp in stamps])
    origin = f"{source.topic} ({source.msgtype.rsplit('/', 1)[1]})"
    if child and child != frame_id:
        T_body_cam = read_tree(reader, deserialize).static_between(child, frame_id)
        if T_body_cam is None:
            origin += f"; it is about {child}, and the bag says nothing of {frame_id} on it"
        else:
            T_world_body_M44 = T_world_body_M44 @ T_body_cam
            origin += f" with TF {child} -> {frame_id}"
    return TruePoses(stamps, T_world_body_M44, origin, _tolerance(stamps))


def is_truth(topic: str) -> bool:
    """Whether a topic's name says that it holds ground truth."""
    parts = topic.lower().split("/")
    return any(
        word in parts or any(f"_{word}" in part or f"{word}_" in part for part in parts)
        for word in TRUTH_WORDS
    )


def is_estimate(frame: str) -> bool:
    """Whether a TF frame's name is one of those that a robot estimates itself in."""
    words = re.split(r"[^a-z0-9]+", frame.lower())
    return ODOMETRY_WORD in frame.lower() or "map" in words


def _tolerance(stamps_ns: NDArray[np.int64]) -> int:
    """Half of the usual distance between true poses, at least 1 ms and at most 50 ms."""
    if len(stamps_ns) < 2:
        return 1_000_000
    return int(np.clip(np.median(np.diff(stamps_ns)) / 2, 1_000_000, 50_000_000))


def _read(reader: BagReader, topic: str, deserialize: Deserialize) -> Iterator[Any]:
    connections = [item for item in reader.connections if item.topic == topic]
    if connections:
        for connection, _, data in reader.messages(connections=connections):
            yield deserialize(data, connection.msgtype)


def read_tree(reader: BagReader, deserialize: Deserialize) -> TransformTree:
    """All of /tf_static and /tf."""
    tree = TransformTree()
    for topic in ("/tf_static", "/tf"):
        for message in _read(reader, topic, deserialize):
            for item in message.transforms:
                tree.add(
                    item.header.frame_id,
                    item.child_frame_id,
                    item.header.stamp.sec * NS + item.header.stamp.nanosec,
                    transform_from(item.transform.translation, item.transform.rotation),
                    static=topic == "/tf_static",
                )
    return tree
