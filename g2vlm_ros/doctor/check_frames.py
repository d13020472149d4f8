# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Checks of coordinate frames: who hangs on whom, and how they are named."""

from __future__ import annotations

from collections.abc import Iterator

from g2vlm_map.cameras import NS
from g2vlm_map.transform_tree import TransformUnknownError
from g2vlm_ros.doctor.findings import Finding, absence_s
from g2vlm_ros.doctor.seen import Seen
from g2vlm_ros.doctor.wanted import Want

__all__ = [
    "base_of",
    "check_parents",
    "check_rig_frames",
    "check_slashes",
    "check_transforms",
    "is_placed",
]

_LATE_S = 1.0
_DEEPEST = 64
_SENSORS = ("imu", "cloud", "scan")


def base_of(seen: Seen) -> str:
    """The frame whose pose is told; "" where nobody knows it."""
    if seen.params.frames.base:
        return seen.params.frames.base
    reference = seen.params.cameras[0]
    frames = seen.frames_of(reference)
    return "" if frames is None else seen.frame_id(frames, reference)


def is_placed(seen: Seen, camera: str, base: str) -> bool:
    """Whether a camera's place on the base is known."""
    if seen.camera(camera).extrinsics:
        return True
    frames = seen.frames_of(camera)
    if frames is None or not seen.params.frames.base:
        return False  # the node looks only for what is to hang on a base
    try:
        seen.transforms.tree.lookup(base, seen.frame_id(frames, camera))
    except TransformUnknownError:
        return False
    return True


def check_transforms(seen: Seen) -> Iterator[Finding]:
    """Frames that do not hang on the robot, and an odometry that stays out."""
    base, torn = base_of(seen), _torn(seen)
    for want, frame, setting in _hanging(seen):
        if frame == base or not base or torn & {*_chain(seen, frame), *_chain(seen, base)}:
            continue
        try:
            seen.transforms.tree.lookup(base, frame)
        except TransformUnknownError as error:
            yield Finding(
                "TF_MISSING",
                want.topic,
                f"its frame is {frame}: {error}",
                f"ros2 run tf2_ros static_transform_publisher --frame-id {base} --child-frame-id "
                f"{frame} --x ..." + (f", or {setting}: 'x y z qx qy qz qw'" if setting else ""),
                ("SENSOR_REFUSED", "NO_EXTRINSICS", "BASE_UNKNOWN"),
                absence_s(seen),
            )
    yield from _odometry(seen, torn)


def _hanging(seen: Seen) -> Iterator[tuple[Want, str, str]]:
    """Topics whose frame has to be known on the base, and the parameter that says it instead."""
    for want in seen.wants:
        hearing = seen.of(want)
        if hearing is None:
            continue
        if want.role == "frames":
            camera = seen.camera(want.camera)
            if seen.params.frames.base and not camera.extrinsics:
                yield want, seen.frame_id(hearing, want.camera), f"{want.camera}.extrinsics"
        elif want.role in _SENSORS:
            yield want, seen.frame_id(hearing), ""
        elif want.role == "odometry" and seen.params.frames.base:
            yield want, str(hearing.first.child_frame_id).lstrip("/"), ""


def _odometry(seen: Seen, torn: set[str]) -> Iterator[Finding]:
    frames, topic = seen.params.frames, seen.params.sensors.odometry_topic
    if not frames.odom or torn & {frames.odom, frames.base}:
        return
    if topic:
        yield from _odometry_frame(seen)
        return
    about = f"TF {frames.odom} -> {frames.base}"
    line = f"start what broadcasts {frames.odom} -> {frames.base}, or name its topic with "
    line += "sensors.odometry_topic"
    try:
        newest_ns = seen.transforms.tree.newest(frames.odom, frames.base)
    except TransformUnknownError as error:
        yield Finding("TF_MISSING", about, str(error), line, margin_s=absence_s(seen))
        return
    pictures = [hearing for name in seen.params.cameras if (hearing := seen.frames_of(name))]
    frame_ns = max((hearing.marks[-1].stamp_ns for hearing in pictures), default=0)
    late_s = (frame_ns - newest_ns) / NS
    if newest_ns and pictures and late_s > _LATE_S:
        text = f"its newest is {late_s:.1f} s older than the newest frame"
        yield Finding("TF_MISSING", about, text, line, margin_s=late_s)


def _odometry_frame(seen: Seen) -> Iterator[Finding]:
    """An odometry in another frame than the one that it is to be in."""
    want = seen.want("odometry")
    hearing = None if want is None else seen.of(want)
    if want is None or hearing is None:
        return
    parent, odom = seen.frame_id(hearing), seen.params.frames.odom
    if parent != odom:
        text = f"its frame is {parent!r:.60}, expected frames.odom = {odom!r:.60}"
        yield Finding("SENSOR_REFUSED", want.topic, text, f"frames.odom: {parent}", ("TF_MISSING",))


