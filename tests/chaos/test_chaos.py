# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The campaign's own parts, and a short share of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest

from g2vlm_model.processes import INTERRUPTED
from tests.chaos.loop_drive import MOST_PICTURES, picture_number, stamped
from tests.chaos.points import FAULTS, KILL
from tests.chaos.soak import summary
from tests.chaos.watched import Resident, growth, held_by
from tests.helpers import REPO, wait_for

TOLD_AT_CPU_S = 4.0  # behind the imports
# Writes a file whole, with the points of the process watched.
WRITER = """
import sys
from pathlib import Path
from tests.chaos.points import watch
from g2vlm_model.interface.whole_files import whole_file
folder = Path(sys.argv[1])
watch(folder / "points", int(sys.argv[2]), sys.argv[3])
with whole_file(folder / "it") as partial:
    partial.write_text("new")
"""


def write(folder: Path, stop_at: int, fault: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WRITER, str(folder), str(stop_at), fault]
    return subprocess.run(command, cwd=REPO, capture_output=True, text=True, timeout=60)


def test_every_point_of_a_file_is_listed_and_can_be_the_last(tmp_path: Path) -> None:
    (tmp_path / "it").write_text("old")
    assert write(tmp_path, -1, KILL).returncode == 0
    points = (tmp_path / "points").read_text().splitlines()
    assert [line.split()[0] for line in points] == ["fsync", "replace", "fsync"]
    assert all("whole_files.py" in line for line in points)
    for number in range(len(points)):
        (tmp_path / "it").write_text("old")
        assert write(tmp_path, number, KILL).returncode == -signal.SIGKILL
        assert (tmp_path / "it").read_text() == ("old" if number < 2 else "new")
    failed = write(tmp_path, 1, "full disk")
    assert os.strerror(FAULTS["full disk"]) in failed.stderr
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["it", "points"], "what was killed is still there"


