# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Makes the dense map in a thread of its own, of the newest world, as far as somebody wants it.

Whoever has a new world offers it, which costs a lock; a world that was not begun when the next
one came is counted and forgotten. Obstacles are made for each keyframe, the map's points and
occupancy no more often than `dense.min_period_s`, and nothing where nothing changed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np

from ..poses import Floats
from ..status import StatusBoard
from ..world import World
from .dense_map import DenseMap, DenseRules, DenseSnapshot
from .obstacles import Standing, obstacles_around
from .occupancy import Grid, grid
from .options import ScanOptions
from .scan import ScanRow, scan_row

__all__ = ["NEARBY", "WHOLE", "Around", "DenseCounts", "DenseWorker", "Whole"]

_POLL_S = 0.25  # how often it looks whether somebody has begun to listen
WHOLE, NEARBY = frozenset({"points", "occupancy"}), frozenset({"obstacles", "scan"})
_THREAD, _MAP, _NEAR = (
    "dense map",
    "map points and occupancy",
    "obstacles and scan",
)  # in the status
_RATED = (
    "obstacles, scan and occupancy are made of one model's depth and are not safety-rated; never "
    "let them be all that keeps the robot from a collision"
)


@dataclass(frozen=True, eq=False)
class Whole:
    """The map of a world, level axes, metres.

    Args:
        stamp_ns: Of the newest keyframe.
        snapshot: Its points are `snapshot.voxels`.
        grid: Occupancy; None where the base is not known.
    """

    stamp_ns: int
    snapshot: DenseSnapshot
    grid: Grid | None


@dataclass(frozen=True, eq=False)
class Around:
    """What stands around the robot, axes of its base, metres.

    Args:
        stamp_ns: Of the newest keyframe.
        obstacles_P3: float64.
        scan: The same as a planar scanner would see it.
    """

    stamp_ns: int
    obstacles_P3: Floats
    scan: ScanRow


@dataclass(frozen=True)
class DenseCounts:
    """What the worker did since it started.

    Args:
        offered, superseded: Worlds, and those that the next one overtook.
        wholes, arounds: That were made.
        seconds: Wall time of the last one.
        left_out: Share of pixels that other views contradict or do not confirm.
        seen_through: Share that other views look through: what moved.
        nbytes: Memory of the map.
    """

    offered: int = 0
    superseded: int = 0
    wholes: int = 0
    arounds: int = 0
    seconds: float = 0.0
    left_out: float = 0.0
    seen_through: float = 0.0
    nbytes: int = 0


