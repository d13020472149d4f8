# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A map that runs on and on: memory, time per keyframe, and whoever publishes meanwhile.

    python -m benchmarks.long_map [--keyframes 10000] [--max-memory-mb 60] [--solve 3000]

Synthetic keyframes go round and round a hall, with edges to the last ones and loops, through the
same graph and the same culling as real ones; no picture is looked at, so that only what grows with
the map is timed. Printed: resident memory and time per keyframe, by tenths of the run. With --solve
the time of an insertion is measured alone and while a global solve of so many poses runs.
"""

from __future__ import annotations

import argparse
import gc
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.common import print_table
from g2vlm_map.mapping.culling import Culler
from g2vlm_map.mapping.keyframe import Edge, Keyframe, View
from g2vlm_map.mapping.map_graph import MapGraph
from g2vlm_map.mapping.options import MapOptions
from g2vlm_map.poses import inverse

HW, IMAGE_HW, FEATURES = (84, 112), (480, 640), 300
ROUND, RADIUS = 400, 12.0  # keyframes once round the hall; map units
BACK = (1, 2, 3, 5)
SEED = 4


def keyframe(number: int, rng: np.random.Generator) -> Keyframe:
    """One that takes as much memory as a real one with so many features."""
    K = np.array([[92.0, 0, 55.5], [0, 92.0, 41.5], [0, 0, 1]])
    view = View(
        *("camera", "camera_optical", number * 10**8, np.eye(4), K, IMAGE_HW),
        depth_HW=rng.uniform(1, 4, HW).astype(np.float16),
        confidence_HW=np.full(HW, 200, np.uint8),
        color_HW3=np.zeros((*HW, 3), np.uint8),
        feature_F2=np.zeros((FEATURES, 2), np.float32),
        descriptor_FE=np.zeros((FEATURES, 128), np.uint8),
    )
    return Keyframe(number, view.stamp_ns, str(number), (view,), {})


def true_pose(number: int) -> np.ndarray:
    """Round and round, a little further out each time."""
    angle = 2 * np.pi * number / ROUND
    radius = RADIUS + 0.05 * (number // ROUND)
    T = np.eye(4)
    c, s = np.cos(angle), np.sin(angle)
    T[:3, :3] = [[c, 0, s], [0, 1, 0], [-s, 0, c]]
    T[:3, 3] = radius * s, 0, radius * c
    return T


def edge(i: int, j: int, kind: str, rng: np.random.Generator) -> Edge:
    """What a matcher would say, with noise."""
    T = inverse(true_pose(i)) @ true_pose(j)
    T[:3, 3] *= 1 + rng.normal(0, 0.03)
    return Edge(i, j, kind, T, 0.005, 0.02, 0.05, 60, 2.0, 0.05)


class Growing:
    """A map that is added to."""

    def __init__(self, max_memory_mb: float) -> None:
        options = MapOptions()
        self.graph = MapGraph(options.graph, options.lengths)
        self.culler = Culler(self.graph, max_memory_mb)
        self.rng = np.random.default_rng(SEED)
        self.recent: list[int] = []

    def add(self, loops: bool = True) -> float:
        """One more keyframe; the CPU seconds that this thread took."""
        number = self.graph.next_number()
        made = keyframe(number, self.rng)
        edges = [edge(n, number, "visual", self.rng) for n in self.recent[::-1][:5]]
        edges = [one for k, one in enumerate(edges, start=1) if k in BACK]
        started = time.thread_time()
        placed = self.graph.insert(made, edges, 1)
        seconds = time.thread_time() - started
        if loops and number % 10 == 0 and self.graph.get(number - ROUND) is not None:
            self.graph.add_edges([edge(number - ROUND, number, "loop", self.rng)], loops=1)
        started = time.thread_time()
        self.culler.grown(placed)
        self.recent = [*self.recent[-4:], number]
        return seconds + time.thread_time() - started


def resident_mb() -> float:
    """Of this process, now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096 / 1e6


def grow(count: int, max_memory_mb: float) -> None:
    """Run on, and print what it took by tenths."""
    growing, rows = Growing(max_memory_mb), []
    for tenth in range(10):
        times = np.array([growing.add() for _ in range(count // 10)]) * 1e3
        gc.collect()
        rows.append(
            [
                f"{(tenth + 1) * count // 10}",
                f"{len(growing.graph)}",
                f"{len(growing.graph.edges)}",
                f"{growing.culler.megabytes:.0f}",
                f"{resident_mb():.0f}",
                f"{np.median(times):.1f}",
                f"{np.percentile(times, 99):.1f}",
            ]
        )
    head = ["keyframes so far", "kept", "edges", "MB kept", "RSS MB", "ms median", "ms p99"]
    print_table([head, *rows])


def latencies(growing: Growing, seconds: float, period_s: float = 0.05) -> Iterator[float]:
    """Wall seconds of insertions, one each period."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        started = time.monotonic()
        growing.add(loops=False)
        taken = time.monotonic() - started
        yield taken
        time.sleep(max(0.0, period_s - taken))


def beside_a_solve(poses: int) -> None:
    """The time of an insertion, alone and while all poses are solved for."""
    growing = Growing(1e6)
    for _ in range(poses):
        growing.add()
    rows = []
    alone = np.array(list(latencies(growing, 10.0))) * 1e3
    solving = threading.Thread(target=growing.graph.solve_global)
    began = time.monotonic()
    solving.start()
    beside: list[float] = []
    while solving.is_alive():
        beside += list(latencies(growing, 0.2))
    took = time.monotonic() - began
    for name, values in (("alone", alone), ("during the solve", np.array(beside) * 1e3)):
        spread = [f"{np.percentile(values, q):.0f}" for q in (50, 99)]
        rows.append([name, f"{len(values)}", *spread])
    print_table([["insertions", "number", "ms median", "ms p99"], *rows])
    print(f"the solve of {poses} poses took {took:.1f} s")


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keyframes", type=int, default=10000)
    parser.add_argument("--max-memory-mb", type=float, default=60.0)
    parser.add_argument("--solve", type=int, default=0)
    given = parser.parse_args()
    if given.keyframes:
        grow(given.keyframes, given.max_memory_mb)
    if given.solve:
        beside_a_solve(given.solve)


if __name__ == "__main__":
    main()