@pytest.mark.slow
def test_a_short_campaign_finds_nothing(tmp_path: Path) -> None:
    words = ["build", "map", "dataset", "--random", "2", "--out", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.chaos.campaign", *words],
        cwd=REPO,
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    for name in words[:3]:
        report = json.loads((tmp_path / f"{name}.json").read_text())
        assert len(report["points"]) >= 3
        assert report["runs"][KILL] == len(report["points"])


# Commands that write, in the midst of their work; what they need is made from nothing but a bag.
ROOM = REPO / "tests" / "data" / "room" / "room.mcap"
TOLD = {
    "replay in process": ("replay", ROOM, "--out", "OUT/r", "--in-process", "--rate", "0"),
    "dataset bag": ("dataset", "bag", ROOM, "--out", "OUT/b", "--rate", "10"),
    "dataset synthetic": ("dataset", "synthetic", "--out", "OUT/s", "--shards", "9"),
    "export onnx": ("export", "onnx", "--out", "OUT/x"),
    "evaluate geometry": (
        *("evaluate", "geometry", "--dataset", "recording", "--root", ROOM, "--out", "OUT/e"),
    ),
}


@pytest.mark.slow  # 5 to 10 s each
@pytest.mark.parametrize("name", TOLD)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_command_that_is_told_to_end_leaves_nobody_and_nothing_half(
    name: str, number: signal.Signals, tmp_path: Path
) -> None:
    words = [str(word).replace("OUT", str(tmp_path)) for word in TOLD[name]]
    process = subprocess.Popen(
        [sys.executable, "-m", "g2vlm_model.cli", *words],
        cwd=REPO,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    watched = psutil.Process(process.pid)

    def at_work() -> bool:
        begun = name == "dataset bag" and any(tmp_path.rglob("*"))  # is done in a few seconds
        return begun or sum(watched.cpu_times()[:2]) > TOLD_AT_CPU_S

    wait_for(at_work, 300.0, what="its work")
    family = watched.children(recursive=True)
    process.send_signal(number)
    _, said = process.communicate(timeout=120)
    assert process.returncode == INTERRUPTED, said
    assert said.splitlines()[-1] == f"g2vlm {words[0]}: interrupted"
    assert "Traceback" not in said
    assert not [one for one in family if one.is_running() and one.status() != "zombie"]
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in left if ".partial" in str(path)]
    for path in left:
        if path.suffix == ".json":
            json.loads(path.read_text())
        if path.suffix == ".tar":
            with tarfile.open(path) as shard:
                assert shard.getnames()


def test_a_drive_goes_to_and_fro() -> None:
    assert [picture_number(count, 4) for count in range(9)] == [0, 1, 2, 3, 2, 1, 0, 1, 2]
    assert stamped(1_234_567_890, 42) == 1_234_567_042
    with pytest.raises(AssertionError):
        stamped(0, MOST_PICTURES)


def test_what_a_process_holds_can_be_written_down() -> None:
    held = held_by(psutil.Process())
    assert json.loads(json.dumps(held.as_json()))["shm_files"] == len(held.shm)
    assert held.rss_kb > 10_000


def test_resident_memory_is_the_least_of_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now, megabytes = [0.0], [5]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    class Process:
        def memory_info(self) -> SimpleNamespace:
            return SimpleNamespace(rss=megabytes[0] << 20)

    resident = Resident(Process(), 40.0)
    found = []
    for now[0], megabytes[0] in [(0.0, 5), (10.0, 9), (39.0, 7), (45.0, 8), (80.0, 9)]:
        resident.look()
        found.append(resident.low_kb // 1024)
    assert found == [5, 5, 5, 7, 8]


def test_growth_is_the_slope_of_the_later_part() -> None:
    rng = np.random.default_rng(0)
    count = np.arange(0, 5000, 50.0)
    noise = rng.normal(0, 40, len(count))
    flat = growth(count, 400_000 + 20_000 * (1 - np.exp(-count / 300)) + noise)
    assert flat.low < 0.0 < flat.high
    rising = growth(count, 400_000 + 0.5 * count + noise)
    assert rising.low < 0.5 < rising.high
    assert rising.low > 0.4
    with pytest.raises(ValueError, match="run longer"):
        growth(count[:9], noise[:9])


def facts(**changes: object) -> dict[str, object]:
    return {
        "runtime": "instant", "scenes": 5000, "seconds": 100.0, "frames_sent": 5001,
        "frames_lost": 0, "questions_asked": 2, "answers": {"OK": 2}, "exit_code": 0,
        "shm_left": [], **changes,
    }  # fmt: skip


def samples(kb_a_scene: float = 0.0, **last: float) -> list[dict[str, float]]:
    held = {"fds": 23, "threads": 24, "children": 0, "shm_files": 9, "latency_ms": 40.0,
            "rss_kb": 500_000}  # fmt: skip
    lines = [
        {"scenes": 50.0 * number, "rss_low_kb": 400_000 + kb_a_scene * 50 * number, **held}
        for number in range(100)
    ]
    return [*lines[:-20], *({**line, **last} for line in lines[-20:])]


@pytest.mark.parametrize(
    ("lines", "whole"),
    [
        (samples(0.2), {}),
        (samples(fds=24), {}),
        (samples(threads=25), {}),
        (samples(latency_ms=60.0), {}),
        (samples(), {"frames_lost": 1}),
        (samples(), {"answers": {"OK": 1}}),
        (samples(), {"exit_code": -9}),
        (samples(), {"shm_left": ["fastdds_1"]}),
    ],
)
def test_a_soak_fails_for_each_thing_that_grows_or_is_lost(
    lines: list[dict[str, float]], whole: dict[str, object]
) -> None:
    assert summary(samples(), facts())["code"] == 0
    assert summary(lines, facts(**whole))["code"] == 1
    assert summary(lines[:8], facts(**whole))["code"] == 2
