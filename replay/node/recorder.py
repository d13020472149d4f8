# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Keeps what the node publishes: every message into an MCAP, the few facts that pacing needs."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection
from typing import Any

from g2vlm_map.recordings import NS
from g2vlm_map.recordings.source import header_stamp_ns

from ..outcome import MapChange, Timeline
from .bag_writer import BagWriter
from .conversions import ran_with, sample_of, scale_of, times_of
from .message_types import definitions


class Recorder:
    """Writes the recording and fills the timeline; safe from any thread.

    Args:
        writer: open for writing.
        scene_topics: those with one message per scene between them.
        status_topic: the node's status.
        timeline: filled here.
    """

    def __init__(
        self,
        writer: BagWriter,
        scene_topics: Collection[str],
        status_topic: str,
        timeline: Timeline,
    ) -> None:
        self._writer = writer
        self._scene_topics = scene_topics
        self._status_topic = status_topic
        self._timeline = timeline
        self._lock = threading.Lock()
        self.time_ns = 0  # the replay's clock; set by the player

    def define(self, msgtype: str) -> None:
        """Make a message type known to the recording."""
        with self._lock:
            self._writer.define(definitions(msgtype))

    def record(self, topic: str, msgtype: str, data: bytes) -> None:
        """Append a message and note when a scene has come."""
        now_s = time.monotonic()
        with self._lock:
            self._writer.write(topic, msgtype, self.time_ns, data)
        if topic in self._scene_topics:
            stamp_ns = header_stamp_ns(data)
            self._timeline.scene_s.setdefault(stamp_ns, now_s)
            self._timeline.again_s[stamp_ns] = now_s
            self._timeline.poses += 1

    def note_status(self, status: Any) -> None:
        """Take over a live SceneStatus message."""
        timeline = self._timeline
        timeline.ran_with = ran_with(status)
        timeline.reason_texts.update(zip(status.reason_codes, status.reason_texts, strict=True))
        timeline.statuses.append(sample_of(status, time.monotonic()))
        times = times_of(status)
        before = timeline.scene_times[-1].scenes if timeline.scene_times else 0
        if times is not None and times.scenes > before:
            timeline.scene_times.append(times)
            timeline.scales.append(scale_of(status))

    def note_change(self, event: Any) -> None:
        """Take over a live MapEvent message."""
        if event.kind == event.MAP_CHANGED:
            stamp_ns = event.header.stamp.sec * NS + event.header.stamp.nanosec
            change = MapChange(stamp_ns, event.map_version, event.cause, event.text)
            self._timeline.changes.append(change)
