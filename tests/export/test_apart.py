# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Work in a process of its own: results, errors, crashes, cancelling."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from g2vlm_export.apart import CancelledError, CrashedError, run_apart
from g2vlm_export.progress import Report, silent

from ..helpers import wait_for


def crash(report: Report, cancelled: object) -> None:
    report("about to crash", 0.5, None)
    os.kill(os.getpid(), signal.SIGSEGV)


def stubborn(report: Report, cancelled: object, marker: Path) -> None:
    marker.touch()
    time.sleep(60)


def fail(report: Report, cancelled: object, text: str) -> None:
    raise ValueError(text)


def double(report: Report, cancelled: object, number: int) -> int:
    return 2 * number


def test_work_apart(tmp_path: Path) -> None:
    never = lambda: False  # noqa: E731
    assert run_apart("doubling", silent, never, double, 21) == 42
    with pytest.raises(ValueError, match=r"^the reason$"):
        run_apart("failing", silent, never, fail, "the reason")
    stages: list[str] = []
    with pytest.raises(CrashedError, match="crashing: its process was ended by SIGSEGV"):
        run_apart("crashing", lambda stage, *_: stages.append(stage), never, crash)
    assert stages == ["about to crash"]
    marker = tmp_path / "started"
    with pytest.raises(CancelledError, match="sleeping was cancelled"):
        run_apart("sleeping", silent, marker.exists, stubborn, marker)
    wait_for(lambda: not any("sleeping" in p for p in children()), 5, what="the child's end")


def children() -> list[str]:
    import multiprocessing

    return [child.name for child in multiprocessing.active_children()]
