# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A `g2vlm` command that builds, fails or hangs, found by child processes by its entry point."""

from __future__ import annotations

from pathlib import Path

import psutil

from tests.helpers import wait_for

COMMAND = '''
"""A build that does what the test says."""
import json, os, pathlib, subprocess, sys, time

def say(stage, fraction, left=None):
    print(json.dumps({"stage": stage, "fraction": fraction, "seconds_left": left}), flush=True)

def main(argv):
    what, place = argv[0], pathlib.Path(argv[1])
    assert argv[-2:] == ["--progress", "json"], argv
    print("a line that is no progress", flush=True)
    say("compiling", 0.25, 3.0)
    if what == "facts":
        adjusted = pathlib.Path("/proc/self/oom_score_adj").read_text().strip()
        place.write_text(f"{os.nice(0)} {adjusted} {os.environ['OMP_NUM_THREADS']}")
    elif what == "build":
        assert argv[2] == "--out", argv
        (pathlib.Path(argv[3]) / "engine").write_bytes(b"weights")
        with place.open("a") as log:
            log.write("built ")
    elif what == "fail":
        raise OSError(28, "No space left on device", str(place))
    elif what == "hang":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
        place.write_text(f"{os.getpid()} {child.pid}")
        time.sleep(1000)
    return 0
'''


def install(place: Path) -> None:
    """Make the command `g2vlm build-for-test` known to who has the folder on its path."""
    facts = place / "build_for_test-1.dist-info"
    facts.mkdir(parents=True)
    (place / "build_for_test.py").write_text(COMMAND)
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: build-for-test\nVersion: 1\n")
    (facts / "entry_points.txt").write_text(
        "[g2vlm.commands]\nbuild-for-test = build_for_test:main"
    )


def words(what: str, place: Path) -> tuple[str, ...]:
    return ("build-for-test", what, str(place))


def pids(place: Path) -> list[int]:
    wait_for(lambda: place.exists() and len(place.read_text().split()) == 2, 20.0, what="its pids")
    return [int(word) for word in place.read_text().split()]


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
