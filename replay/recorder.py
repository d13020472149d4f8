"""Keeps what the node publishes: every message into an MCAP, the few facts that pacing needs."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from g2vlm_map.recordings.bag_writer import BagWriter
from g2vlm_map.recordings.source import header_stamp_ns

from .live_types import definitions


@dataclass(frozen=True)
class StatusSample:
    """What a status message said that pacing and the report need.

    Args:
        wall_s: monotonic seconds of its receipt.
        time_ns: the replay's clock then.
        received, used, dropped, scenes: the node's counters.
        state: STATE_* of SceneStatus.msg.
        segment: number of the segment.
        reasons: reason codes in force.
    """

    wall_s: float
    time_ns: int
    received: int
    used: int
    dropped: int
    scenes: int
    state: int
    segment: int
    reasons: tuple[str, ...]


@dataclass
class Timeline:
    """Receipt times by stamp; written by the executor's thread, read by the player.

    Args:
        sent_s: monotonic seconds at which each picture was published, by stamp.
        scene_s: monotonic seconds at which the pose of the scene of a stamp was received.
        statuses: all status messages in order.
        latencies_ms: (scenes so far, latency_ms, observe_ms, publish_ms), once per scene.
        last_status: the newest status message as the node sent it.
        reason_texts: the last explanation of each reason code.
    """

    sent_s: dict[int, float] = field(default_factory=dict)
    scene_s: dict[int, float] = field(default_factory=dict)
    statuses: list[StatusSample] = field(default_factory=list)
    latencies_ms: list[tuple[int, float, float, float]] = field(default_factory=list)
    last_status: Any = None
    reason_texts: dict[str, str] = field(default_factory=dict)

    def newest_scene_ns(self) -> int:
        """Stamp of the newest scene, 0 before the first."""
        return max(self.scene_s, default=0)


class Recorder:
    """Writes the recording and fills the timeline; safe from any thread.

    Args:
        writer: open for writing.
        scene_topic: the topic with one message per scene.
        status_topic: the node's status.
        timeline: filled here.
    """

    def __init__(
        self, writer: BagWriter, scene_topic: str, status_topic: str, timeline: Timeline
    ) -> None:
        self._writer = writer
        self._scene_topic = scene_topic
        self._status_topic = status_topic
        self._timeline = timeline
        self._lock = threading.Lock()
        self._counts: dict[str, int] = {}
        self.time_ns = 0  # the replay's clock; set by the player

    @property
    def counts(self) -> Mapping[str, int]:
        """Messages written by topic."""
        return dict(self._counts)

    def define(self, msgtype: str) -> None:
        """Make a message type known to the recording."""
        with self._lock:
            self._writer.define(definitions(msgtype))

    def record(self, topic: str, msgtype: str, data: bytes) -> None:
        """Append a message and note when a scene has come."""
        now_s = time.monotonic()
        with self._lock:
            self._writer.write(topic, msgtype, self.time_ns, data)
            self._counts[topic] = self._counts.get(topic, 0) + 1
        if topic == self._scene_topic:
            self._timeline.scene_s.setdefault(header_stamp_ns(data), now_s)

    def note_status(self, status: Any) -> None:
        """Take over a live SceneStatus message."""
        timeline = self._timeline
        timeline.last_status = status
        timeline.reason_texts.update(zip(status.reason_codes, status.reason_texts, strict=True))
        timeline.statuses.append(
            StatusSample(
                time.monotonic(),
                self.time_ns,
                status.frames_received,
                status.frames_used,
                status.frames_dropped,
                status.scenes,
                status.state,
                status.segment,
                tuple(status.reason_codes),
            )
        )
        scenes = timeline.latencies_ms[-1][0] if timeline.latencies_ms else 0
        if status.scenes > scenes and status.latency_ms >= 0:
            timeline.latencies_ms.append(
                (status.scenes, status.latency_ms, status.observe_ms, status.publish_ms)
            )
