# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What killed participants leave in shared memory, and which of it is removed."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

import pytest

from g2vlm_ros.shared_memory import dead_segments, remove_dead_segments

HELD, DEAD, YOUNG, FOREIGN = (
    f"{name}_{digit * 16}"
    for name, digit in zip(("fastdds", "fastrtps", "fastdds", "fastrtps"), "0123", strict=True)
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Segments with their locks, made five minutes ago."""
    for name in (HELD, DEAD, YOUNG, FOREIGN):
        for path in (tmp_path / name, tmp_path / f"{name}_el"):
            path.write_bytes(b"x")
            os.utime(path, (time.time() - 300,) * 2)
    os.utime(tmp_path / f"{YOUNG}_el")
    (tmp_path / f"{FOREIGN}_el").rename(tmp_path / f"{FOREIGN}_other")
    for name in ("fastrtps_port7411", "fastdds_port7411_el", "sem.fastdds_port7411_mutex", "mine"):
        (tmp_path / name).write_bytes(b"x")
        os.utime(tmp_path / name, (time.time() - 300,) * 2)
    return tmp_path


def test_segments_go_whose_owner_is_gone_and_nothing_else(folder: Path) -> None:
    before = {path.name for path in folder.iterdir()}
    with (folder / f"{HELD}_el").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        dead = sorted(segment.name for _, segment in dead_segments(folder))
        assert dead == sorted((DEAD, YOUNG))
        assert remove_dead_segments(folder) == 1
        assert before - {path.name for path in folder.iterdir()} == {DEAD, f"{DEAD}_el"}
    assert remove_dead_segments(folder) == 1, "its owner is gone now"
    assert remove_dead_segments(folder / "missing") == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_segments_of_other_users_stay(folder: Path) -> None:
    os.chown(folder / f"{DEAD}_el", 65534, 65534)
    os.chown(folder / f"{HELD}_el", 65534, 65534)
    assert remove_dead_segments(folder) == 0
