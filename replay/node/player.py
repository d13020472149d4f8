# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Plays a recording to the node: in the recorded rhythm, or as fast as the node takes it.

In lock-step (`rate` 0) the next frame goes out when the node is done with the one before:
its scene was published, or the frame was dropped by policy. The outcome then does not
depend on how fast the machine is.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rosbags.rosbag2 import WriterError

from g2vlm_map.options import WindowOptions
from g2vlm_map.recordings import NS, Recording, RigRecording, cameras_of
from g2vlm_map.recordings.source import CAMERA_INFO, IMAGE
from g2vlm_model.interface.progress import Progress

from ..asking import Answer, Asker
from ..depth_sensor import DepthSensor, depth_sensor
from ..domain import ReservedDomain
from ..errors import ReplayInputError
from ..machine import ProcessWatch
from ..outcome import Outputs, Played, Timeline
from ..question_file import Question
from ..run_options import MAP_FILE, ModelOptions, RunOptions, depth_source, parameters_of
from .bag_writer import BagWriter
from .conversions import (
    DEPTH_INFO_TOPIC,
    DEPTH_TOPIC,
    PlayMessage,
    base_of,
    messages_of,
    robot_of,
    robot_topics_of,
    topics_of,
    with_depth,
)
from .link import NodeLink
from .process import SCENE_TOPICS, STATUS_TOPIC, NodeProcess
from .published import Published
from .recorder import Recorder

LOGGER = logging.getLogger(__name__)

CLOCK_PERIOD_S = 0.01
POLL_S = 0.002
# In lock-step: how long nothing may change until a frame counts as waiting for more.
IDLE_SECONDS = 0.6
APART_SECONDS = 10.0  # the same for a rig's moment that has all of its frames
SETTLE_TIMEOUT_S = 300.0  # without a pass at work; with one it is waited for, however long
# At the end in real time: the node is done when nothing came for this long.
DRAIN_IDLE_S = 2.0
QUESTION_TIMEOUT_S = 120.0
SILENT_S = 60.0  # a node whose status does not come for so long is at nothing
LAST_STATUS_S = 3.0  # the status comes once a second by default


