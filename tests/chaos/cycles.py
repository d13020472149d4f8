# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A node that is configured, activated, deactivated and cleaned up again and again, in any order.

    python -m tests.chaos.cycles --cycles 1000
    python -m tests.chaos.cycles --middleware 200   # what is left of an entity that is destroyed

Each step asks for a transition drawn at random, allowed or not, while frames arrive and questions
are open; `configure` to `cleanup` makes a cycle. Wanted: the state is what the lifecycle says, a
question that was sent while the node is up has one answer, no thread stays, and memory does not
grow.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
import rclpy
from lifecycle_msgs.msg import Transition
from rclpy.action import ActionServer
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image

from benchmarks.common import print_table
from g2vlm_interfaces.action import Ask
from g2vlm_interfaces.srv import SpatialQuery
from g2vlm_model.interface import AnswerStatus
from tests.ros.graph import NS, Graph, image_message, picture

from .watched import Growth, growth

__all__ = ["Cycling", "main"]

CONFIGURE, CLEANUP = Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_CLEANUP
ACTIVATE, DEACTIVATE = Transition.TRANSITION_ACTIVATE, Transition.TRANSITION_DEACTIVATE
AFTER = {
    ("unconfigured", CONFIGURE): "inactive",
    ("inactive", ACTIVATE): "active",
    ("inactive", CLEANUP): "unconfigured",
    ("active", DEACTIVATE): "inactive",
}
# Towards the next cycle more often than not.
WEIGHTS = {
    "unconfigured": {CONFIGURE: 8, ACTIVATE: 1, CLEANUP: 1},
    "inactive": {ACTIVATE: 5, CLEANUP: 5, CONFIGURE: 1},
    "active": {DEACTIVATE: 6, CLEANUP: 1, ACTIVATE: 1},
}
MOST_FRAMES, MOST_QUESTIONS = 4, 3  # between two transitions
ANSWER_S = 10.0
MOST_KB_A_CYCLE = 1.0


class Cycling:
    """One node, driven through its lifecycle at random.

    Args:
        seed: Of the order.
        parameters: Of the node.
    """

    def __init__(self, seed: int, parameters: dict[str, Any] | None = None) -> None:
        self._random = random.Random(seed)
        self.graph = Graph({"status.period_s": 0.1, **(parameters or {})}, spin_s=0.05)
        self.state = "unconfigured"
        self.cycles = 0
        self.transitions: Counter[str] = Counter()
        self.answers: Counter[str] = Counter()
        self.unanswered = 0
        self._publisher = self.graph.client.create_publisher(
            Image, "/camera/image_raw", qos_profile_sensor_data
        )
        self._query = self.graph.client.create_client(SpatialQuery, "/g2vlm/query")
        self._open: list[Any] = []

    def step(self) -> None:
        """Frames, questions, and one transition.

        Raises:
            AssertionError: The node did not do what the lifecycle says.
        """
        for _ in range(self._random.randint(0, MOST_FRAMES)):
            self.graph.stamp_ns += NS // 10
            self.graph.shift += 12
            rgb = picture(self.graph.shift)
            self._publisher.publish(image_message(rgb, self.graph.stamp_ns))
            if self._random.random() < 0.5:
                self.graph.spin(0.01)
        # A node that is not configured has no such service: nobody could answer.
        if self.state != "unconfigured" and self._query.service_is_ready():
            for _ in range(self._random.randint(0, MOST_QUESTIONS)):
                request = SpatialQuery.Request(question="How far is the wall?")
                self._open.append((time.monotonic(), self._query.call_async(request)))
        number = self._random.choices(*zip(*WEIGHTS[self.state].items(), strict=True))[0]
        wanted = AFTER.get((self.state, number), self.state)
        done = self.graph.transition(number)
        assert done == ((self.state, number) in AFTER), (self.state, number, done)
        self.transitions[f"{self.state} {number}"] += 1
        if number == CLEANUP and done:
            self.cycles += 1
        self.state = wanted
        self._look_for_answers()

    def _look_for_answers(self) -> None:
        """Count answers; a question without one in time is counted too."""
        self.graph.spin(0.0)
        still = []
        for asked_s, future in self._open:
            if future.done():
                self.answers[AnswerStatus(future.result().answer.status).name] += 1
            elif time.monotonic() - asked_s > ANSWER_S:
                self.unanswered += 1
            else:
                still.append((asked_s, future))
        self._open = still

    def finish(self) -> None:
        """Wait for the last answers, and end the node."""
        deadline = time.monotonic() + ANSWER_S + 1.0
        while self._open and time.monotonic() < deadline:
            self.graph.spin(0.05)
            self._look_for_answers()
        self.graph.close()


