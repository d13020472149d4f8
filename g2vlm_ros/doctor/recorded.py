# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Looks at a bag: what a node with these parameters would get of it. Needs the library rosbags."""

from __future__ import annotations

from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from g2vlm_map.recordings import is_bag
from g2vlm_map.recordings.bag_files import BagReader
from g2vlm_map.recordings.bag_opening import deserialize, opened
from g2vlm_map.recordings.source import RecordingError
from g2vlm_ros.doctor.hearing import Hearing
from g2vlm_ros.doctor.machine_facts import look_at_machine
from g2vlm_ros.doctor.seen import ClockSeen, Endpoint, Mismatch, Seen
from g2vlm_ros.doctor.told import Told
from g2vlm_ros.doctor.transforms_seen import TransformsHeard
from g2vlm_ros.doctor.wanted import TF, Want, wanted

__all__ = ["look_at_bag"]

_MOST = 2000  # messages of a topic that are looked at; heads of a long bag say no more
_PLAYER = "the bag"


def look_at_bag(path: Path, told: Told) -> Seen:
    """Read heads, calibration and transforms of what the node would listen to.

    Raises:
        RecordingError: It is no bag, or cannot be read.
    """
    if not path.exists():
        raise RecordingError(f"{path} does not exist; expected a bag")
    if not is_bag(path):
        raise RecordingError(
            f"{path} is no bag; expected a folder with metadata.yaml, or a .mcap, .db3 or .bag file"
        )
    wants = [] if told.problem else wanted(told.params, told.names)
    decode = partial(deserialize, path)
    with opened(path) as (reader, lost):
        publishers: dict[str, tuple[Endpoint, ...]] = {}
        for item in reader.connections:
            if item.msgcount:
                ends = publishers.get(item.topic, ())
                publishers[item.topic] = (*ends, Endpoint(_PLAYER, item.msgtype))
        heard = {
            want.topic: hearing
            for want in wants
            if (hearing := _hear(reader, want, decode)) is not None
        }
        transforms, broken = _transforms(reader, decode)
        mismatches = [item for want in wants for item in _unheard(reader, want)]
    left_out = "" if not lost else f" ({len(lost)} parts of it cannot be read)"
    left_out += "" if not broken else f" ({broken} messages of TF cannot be read)"
    return Seen(
        source=f"{path}{left_out}",
        is_live=False,
        params=told.params,
        names=told.names,
        wants=wants,
        publishers=publishers,
        heard=heard,
        mismatches=tuple(mismatches),
        transforms=transforms.seen(),
        # A player is asked for /clock, so a bag is no reason to miss it.
        clock=ClockSeen(False),
        machine=look_at_machine(told.params, None, None),
        problem=told.problem,
    )


def _hear(reader: BagReader, want: Want, decode: Any) -> Hearing | None:
    found = [
        item
        for item in reader.connections
        if (item.topic, item.msgtype) == (want.topic, want.msgtype) and item.msgcount
    ]
    if not found:
        return None
    hearing = Hearing(want.topic, want.msgtype, decode)
    for _, time_ns, data in islice(reader.messages(connections=found), _MOST):
        hearing.take(bytes(data), time_ns)
    return hearing


def _transforms(reader: BagReader, decode: Any) -> tuple[TransformsHeard, int]:
    """All of /tf_static and /tf, and how many messages of them cannot be read."""
    heard, broken = TransformsHeard(), 0
    for topic in ("/tf_static", "/tf"):
        found = [i for i in reader.connections if (i.topic, i.msgtype) == (topic, TF)]
        for _, _, data in reader.messages(connections=found) if found else ():
            try:
                heard.take(decode(data, TF), is_static=topic == "/tf_static")
            except RecordingError:
                broken += 1
    return heard, broken


def _unheard(reader: BagReader, want: Want) -> list[Mismatch]:
    """Offers of the recording, as it will be played, that the node cannot hear."""
    offers = [
        str(getattr(qos.reliability, "name", qos.reliability)).lower()
        for item in reader.connections
        if (item.topic, item.msgtype) == (want.topic, want.msgtype)
        for qos in getattr(item.ext, "offered_qos_profiles", ())
    ]
    if want.reliability != "reliable" or "best_effort" not in offers:
        return []
    reason = "it was recorded from a best-effort publisher, and is played as one"
    return [Mismatch(want.topic, _PLAYER, "the node", "reliability", reason, True)]
