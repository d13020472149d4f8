"""Plays a recording to the node: in the recorded rhythm, or as fast as the node takes it.

In lock-step (`rate` 0) the next picture goes out when the node is done with the one before:
its scene was published, or the picture was dropped by policy. The outcome then does not
depend on how fast the machine is.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from g2vlm_map.recordings.source import NS, PlayMessage, ReplaySource

from .asking import Asker
from .link import NodeLink
from .node_process import NodeProcess
from .recorder import Timeline

CLOCK_PERIOD_S = 0.01
POLL_S = 0.002
ALIVE_PERIOD_S = 0.25
# In lock-step: how long nothing may change until a picture counts as waiting for more.
IDLE_SECONDS = 0.6
SETTLE_TIMEOUT_S = 300.0
# At the end in real time: the node is done when nothing came for this long.
DRAIN_IDLE_S = 2.0
QUESTION_TIMEOUT_S = 120.0
LAST_STATUS_S = 3.0  # the status comes once a second by default


@dataclass(frozen=True)
class PlayResult:
    """How the playing went.

    Args:
        wall_s: duration in wall seconds.
        pictures: how many were published.
        stalled: pictures that the node did not settle in time (lock-step only).
        late_ms: how late each picture was published, milliseconds (real time only).
        peak_rss_mib: largest resident memory of the node.
        cpu_s: processor seconds of the node while playing.
    """

    wall_s: float
    pictures: int
    stalled: int
    late_ms: tuple[float, ...]
    peak_rss_mib: float
    cpu_s: float


class Player:
    """One playing of a recording.

    Args:
        source: what to play.
        link: the way to the node.
        process: the node.
        timeline: what came back so far.
        asker: the questions.
        on_picture: told after each published picture, for the progress bar.
    """

    def __init__(
        self,
        source: ReplaySource,
        link: NodeLink,
        process: NodeProcess,
        timeline: Timeline,
        asker: Asker,
        on_picture: Callable[[], None],
    ) -> None:
        self._source = source
        self._link = link
        self._process = process
        self._timeline = timeline
        self._asker = asker
        self._on_picture = on_picture
        self._published = 0
        self._stalled = 0
        self._late_ms: list[float] = []
        self._watch = _ProcessWatch(process)

    def play(self, rate: float) -> PlayResult:
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
            self._asker.wait(self._check, QUESTION_TIMEOUT_S)
        self._asker.wait(self._check, QUESTION_TIMEOUT_S)
        self._await_last_status()
        return PlayResult(
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
        for message in self._source.messages():
            first_ns = message.time_ns if first_ns is None else first_ns
            due = started + (message.time_ns - first_ns) / NS / rate
            while (left := due - time.monotonic()) > 0:
                now_ns = first_ns + int((time.monotonic() - started) * rate * NS)
                self._link.publish_clock(now_ns)
                self._check()
                self._asker.ask_due()
                time.sleep(min(left, CLOCK_PERIOD_S))
            if message.picture >= 0:
                self._late_ms.append((time.monotonic() - due) * 1e3)
            self._link.publish_clock(message.time_ns)
            self._publish(message)

    def _play_in_lockstep(self) -> None:
        for message in self._source.messages():
            self._link.publish_clock(message.time_ns)
            dropped = self._timeline.statuses[-1].dropped if self._timeline.statuses else 0
            self._publish(message)
            if message.picture >= 0:
                self._settle(message, dropped)
                while self._asker.ask_due(at_most=1):  # one by one: times without queueing
                    self._asker.wait(self._check, QUESTION_TIMEOUT_S)

    def _publish(self, message: PlayMessage) -> None:
        if message.picture >= 0:
            # A stamp may come twice: the node takes the first picture of it.
            self._timeline.sent_s.setdefault(message.stamp_ns, time.monotonic())
            self._published += 1
        self._link.publish(message)
        if message.picture >= 0:
            self._on_picture()

    def _settle(self, message: PlayMessage, dropped_before: int) -> None:
        """Wait until the node is done with a picture.

        It is done when its scene is here, or when the status counts it as arrived and one more
        as dropped, or when the runtime failed. A picture that waits for company (the first of a
        segment) shows as arrived, neither used nor dropped, while nothing changes.
        """
        started = time.monotonic()
        while time.monotonic() - started < SETTLE_TIMEOUT_S:
            if message.stamp_ns in self._timeline.scene_s:
                return
            status = self._timeline.statuses[-1] if self._timeline.statuses else None
            if status is not None and status.received >= self._published:
                pending = status.received - status.used - status.dropped
                if status.dropped > dropped_before:
                    return
                idle = status.wall_s - started > IDLE_SECONDS
                if idle and (pending > 0 or "RUNTIME_FAILED" in status.reasons):
                    return
            self._check()
            time.sleep(POLL_S)
        self._stalled += 1

    def _drain(self) -> None:
        """Wait until the node has worked off what it was sent."""
        started = time.monotonic()
        while time.monotonic() - started < SETTLE_TIMEOUT_S:
            newest = max(self._timeline.scene_s.values(), default=started)
            status = self._timeline.statuses[-1] if self._timeline.statuses else None
            busy = status is None or status.received > status.used + status.dropped
            idle_s = time.monotonic() - max(newest, started)
            if idle_s > (5 * DRAIN_IDLE_S if busy else DRAIN_IDLE_S):
                return
            self._asker.ask_due()
            self._check()
            time.sleep(CLOCK_PERIOD_S)

    def _await_last_status(self) -> None:
        """Wait for a status that counts everything: the last scene and the last picture."""
        started = time.monotonic()
        while time.monotonic() - started < LAST_STATUS_S:
            self._check()
            status = self._timeline.statuses[-1] if self._timeline.statuses else None
            # The last picture may still be on its way: one whose stamp has a scene already.
            counts_all = status is not None and status.received >= self._published
            if status is not None and counts_all and status.wall_s > started:
                return
            time.sleep(CLOCK_PERIOD_S)

    def _check(self) -> None:
        self._watch.sample()


class _ProcessWatch:
    """Looks after the node now and then: is it alive, how large is it."""

    def __init__(self, process: NodeProcess) -> None:
        import psutil

        self._process = process
        self._info = psutil.Process(process.pid)
        self._gone = psutil.Error
        self._next_s = 0.0
        self.peak_rss_mib = 0.0

    def sample(self) -> None:
        now = time.monotonic()
        if now < self._next_s:
            return
        self._next_s = now + ALIVE_PERIOD_S
        self._process.check_alive()
        try:
            self.peak_rss_mib = max(self.peak_rss_mib, self._info.memory_info().rss / 2**20)
        except self._gone:
            self._process.check_alive()

    def cpu_s(self) -> float:
        try:
            times = self._info.cpu_times()
        except self._gone:
            return 0.0
        return float(times.user + times.system)