class Player:
    """One playing of a recording.

    Args:
        recording: what to play.
        link: the way to the node.
        process: the node.
        timeline: what came back so far.
        asker: the questions.
        on_frame: told after each published frame, for the progress.
        min_moments: the node's parameter `window.min_moments`.
        depth: played with the frames; None: no depth is.
    """

    def __init__(
        self,
        recording: Recording,
        link: NodeLink,
        process: NodeProcess,
        timeline: Timeline,
        asker: Asker,
        on_frame: Callable[[], None],
        min_moments: int = 2,
        depth: DepthSensor | None = None,
    ) -> None:
        self._recording = recording
        self._depth = depth
        self._link = link
        self._process = process
        self._timeline = timeline
        self._asker = asker
        self._on_frame = on_frame
        self._min_moments = min_moments
        names = list(cameras_of(recording))
        self._reference, self._cameras = names[0], len(names)
        self._newest_ns, self._late_ns = 0, math.inf
        self._sent_s = 0.0  # when the last message went out
        self._waiting = 0  # frames that wait without a pass, as of the last that was settled
        self._published = 0
        self._stalled = 0
        self._late_ms: list[float] = []
        self._watch = ProcessWatch(process.pid)

    def play(self, rate: float) -> Played:
        """Play everything, ask everything, and wait until the node is done.

        Args:
            rate: speed relative to the recording; 0 is lock-step.

        Raises:
            NodeFailedError: The node ended meanwhile.
        """
        started = time.monotonic()
        cpu_before = self._watch.cpu_s()
        if rate > 0:
            self._play_in_time(rate)
            self._drain()
        else:
            self._play_in_lockstep()
        while self._asker.ask_due(at_end=True, at_most=1):
            self._await_answers()
        self._await_answers()
        self._await_last_status()
        return Played(
            time.monotonic() - started,
            self._published,
            self._stalled,
            tuple(self._late_ms),
            self._watch.peak_rss_mib,
            self._watch.cpu_s() - cpu_before,
        )

    def _play_in_time(self, rate: float) -> None:
        first_ns: int | None = None
        started = time.monotonic()
        for message in self._messages():
            first_ns = message.time_ns if first_ns is None else first_ns
            due = started + (message.time_ns - first_ns) / NS / rate
            while (left := due - time.monotonic()) > 0:
                now_ns = first_ns + int((time.monotonic() - started) * rate * NS)
                self._link.publish_clock(now_ns)
                self._check()
                self._asker.ask_due()
                time.sleep(min(left, CLOCK_PERIOD_S))
            if message.frame >= 0:
                self._late_ms.append((time.monotonic() - due) * 1e3)
            self._link.publish_clock(message.time_ns)
            self._publish(message)

    def _play_in_lockstep(self) -> None:
        for message in self._messages():
            self._link.publish_clock(message.time_ns)
            last = self._timeline.last
            dropped = last.dropped if last is not None else 0
            self._publish(message)
            if message.moment_ns >= 0:
                self._settle(message, dropped)
                while self._asker.ask_due(at_most=1):  # one by one: times without queueing
                    self._await_answers()

    def _messages(self) -> Iterator[PlayMessage]:
        messages, info = messages_of(self._recording), self._recording.info
        if self._depth is None:
            return messages
        return with_depth(messages, self._depth, info.image_topic, info.frame_id)

    def _publish(self, message: PlayMessage) -> None:
        if message.frame >= 0:
            # A stamp may come twice: the node takes the first frame of it.
            if message.camera in ("", self._reference):
                self._timeline.sent_s.setdefault(message.stamp_ns, time.monotonic())
            self._published += 1
        self._sent_s = time.monotonic()
        self._link.publish(message)
        if message.frame >= 0 and message.camera in ("", self._reference):
            self._on_frame()

    def _settle(self, message: PlayMessage, dropped_before: int) -> None:
        """Wait until the node is done with a frame.

        It is done when its scene and the status behind it are here, or when the status counts one
        more frame as dropped and none as in work. Frames that wait show as arrived, neither used
        nor dropped, and so does one whose pass takes its time. Without a pass wait the first
        frames of a segment, until they are `min_moments`; a late frame, until the next one tells
        what it was; and what a failed pass gave back.
        """
        late = self._is_late(message.moment_ns)
        started = idle_since = time.monotonic()
        while time.monotonic() - idle_since < SETTLE_TIMEOUT_S:
            status = self._timeline.last
            at_work = status is not None and status.at_work
            idle_since = time.monotonic() if at_work else idle_since
            # The status behind a scene says that the map has taken it in: what the next frame is
            # worth hangs on that.
            told = status is not None and status.scenes >= self._timeline.poses
            if told and self._timeline.again_s.get(message.moment_ns, -1.0) >= self._sent_s:
                self._waiting = 0
                return
            if status is not None and status.received >= self._published:
                waiting = status.received - status.used - status.dropped
                if status.dropped > dropped_before and waiting <= self._waiting:
                    self._waiting = waiting
                    return
                few = not status.has_scene and waiting < self._min_moments * self._cameras
                waits = late or few or "RUNTIME_FAILED" in status.reasons
                patience_s = IDLE_SECONDS if waits else self._patience_s(message)
                if status.wall_s - started > patience_s and not at_work:
                    self._waiting = 0 if late else waiting
                    return
            self._check()
            time.sleep(POLL_S)
        self._stalled += 1

    def _is_late(self, moment_ns: int) -> bool:
        """Whether a moment lies behind the newest one; two in a row that ascend go round again."""
        late = moment_ns <= self._newest_ns
        if late and moment_ns > self._late_ns:
            late = False
        if not late:
            self._newest_ns = moment_ns
        self._late_ns = moment_ns if late else math.inf
        return late

    def _patience_s(self, message: PlayMessage) -> float:
        """How long a moment's pass may take; for ever where there is one camera.

        A rig's moment that lacks a camera, or whose frames lie too far apart, may have none.
        """
        if self._cameras == 1:
            return math.inf
        slowest = max((times.latency for times in self._timeline.scene_times), default=0.0)
        whole = message.cameras == self._cameras
        return max(APART_SECONDS if whole else IDLE_SECONDS, 3e-3 * slowest)

    def _drain(self) -> None:
        """Wait until the node has worked off what it was sent."""
        started = idle_since = time.monotonic()
        while time.monotonic() - idle_since < SETTLE_TIMEOUT_S:
            newest = max(self._timeline.scene_s.values(), default=started)
            status = self._timeline.last
            busy = status is None or status.received > status.used + status.dropped
            if status is not None and status.at_work:
                idle_since = time.monotonic()
            idle_s = time.monotonic() - max(newest, idle_since)
            if idle_s > (5 * DRAIN_IDLE_S if busy else DRAIN_IDLE_S):
                return
            self._asker.ask_due()
            self._check()
            time.sleep(CLOCK_PERIOD_S)

    def _await_answers(self) -> None:
        """Wait for the replies to what was asked; for a pass or an answer at work however long."""
        self._asker.wait(self._check, QUESTION_TIMEOUT_S, self._is_at_work)

    def _is_at_work(self) -> bool:
        """Whether the node has just said that it is at a pass or a question."""
        status = self._timeline.last
        if status is None or time.monotonic() - status.wall_s > SILENT_S:
            return False
        return status.at_work or status.is_asked

    def _await_last_status(self) -> None:
        """Wait for a status that counts everything: the last scene and the last frame."""
        started = time.monotonic()
        while time.monotonic() - started < LAST_STATUS_S:
            self._check()
            status = self._timeline.last
            # The last frame may still be on its way: one whose stamp has a scene already.
            counts_all = status is not None and status.received >= self._published
            if status is not None and counts_all and status.wall_s > started:
                return
            time.sleep(CLOCK_PERIOD_S)

    def _check(self) -> None:
        if self._watch.sample():
            self._process.check_alive()
        self._link.check()


