# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Checks of topics: who publishes them, of which type, with which QoS."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from g2vlm_map.recordings.bag_topics import DEPTH_WORDS
from g2vlm_ros.camera_topics import FRAME_TYPES, offers_best_effort, why_silent
from g2vlm_ros.doctor.findings import Finding, absence_s
from g2vlm_ros.doctor.seen import Mismatch, Seen
from g2vlm_ros.doctor.wanted import Want

__all__ = ["check_published", "check_qos"]

_COMPRESSED = "/compressed"
_SHOWN = 3  # likely topics at most


def check_qos(seen: Seen) -> Iterator[Finding]:
    """QoS that do not fit: the subscription is there, the publisher is there, nothing arrives."""
    for item in seen.mismatches:
        if item.is_input and item.topic == "/tf_static":
            yield Finding(
                "INCOMPATIBLE_QOS",
                item.topic,
                f"{item.publisher} offers it volatile, and whoever comes later asks for "
                "transient_local: its transforms are lost to all",
                f"let {item.publisher} publish /tf_static with durability transient_local, as "
                "tf2_ros.StaticTransformBroadcaster does",
                ("TF_MISSING", "BASE_UNKNOWN"),
            )
        elif item.is_input:
            yield Finding(
                "INCOMPATIBLE_QOS",
                item.topic,
                offers_best_effort([item.publisher]),
                "images.reliability: best_effort",
                ("NO_IMAGES", "NO_CAMERA_INFO"),
            )
        else:
            yield _unheard_output(item)


def _unheard_output(item: Mismatch) -> Finding:
    wanted = "best_effort" if item.policy == "reliability" else "volatile"
    return Finding(
        "INCOMPATIBLE_QOS",
        item.topic,
        f"{item.subscriber} hears nothing of {item.publisher}: {item.reason}",
        f"let {item.subscriber} ask for {item.policy} {wanted}",
    )


def check_published(seen: Seen) -> Iterator[Finding]:
    """Topics that nobody publishes, or with another type, or that stay silent."""
    unheard = {item.topic for item in seen.mismatches if item.is_input}
    for want in seen.wants:
        if want.topic in unheard or seen.of(want) is not None:
            continue
        if want.role == "frames":
            yield _no_frames(seen, want)
        elif want.role != "info" and not _hangs_on_depth(seen, want):
            yield _no_sensor(seen, want)


def _hangs_on_depth(seen: Seen, want: Want) -> bool:
    """A depth's CameraInfo is told of where the depth itself is there."""
    depth = seen.want("depth", want.camera)
    return want.role == "depth_info" and (depth is None or seen.of(depth) is None)


def _no_frames(seen: Seen, want: Want) -> Finding:
    silence = why_silent(seen.names, seen.camera(want.camera), seen.types_of)
    explains = ("NO_IMAGES", "NO_CAMERA_INFO", "UNSYNCHRONISED")
    if silence.is_other_type:
        line = f"{silence.parameter}: {silence.value}"
        return Finding("WRONG_TRANSPORT", want.topic, silence.text, line, explains)
    if seen.types_of(want.topic):
        return _silent(seen, want, silence.text, explains)
    found = likely(seen, want)
    text = silence.text + _listing(found, want)
    line = _naming(want, found[0]) if found else _start("the camera's driver")
    return Finding("NOBODY_PUBLISHES", want.topic, text, line, explains)


def _no_sensor(seen: Seen, want: Want) -> Finding:
    explains = ("SENSOR_REFUSED", "TF_MISSING", "DEPTH_MISSING", "SCALE_UNKNOWN")
    types = seen.types_of(want.topic)
    if want.msgtype in types:
        text = f"{len(types)} publisher of {want.topic} delivers nothing"
        return _silent(seen, want, text, explains)
    if types:
        text = f"{want.topic} carries {', '.join(sorted(set(types)))}, expected {want.msgtype}"
    else:
        text = f"nobody publishes {want.topic}"
    found = likely(seen, want)
    line = _naming(want, found[0]) if found else _start(f"what publishes {want.topic}")
    return Finding("NOBODY_PUBLISHES", want.topic, text + _listing(found, want), line, explains)


def _silent(seen: Seen, want: Want, text: str, explains: tuple[str, ...]) -> Finding:
    hearing = seen.heard.get(want.topic)
    line = f"ros2 topic hz {want.topic}"
    if hearing is not None and hearing.problem:
        return Finding("SILENT_TOPIC", want.topic, f"{text}: {hearing.problem}", line, explains)
    return Finding("SILENT_TOPIC", want.topic, text, line, explains, absence_s(seen))


def _start(what: str) -> str:
    return f"start {what}; ros2 topic list -t shows what is there"


def _listing(found: list[str], want: Want) -> str:
    if not found:
        return f". No other topic carries {want.msgtype}"
    return f". Of this type are {', '.join(found[:_SHOWN])}"


def _naming(want: Want, topic: str) -> str:
    """The line that names another topic; of compressed frames with their transport."""
    if want.role == "frames" and topic.endswith(_COMPRESSED):
        base = topic.removesuffix(_COMPRESSED)
        return f"{want.parameter}: {base} with {want.camera}.image_transport: compressed"
    return f"{want.parameter}: {topic}"


def likely(seen: Seen, want: Want) -> list[str]:
    """Topics that could be meant, the likeliest first: of the type, not taken, named alike."""
    kinds = [want.msgtype]
    if want.role == "frames":
        kinds += [kind for kind in FRAME_TYPES.values() if kind != want.msgtype]
    taken = {item.topic for item in seen.wants}
    own = seen.names.resolve_topic_name("~/")
    for kind in kinds:
        found = [
            topic
            for topic in seen.topics_of_type(kind)
            if topic not in taken and not topic.startswith(own)
        ]
        if found:
            return sorted(found, key=lambda topic: (_is_depth(topic, want), -_alike(topic, want)))
    return []


def _is_depth(topic: str, want: Want) -> bool:
    """Whether a topic's name speaks of depth where colour is wanted, or the other way round."""
    return any(word in topic.lower() for word in DEPTH_WORDS) != (want.role == "depth")


def _alike(topic: str, want: Want) -> float:
    return difflib.SequenceMatcher(None, topic, want.topic).ratio()
