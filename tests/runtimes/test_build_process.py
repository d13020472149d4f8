# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""One command as a child process: how it runs, and every way it can end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from g2vlm_model.runtimes.build_process import BuildFailedError, BuildStopped, run_command
from tests.helpers import REPO, wait_for

from .build_commands import gone, pids, words

pytestmark = pytest.mark.usefixtures("build_for_test")


def test_a_command_gives_way_to_everything_else(tmp_path: Path) -> None:
    seen: list[tuple[str, float, float | None]] = []
    place = tmp_path / "facts"
    run_command(words("facts", place), lambda *stage: seen.append(stage), threading.Event())
    assert seen == [("compiling", 0.25, 3.0)]
    nice, oom_score, threads = place.read_text().split()
    assert (nice, oom_score) == ("19", "1000")
    assert int(threads) >= 1


def test_a_command_that_fails_is_quoted(tmp_path: Path) -> None:
    with pytest.raises(BuildFailedError) as caught:
        run_command(words("fail", tmp_path / "x"), lambda *_: None, threading.Event())
    text = str(caught.value)
    assert text.startswith(f"g2vlm build-for-test: {tmp_path / 'x'}: the disk is full; make room")
    assert "(`g2vlm build-for-test fail " in text
    assert text.endswith(" ended with code 2)")


def test_stopping_ends_the_command_and_its_children(tmp_path: Path) -> None:
    stopping, ended = threading.Event(), threading.Event()

    def run() -> None:
        with pytest.raises(BuildStopped):
            run_command(words("hang", tmp_path / "pids"), lambda *_: None, stopping)
        ended.set()

    thread = threading.Thread(target=run)
    thread.start()
    started = pids(tmp_path / "pids")
    stopping.set()
    assert ended.wait(15.0)
    thread.join()
    wait_for(lambda: all(map(gone, started)), 20.0, what="the end of both processes")


def test_a_command_ends_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys, threading; from g2vlm_model.runtimes.build_process import run_command;"
        "run_command(sys.argv[1:], print, threading.Event())"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code, *words("hang", tmp_path / "pids")],
        cwd=REPO, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    command, child = pids(tmp_path / "pids")
    parent.kill()
    parent.wait()
    wait_for(lambda: gone(command), 20.0, what="the end of the command")
    os.kill(child, signal.SIGKILL)  # nothing can end what a killed command had started