@contextmanager
def play_through_node(
    recording: Recording,
    options: RunOptions,
    questions: list[Question],
    timeline: Timeline,
    shown: Progress,
) -> Iterator[tuple[Played, list[Answer], Outputs]]:
    """Start the node, play it the recording, ask it the questions, and end it.

    Args:
        recording: what to play.
        options: of the replay.
        questions: to ask.
        timeline: filled.
        shown: told how far it is.

    Yields:
        How it went, the answers, and what the node published; the node has ended then.

    Raises:
        ReplayInputError: The recording of its outputs cannot be written.
        NodeFailedError: It died or did not become active.
    """
    info, recorded = recording.info, options.out / "recorded"
    source, camera = depth_source(options.model), next(iter(cameras_of(recording)))
    depth = depth_sensor(recording, source, camera)
    topics, map_file = topics_of(recording), options.out / MAP_FILE
    if depth is not None:
        topics |= {DEPTH_TOPIC: IMAGE, DEPTH_INFO_TOPIC: CAMERA_INFO}
    rig = recording if isinstance(recording, RigRecording) else None
    try:
        with (
            BagWriter(recorded) as writer,
            ReservedDomain() as domain,
            NodeProcess(
                *(options.model, info, domain.number, options.out / "node.log"),
                *(robot_of(recording), rig, "" if depth is None else DEPTH_TOPIC),
            ) as process,
        ):
            recorder = Recorder(writer, SCENE_TOPICS, STATUS_TOPIC, timeline)
            timeout_s, robot = options.question_timeout_s, robot_topics_of(recording)
            link = NodeLink(topics, domain.number, recorder, timeout_s, robot)
            asker = Asker(questions, info.stamps_ns, link.ask, timeline)
            frame_played = _frame_played(shown, timeline)
            least = _min_moments(options.model)
            try:
                _wait_for_node(link, process, options.start_timeout_s, shown)
                player = Player(
                    recording, link, process, timeline, asker, frame_played, least, depth
                )
                played = player.play(options.rate)
                if unsaved := link.save_map(map_file.absolute()):
                    LOGGER.warning("the map is not in the report: %s", unsaved)
            finally:
                link.close()
    except (WriterError, OSError) as error:
        raise ReplayInputError(f"cannot write {recorded}: {error}") from error
    kept = map_file if map_file.is_file() else None
    outputs = Published(recorded, timeline.statuses, kept, base_of(recording))
    yield played, asker.answers(), outputs


def _frame_played(shown: Progress, timeline: Timeline) -> Callable[[], None]:
    """Counts a frame that was played."""

    def played_one() -> None:
        shown.advance()
        shown.note(f"{len(timeline.scene_s)} scenes")

    return played_one


def _wait_for_node(link: NodeLink, process: NodeProcess, timeout_s: float, shown: Progress) -> None:
    """Wait until it is active and what it builds is built."""

    def starting(state: str) -> None:
        shown.stage(f"node: {state}")

    link.wait_until_active(process, timeout_s, starting)
    link.wait_until_built(process, starting)
    shown.begin("playing")


def _min_moments(model: ModelOptions) -> int:
    """How many frames the first scene of a segment needs."""
    try:
        return parameters_of(model).window.min_moments
    except ReplayInputError:  # the node says what is wrong, in its own words
        return WindowOptions().min_moments
