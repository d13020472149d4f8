# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The node for a long time: does anything grow, does anything slow down, does anything fall silent?

    python -m tests.chaos.soak --scenes 172800                   # a runtime that returns at once
    python -m tests.chaos.soak --runtime torch --scenes 5000     # nano; --runtime onnx
    python -m tests.chaos.soak --minutes 60 --out out/soak

The node is a process of its own; this one is its camera, its listener and its questioner. Frames go
to and fro on a drive (`loop_drive.py`), the next one when the scene of the one before is out, so
the node runs as fast as it goes. Each `SAMPLE_S` a line of what the node's process holds goes to
`samples.jsonl`; a run that is stopped (SIGINT, SIGTERM) or dies leaves them, and says what it found
until then.

Wanted: memory grows by less than 0.1 kB a scene in the later half, descriptors, threads, children
and shared memory do not grow, every frame has its scene, every question its answer, and the
latency at the end is that at the beginning.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from g2vlm_replay.domain import ReservedDomain
from g2vlm_replay.machine import describe_machine
from g2vlm_replay.node.process import node_environment

from benchmarks.common import print_table
from g2vlm_model.interface.whole_files import only_writer

from .loop_drive import picture_number, read_pictures, stamped, write_loop
from .soak_client import SoakClient
from .watched import Growth, Held, Resident, growth, held_by, shared_memory

__all__ = ["main", "summary"]

RUNTIMES = {"instant": "tests.chaos.loop_drive:create", "torch": "torch", "onnx": "onnx"}
# Shown so often from each place, most scenes of the instant runtime are of a robot that stands: a
# day in hours, and yet keyframes, loops and the map's bound. Few features: most of the time is to
# be the node's own.
STAND = {"instant": 25, "torch": 1, "onnx": 1}
LIGHT = {"features.detector": "orb", "features.count": "300", "window.size": "3",
         "window.overlap": "1"}  # fmt: skip
SAMPLE_S = 10.0
# Memory is the least of this time: pages come and go with each pass, and what the allocator keeps
# is given back each 30 s (`g2vlm_map/heap.py`).
LOW_S = 40.0
SCENE_S = 20.0  # for a scene of nano on a busy machine; afterwards the frame counts as lost
ASK_EVERY = 25  # scenes
MOST_KB_A_SCENE = 0.1
MOST_SLOWER = 1.25  # median latency of the last fifth over that of the second
COUNTS = ("fds", "threads", "children", "shm_files")
END_S = 30.0
LEAVE_S = 10.0


def main(argv: Sequence[str] | None = None) -> int:
    """Run; 0 where all that is wanted holds, 1 where it does not, 2 where the run was too short."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runtime", choices=RUNTIMES, default="instant")
    parser.add_argument("--scenes", type=int, default=0, help="0: as many as the time allows")
    parser.add_argument("--minutes", type=float, default=0.0, help="0: as long as the scenes take")
    parser.add_argument("--stand", type=int, default=0, help="frames from one place")
    parser.add_argument("--map-mb", type=int, default=60, help="bound of the map")
    parser.add_argument("--out", type=Path, default=Path("out/soak"), help="folder of the results")
    given = parser.parse_args(argv)
    if not given.scenes and not given.minutes:
        parser.error("give --scenes or --minutes")
    out: Path = given.out / given.runtime
    out.mkdir(parents=True, exist_ok=True)
    given.stand = given.stand or STAND[given.runtime]
    loop = given.out / "loop.npz"
    if not loop.is_file():
        write_loop(loop)
    with only_writer(out):
        facts = _run(given, loop, out)
    found = summary(_samples(out / "samples.jsonl"), facts)
    (out / "soak.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print_table([["", "value", "wanted"], *found["rows"]])
    return int(found["code"])


def _run(given: argparse.Namespace, loop: Path, out: Path) -> dict[str, Any]:
    """Start the node, drive, and end it; what can be said of the run as a whole."""
    told: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda got, _: told.append(got))
    before = shared_memory()
    with ReservedDomain() as domain, (out / "node.log").open("wb") as log:
        environment = node_environment(domain.number)
        os.environ.update(environment)  # the client is in the same domain, by the same transport
        node = subprocess.Popen(
            _command(given.runtime, loop, given.map_mb), env=environment, stdout=log, stderr=log
        )
        try:
            facts = _drive(given, node, loop, out, domain.number, told)
        finally:
            node.send_signal(signal.SIGINT)
            try:
                code = node.wait(END_S)
            except subprocess.TimeoutExpired:
                node.kill()
                code = node.wait()
    left = _left(facts.pop("mapped", set()) - before)
    return {**facts, "exit_code": code, "stopped_by": told[:1], "shm_left": left}


def _left(mapped: set[str]) -> list[str]:
    """Files of shared memory that stay; this process's own participant goes a little later."""
    deadline = time.monotonic() + LEAVE_S
    while (left := sorted(mapped & shared_memory())) and time.monotonic() < deadline:
        gc.collect()
        time.sleep(0.2)
    return left