class DenseWorker:
    """One thread between `start` and `stop`.

    Args:
        wanted: Asked which of `WHOLE` and `NEARBY` somebody listens to.
        deliver: Takes what was made, in the worker's thread.
        board: Told of reasons that begin or end, and of errors that nobody foresaw.
        rules: Of the map.
        scan: Of the scan.
    """

    def __init__(
        self,
        wanted: Callable[[], Collection[str]],
        deliver: Callable[[Whole | Around], object],
        board: StatusBoard,
        rules: DenseRules,
        scan: ScanOptions,
    ) -> None:
        self._wanted, self._deliver, self._board = wanted, deliver, board
        self._rules, self._scan = rules, scan
        self._news = threading.Condition()
        self._world: World | None = None
        self._taken = True  # the newest world was begun
        self._counts = {"offered": 0, "superseded": 0, "wholes": 0, "arounds": 0}
        self._last = DenseCounts()
        self._stopping = threading.Event()  # one for each start
        self._thread: threading.Thread | None = None

    @property
    def counts(self) -> DenseCounts:
        """What was done so far."""
        last = self._last
        return DenseCounts(
            **self._counts,
            seconds=last.seconds,
            left_out=last.left_out,
            seen_through=last.seen_through,
            nbytes=last.nbytes,
        )

    def start(self) -> None:
        """Begin; nothing is known yet."""
        self._stopping, self._world, self._taken = threading.Event(), None, True
        self._thread = threading.Thread(
            target=self._run, args=(self._stopping,), name="g2vlm-dense", daemon=True
        )
        self._thread.start()

    def cancel(self) -> None:
        """Nothing more is made, and what is being made is not delivered."""
        with self._news:
            self._stopping.set()
            self._news.notify_all()

    def stop(self, timeout_s: float = 1.0) -> None:
        """End after `cancel`, also where nobody has; waits no longer than the time."""
        self.cancel()
        if self._thread is not None:
            self._thread.join(timeout_s)
            self._thread = None
        self._board.condition("BASE_UNKNOWN", False)
        self._board.condition("NOT_SAFETY_RATED", False)
        for source in (_THREAD, _MAP, _NEAR):
            self._board.condition("UNEXPECTED_ERROR", False, source=source)

    def offer(self, world: World) -> None:
        """This is the newest world; from any thread, at once."""
        with self._news:
            self._counts["offered"] += 1
            self._counts["superseded"] += not self._taken
            self._world, self._taken = world, False
            self._news.notify()

    def apply(self, rules: DenseRules, scan: ScanOptions) -> None:
        """Other options from now on; the map is made again where they concern it."""
        with self._news:
            self._rules, self._scan = rules, scan
            self._news.notify()

    def _run(self, stopping: threading.Event) -> None:
        making = _Making(stopping)
        while True:
            with self._news:
                if self._taken and not stopping.is_set():
                    self._news.wait(_POLL_S)
                if stopping.is_set():
                    return
                world, self._taken = self._world, True
                rules, scan = self._rules, self._scan
            if world is None:
                continue
            with self._board.guard(_THREAD, f"looking at world {world.version}"):
                self._make(making, world, rules, scan)

    def _make(self, making: _Making, world: World, rules: DenseRules, scan: ScanOptions) -> None:
        wanted = frozenset(self._wanted())
        for_robots = bool(wanted - {"points"}) and world.scale.metric
        self._board.condition("NOT_SAFETY_RATED", for_robots, _RATED if for_robots else "")
        lacking = for_robots and world.T_base_body is None
        text = (
            f"{', '.join(sorted(wanted - {'points'}))}: where the cameras sit on the robot is "
            "unknown; give frames.base and the extrinsics by TF or parameters"
        )
        self._board.condition("BASE_UNKNOWN", lacking, text if lacking else "")
        if not world.scale.metric or not world.keyframes:
            return
        making.take(rules)
        if wanted & NEARBY and not lacking and making.is_news(world, "around"):
            with self._board.guard(_NEAR, f"making them of world {world.version}"):
                started = time.perf_counter()
                around = making.around(world, scan)
                self._give(making, around, time.perf_counter() - started)
        due = time.monotonic() - making.whole_at >= rules.dense.min_period_s
        more = not (wanted & WHOLE) <= making.told
        if wanted & WHOLE and (due or more) and (more or making.is_news(world, "whole")):
            with self._board.guard(_MAP, f"making them of world {world.version}"):
                started = time.perf_counter()
                made = making.whole(world, wanted & WHOLE)
                self._give(making, made, time.perf_counter() - started)

    def _give(self, making: _Making, made: Whole | Around | None, seconds: float) -> None:
        if made is None or making.stopping.is_set():
            return
        if isinstance(made, Whole):
            self._counts["wholes"] += 1
            kept = made.snapshot
            share = kept.seen_through / max(1, kept.usable)
            self._last = DenseCounts(
                seconds=seconds, left_out=kept.left_out, seen_through=share, nbytes=kept.nbytes
            )
        else:
            self._counts["arounds"] += 1
        self._deliver(made)


class _Making:
    """The dense map, and of which world each product was made last; the worker's thread alone."""

    def __init__(self, stopping: threading.Event) -> None:
        self.stopping = stopping  # of the run that this is made in
        self._dense = DenseMap()
        self._made_of: dict[str, tuple[object, ...]] = {}
        self.whole_at = -np.inf
        self.told: frozenset[str] = frozenset()  # what listened to the last whole map

    def take(self, rules: DenseRules) -> None:
        """Use these rules from now on."""
        if rules != self._dense.rules:
            self._dense.rules = rules
            self._made_of.clear()

    def is_news(self, world: World, product: str) -> bool:
        """Whether a product was made of another world."""
        return self._made_of.get(product) != _identity(world)

    def around(self, world: World, scan: ScanOptions) -> Around | None:
        """What stands around the robot; None where the segment has no keyframe yet."""
        self._made_of["around"] = _identity(world)
        recent = self._dense.around(world)
        if not recent:
            return None
        rules = self._dense.rules.obstacles
        obstacles_P3 = obstacles_around(recent, rules)
        row = scan_row(obstacles_P3, _floor_around(recent), scan)
        stamp_ns = max(p.keyframe.stamp_ns for p in world.keyframes if p.segment == world.segment)
        return Around(stamp_ns, obstacles_P3, row)

    def whole(self, world: World, wanted: frozenset[str]) -> Whole:
        """The map of a world."""
        self._made_of["whole"] = _identity(world)
        self.whole_at, self.told = time.monotonic(), wanted
        snapshot = self._dense.update(world)
        made = None
        if world.T_base_body is not None and "occupancy" in wanted:
            here = snapshot.position
            rules = self._dense.rules.occupancy
            made = grid(snapshot.cells, rules, (float(here[0]), float(here[1])))
        return Whole(snapshot.stamp_ns, snapshot, made)


def _identity(world: World) -> tuple[object, ...]:
    """Equal for two worlds whose dense maps are the same."""
    newest = max((placed.keyframe.number for placed in world.keyframes), default=0)
    has_base = world.T_base_body is not None
    return (
        world.version, world.segment, world.scale.version, len(world.keyframes), newest, has_base,
    )  # fmt: skip


def _floor_around(recent: tuple[Standing, ...]) -> Floats:
    """(P, 3) floor that the newest view sees, axes of its base, metres."""
    newest = recent[-1]
    return newest.point_P3[newest.is_floor_P]