def check_parents(seen: Seen) -> Iterator[Finding]:
    """Frames with two parents, or that hang on themselves: the tree is torn, in turns."""
    mine, told = _relevant(seen), set()
    for child in sorted(mine):
        parents = seen.transforms.parents(child)
        if len(parents) > 1:
            told.add(child)
            yield Finding(
                "TF_CONFLICT",
                child,
                f"it has the parents {' and '.join(parents)}, and a frame has one: lookups follow "
                f"whoever spoke last. On /tf speak {_speakers(seen)}",
                f"stop one of those that broadcast {' -> , '.join(parents)} -> {child}"
                + _named(seen, child),
                ("TF_MISSING", "SENSOR_REFUSED", "EXTRINSICS_CHANGED", "ODOMETRY_JUMP"),
            )
    for link, cause in sorted(seen.transforms.refused, key=str):
        parent, child = link.parent.lstrip("/"), link.child.lstrip("/")
        if cause in ("cycle", "self") and child in mine:
            above = _chain(seen, parent)
            loop = [child, *reversed(above[: above.index(child) + 1 if child in above else 1])]
            told.update(loop)
            yield Finding(
                "TF_CONFLICT",
                child,
                f"{' <- '.join(dict.fromkeys(loop))} <- {child}: these frames hang on themselves. "
                f"On /tf speak {_speakers(seen)}",
                f"stop what broadcasts one of these links, such as {parent} -> {child}",
                ("TF_MISSING", "SENSOR_REFUSED"),
            )
    child = seen.params.frames.odom or base_of(seen)
    if seen.params.tf.publish and child not in told:
        yield from _in_the_way(seen, child)


def _in_the_way(seen: Seen, child: str) -> Iterator[Finding]:
    """Somebody who gives the frame a parent to which the node is to give one."""
    frames = seen.params.frames
    parents = seen.transforms.parents(child) if child else []
    if len(parents) == 1 and parents[0] != frames.map:
        yield Finding(
            "TF_CONFLICT",
            child,
            f"it has the parent {parents[0]} already, so {frames.map} -> {child} is not broadcast",
            f"frames.map: {parents[0]} and stop who broadcasts it, or tf.publish: false"
            if frames.odom
            else f"frames.odom: {parents[0]} with frames.base: {child}",
        )


def check_rig_frames(seen: Seen) -> Iterator[Finding]:
    """Cameras of one rig that name one optical frame: they would sit in one place."""
    owners: dict[str, list[str]] = {}
    for camera in seen.params.topics:
        frames = seen.frames_of(camera.name)
        if frames is not None and not camera.extrinsics:
            owners.setdefault(seen.frame_id(frames, camera.name), []).append(camera.name)
    for frame, cameras in owners.items():
        if len(cameras) > 1:
            yield Finding(
                "SAME_FRAME",
                frame,
                f"{' and '.join(cameras)} name one optical frame: they would sit in one place",
                f"another frame_id in the driver of {cameras[-1]}, or {cameras[-1]}.frame_id: "
                f"{cameras[-1]}_optical",
                ("EXTRINSICS_CHANGED", "NO_EXTRINSICS"),
            )


def check_slashes(seen: Seen) -> Iterator[Finding]:
    """Frames that are named as in ROS 1: tf2 refuses a leading slash."""
    where: dict[str, set[str]] = {}
    for want in seen.wants:
        hearing = seen.of(want)
        if hearing is not None and want.role not in ("info", "depth_info"):
            for mark in hearing.marks:
                if mark.frame_id.startswith("/"):
                    where.setdefault(mark.frame_id, set()).add(want.topic)
    mine = _relevant(seen)
    for link in seen.transforms.links:
        for name in (link.parent, link.child):
            if name.startswith("/") and name.lstrip("/") in mine:
                where.setdefault(name, set()).add("/tf_static" if link.is_static else "/tf")
    for name, topics in sorted(where.items()):
        yield Finding(
            "SLASH_FRAME",
            name,
            f"{', '.join(sorted(topics))} names it with a slash: this node takes it off, tf2 and "
            "what is built on it refuse it",
            f"set the driver's frame_id to {name.lstrip('/')}",
        )


def _relevant(seen: Seen) -> set[str]:
    """Frames that the node goes by, and all between them and the root."""
    frames = seen.params.frames
    starts = {frames.base, frames.odom}
    for want in seen.wants:
        hearing = seen.of(want)
        if hearing is not None and want.role not in ("info", "depth_info"):
            starts.add(seen.frame_id(hearing, want.camera if want.role == "frames" else ""))
    return {name for start in starts if start for name in _chain(seen, start)}


def _torn(seen: Seen) -> set[str]:
    """Frames whose links are told of by `check_parents`."""
    return {finding.about.lstrip("/") for finding in check_parents(seen)}


def _chain(seen: Seen, frame: str) -> list[str]:
    """A frame and its ancestors."""
    found = [frame]
    while (parent := seen.transforms.tree.parent(found[-1])) and len(found) < _DEEPEST:
        found.append(parent)
    return found


def _speakers(seen: Seen) -> str:
    ends = [item for topic in ("/tf", "/tf_static") for item in seen.publishers.get(topic, ())]
    return ", ".join(sorted({item.node for item in ends})) or "nobody"


def _named(seen: Seen, child: str) -> str:
    """A hint where one of the two is this node."""
    frames = seen.params.frames
    if frames.map in seen.transforms.parents(child) and seen.params.tf.publish:
        return ", or tf.publish: false"
    return ""
