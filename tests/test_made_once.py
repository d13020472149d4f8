# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Folders are made by one process for all, and turns alone are alone."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests import alone
from tests.helpers import REPO, wait_for
from tests.made_once import MadeOnce

ANOTHER = """
import sys
from pathlib import Path
from tests.made_once import MadeOnce
def make(folder):
    (folder / "half").touch()
    (folder.parent / "beside").touch()
    print("making", flush=True)
    sys.stdin.readline()
MadeOnce(Path(sys.argv[1])).folder("thing", make)
"""


def another_makes(root: Path) -> subprocess.Popen[str]:
    """A process that is at work on the folder `thing`, until it is told a line."""
    process = subprocess.Popen(
        [sys.executable, "-c", ANOTHER, str(root)],
        cwd=REPO, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "making\n"
    return process


def test_another_process_is_waited_for(tmp_path: Path) -> None:
    def refuse(folder: Path) -> None:
        raise AssertionError("it is made twice")

    with another_makes(tmp_path) as process, ThreadPoolExecutor(1) as pool:
        found = pool.submit(MadeOnce(tmp_path).folder, "thing", refuse)
        assert MadeOnce(tmp_path).folder("other", lambda folder: None).is_dir()
        assert not found.done()
        process.communicate("go on\n")
        assert [path.name for path in found.result(30).iterdir()] == ["half"]


def test_what_was_killed_or_failed_is_made_anew(tmp_path: Path) -> None:
    made = MadeOnce(tmp_path)
    with another_makes(tmp_path) as process:
        made.keep_newest(0)
        assert list(tmp_path.glob(".thing.*/beside")), "what is being made was removed"
        os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(ZeroDivisionError):
        made.folder("thing", lambda folder: 1 / 0)
    made.folder("thing", lambda folder: (folder / "whole").touch())
    made.keep_newest(1)
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["thing"]
    assert [path.name for path in (tmp_path / "thing").iterdir()] == ["whole"]


def test_the_folders_asked_for_last_are_kept(tmp_path: Path) -> None:
    made = MadeOnce(tmp_path)
    for age, name in enumerate("abc"):
        folder = made.folder(name, lambda folder: None)
        os.utime(folder, (age, age))
    made.folder("a", lambda folder: None)
    made.keep_newest(2)
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == {"a", "c"}


def test_many_share_a_turn_and_one_alone_has_it_for_itself(tmp_path: Path) -> None:
    order: list[str] = []

    def record(name: str, alone_: bool) -> None:
        with alone.turn(tmp_path, alone=alone_):
            order.append(name)

    def gate_is_held() -> bool:
        with (tmp_path / "gate").open("w") as gate:
            try:
                fcntl.flock(gate, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            return False

    with ThreadPoolExecutor(2) as pool:
        with alone.turn(tmp_path, alone=False):
            record("shared", alone_=False)
            one = pool.submit(record, "alone", True)
            wait_for(gate_is_held, 30, what="somebody who wants a turn alone")
            late = pool.submit(record, "late", False)  # must not delay the one that waits
            assert order == ["shared"]
        one.result(30)
        late.result(30)
    assert order == ["shared", "alone", "late"]