def main(argv: Sequence[str] | None = None) -> int:
    """Run; 0 where all that is wanted holds."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cycles", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("out/chaos"))
    parser.add_argument("--middleware", type=int, default=0, metavar="TIMES", help="only that")
    given = parser.parse_args(argv)
    rclpy.init(args=["--ros-args", "--log-level", "fatal"])
    if given.middleware:
        print_table(
            [["made and destroyed", "bytes left of each"], *_left_of_each(given.middleware)]
        )
        return 0
    cycling = Cycling(given.seed)
    process, samples = psutil.Process(), []
    started, seen = time.monotonic(), 0
    while cycling.cycles < given.cycles:
        cycling.step()
        if cycling.cycles >= seen + 5:
            seen = cycling.cycles
            gc.collect()
            samples.append((seen, process.memory_info().rss / 1024, process.num_fds()))
    cycling.finish()
    left = [thread.name for thread in threading.enumerate() if thread.name.startswith("g2vlm-")]
    rss = growth([count for count, *_ in samples], [kb for _, kb, _ in samples], first=0.3)
    report = {
        "cycles": cycling.cycles,
        "transitions": dict(cycling.transitions),
        "seconds": round(time.monotonic() - started, 1),
        "answers": dict(cycling.answers),
        "unanswered": cycling.unanswered,
        "kb_a_cycle": vars(rss),
        "fds": [samples[len(samples) // 3][2], samples[-1][2]],
        "threads_left": left,
    }
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "cycles.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return _said(report, rss)


def _left_of_each(times: int) -> list[list[str]]:
    """What malloc has given out more, for each entity that a bare node made and destroyed."""
    node = rclpy.create_node("bare")
    kinds: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
        "publisher": (lambda: node.create_publisher(Image, "a", 1), node.destroy_publisher),
        "subscription": (
            lambda: node.create_subscription(Image, "b", print, qos_profile_sensor_data),
            node.destroy_subscription,
        ),
        "service": (lambda: node.create_service(SpatialQuery, "c", print), node.destroy_service),
        "timer": (lambda: node.create_timer(1.0, print), node.destroy_timer),
        "action server": (lambda: ActionServer(node, Ask, "d", print), ActionServer.destroy),
    }
    rows = []
    for kind, (make, destroy) in kinds.items():
        for _ in range(30):  # tables grow first
            destroy(make())
        before = _given_out()
        for _ in range(times):
            destroy(make())
        rows.append([kind, f"{(_given_out() - before) / times:.0f}"])
    node.destroy_node()
    return rows


class _MallInfo(ctypes.Structure):
    """struct mallinfo2 of glibc (mallinfo(3))."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks"),
            *("fordblks", "keepcost"),
        )
    )


def _given_out() -> int:
    """Bytes that malloc has given out."""
    gc.collect()
    asked = ctypes.CDLL(None).mallinfo2
    asked.restype = _MallInfo
    return int(asked().uordblks)


def _said(report: dict[str, Any], rss: Growth) -> int:
    fds = report["fds"]
    rows = [
        ("cycles, transitions", f"{report['cycles']}, {sum(report['transitions'].values())}", True),
        ("memory, kB a cycle (95 %)", f"{rss.slope:.2f} ({rss.low:.2f} to {rss.high:.2f})",
         rss.slope < MOST_KB_A_CYCLE),
        ("descriptors", f"{fds[0]} then {fds[1]}", fds[1] <= fds[0] + 1),
        ("questions without an answer", f"{report['unanswered']}; {report['answers']}",
         not report["unanswered"]),
        ("threads left", f"{report['threads_left']}", not report["threads_left"]),
    ]  # fmt: skip
    print_table([["", "value", "holds"], *([a, b, "yes" if c else "NO"] for a, b, c in rows)])
    return 0 if all(holds for *_, holds in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