def _command(runtime: str, loop: Path, map_mb: int) -> list[str]:
    values = {
        "autostart": "true",
        "runtime": RUNTIMES[runtime],
        "model": str(loop.resolve()) if runtime == "instant" else "nano",
        "keyframe.min_interval_s": "0.0",
        "keyframe.max_interval_s": "0.0001",
        "map.max_memory_mb": str(map_mb),
        "camera.camera_info_topic": "''",
        "images.reliability": "reliable",
        "status.period_s": "1.0",
    }
    values |= LIGHT if runtime == "instant" else {}
    words = [word for name, value in values.items() for word in ("-p", f"{name}:={value}")]
    return [sys.executable, "-m", "g2vlm_ros.node", "--ros-args", *words, "--log-level", "warn"]


def _drive(
    given: argparse.Namespace,
    node: subprocess.Popen[bytes],
    loop: Path,
    out: Path,
    domain: int,
    told: list[int],
) -> dict[str, Any]:
    """Feed the node until the scenes, the time or a signal ends it."""
    pictures = read_pictures(loop)
    process = psutil.Process(node.pid)
    sent, lost, latencies = 0, 0, []
    resident = Resident(process, LOW_S)
    answers: Counter[str] = Counter()
    mapped: set[str] = set()
    started = time.monotonic()
    until = started + 60.0 * given.minutes if given.minutes else float("inf")
    next_sample = started
    with (out / "samples.jsonl").open("w", encoding="utf-8") as file, SoakClient(domain) as client:
        client.wait_until_up(node.poll)
        while not told and time.monotonic() < until and node.poll() is None:
            if given.scenes and client.scenes >= given.scenes:
                break
            number = picture_number(sent // given.stand, len(pictures))
            asked, under_way = time.monotonic(), client.scenes > 0
            stamp = stamped(time.time_ns(), number)
            came = client.scene_of(pictures[number], stamp, SCENE_S)
            sent += 1
            # Too few for a first window: no scene, and none is missed.
            lost += not came and under_way
            latencies.append(time.monotonic() - asked)
            resident.look()
            if client.scenes % ASK_EVERY == 0 and came:
                client.ask()
            if time.monotonic() >= next_sample or (not came and under_way):
                next_sample = time.monotonic() + SAMPLE_S
                held = held_by(process)
                mapped |= held.shm
                line = _sample(time.monotonic() - started, process, held, client, latencies)
                line["rss_low_kb"] = resident.low_kb
                latencies.clear()
                file.write(json.dumps(line) + "\n")
                file.flush()
        client.settle()
        answers.update(client.answers)
        return {
            "runtime": given.runtime,
            "scenes": client.scenes,
            "seconds": round(time.monotonic() - started, 1),
            "frames_sent": sent,
            "frames_lost": lost,
            "mapped": mapped,
            "questions_asked": client.asked,
            "answers": dict(answers),
            "reasons": sorted(client.reasons),
            "ended_early": node.poll(),
            "machine": describe_machine(),
        }


def _sample(
    seconds: float, process: psutil.Process, held: Held, client: SoakClient, latencies: list[float]
) -> dict[str, Any]:
    """A line of samples.jsonl; `latencies` are those since the last one, in seconds."""
    return {
        "seconds": round(seconds, 1),
        "scenes": client.scenes,
        "cpu_s": round(sum(process.cpu_times()[:2]), 1),
        **held.as_json(),
        "latency_ms": round(1e3 * float(np.median(latencies)), 2),
        "latency_max_ms": round(1e3 * max(latencies), 1),
        **client.map_facts(),
    }


def _samples(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def summary(samples: list[dict[str, Any]], facts: dict[str, Any]) -> dict[str, Any]:
    """The numbers of a run beside what is wanted.

    Args:
        samples: Lines of samples.jsonl.
        facts: Of the whole run.

    Returns:
        facts, slopes by name, the rows of the table, and the exit code.
    """
    scenes = [line["scenes"] for line in samples]
    code = 0
    slopes: dict[str, Growth] = {}
    try:
        for name in ("rss_low_kb", *COUNTS):
            slopes[name] = growth(scenes, [line[name] for line in samples])
    except ValueError as error:
        return {**facts, "code": 2, "rows": [["slope", str(error), ""]]}
    rows = [
        ["runtime, scenes, seconds", f"{facts['runtime']}, {facts['scenes']}, {facts['seconds']}",
         ""],
    ]  # fmt: skip

    def wanted(what: str, value: str, wish: str, holds: bool) -> None:
        nonlocal code
        code |= not holds
        rows.append([what, value + ("" if holds else "  <- no"), wish])

    rss = slopes["rss_low_kb"]
    wanted(
        "memory, kB a scene (95 %)",
        f"{rss.slope:.3f} ({rss.low:.3f} to {rss.high:.3f})",
        f"< {MOST_KB_A_SCENE}", rss.slope < MOST_KB_A_SCENE,
    )  # fmt: skip
    most_mb = max(line["rss_kb"] for line in samples) / 1e3
    low_mb = [samples[index]["rss_low_kb"] / 1e3 for index in (0, -1)]
    rows.append(["memory, MB", f"{low_mb[0]:.0f} at the start, {low_mb[1]:.0f} at the end, "
                 f"{most_mb:.0f} at most", ""])  # fmt: skip
    half = len(samples) // 2
    for name in COUNTS:
        # Pools fill up to their size at some time: compared are the most of both halves.
        most = [max(line[name] for line in part) for part in (samples[:half], samples[half:])]
        wanted(name, f"{most[0]} then {most[1]} at most", "no more", most[1] <= most[0])
    fifth = len(samples) // 5
    early, late = (
        float(np.median([line["latency_ms"] for line in part]))
        for part in (samples[fifth : 2 * fifth], samples[-fifth:])
    )
    wanted("a frame to its scene, median ms", f"{early:.1f} then {late:.1f}",
           f"< {MOST_SLOWER} times", late < MOST_SLOWER * early)  # fmt: skip
    lost, sent = facts["frames_lost"], facts["frames_sent"]
    wanted("frames without a scene", f"{lost} of {sent}", "0", lost == 0)
    answers = facts["answers"]
    total = sum(answers.values())
    wanted("questions answered", f"{total} of {facts['questions_asked']}: {answers}", "all",
           total == facts["questions_asked"])  # fmt: skip
    wanted("exit code of the node", f"{facts['exit_code']}", "0", facts["exit_code"] == 0)
    wanted("shared memory left", f"{len(facts['shm_left'])} files", "0", not facts["shm_left"])
    slope_facts = {name: vars(value) for name, value in slopes.items()}
    return {**facts, "slopes": slope_facts, "code": code, "rows": rows}


if __name__ == "__main__":
    sys.exit(main())
