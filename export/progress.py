# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""How far a long command is, for people or as JSON lines for the program that called it.

Stages are named with the share of the whole that they are expected to take; the time left is
what the stages so far took, for the shares that are left.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from g2vlm_model.interface.progress import progress

__all__ = ["Report", "Stages", "reporting", "silent"]

Report = Callable[[str, float, float | None], None]
"""Takes what is being done, the fraction that is done, and seconds left where they are known."""


def silent(stage: str, fraction: float, seconds_left: float | None) -> None:
    """Tell nobody."""


@contextmanager
def reporting(kind: str) -> Iterator[Report]:
    """Report a command's progress.

    Args:
        kind: "json": a line on stdout at each report. "auto": for people, as all commands.
    """
    if kind == "json":
        yield _json_line
        return
    with progress(1.0, "starting") as shown:

        def show(stage: str, fraction: float, seconds_left: float | None) -> None:
            shown.stage(stage)
            shown.at(fraction)

        yield show


def _json_line(stage: str, fraction: float, seconds_left: float | None) -> None:
    left = None if seconds_left is None else round(seconds_left, 1)
    line = {"stage": stage, "fraction": round(fraction, 4), "seconds_left": left}
    print(json.dumps(line), flush=True)


class Stages:
    """The stages of one command, one after the other.

    Args:
        report: Told of each stage when it begins, and of the end.
        shares: Stage -> expected share of the time; they need not sum to 1.
    """

    def __init__(self, report: Report, shares: dict[str, float]) -> None:
        total = sum(shares.values())
        self._report = report
        self._shares = {stage: share / total for stage, share in shares.items()}
        self._started = time.monotonic()
        self._done = 0.0
        self._under_way = 0.0

    def begin(self, stage: str) -> None:
        """Say that the stage before is done and this one begins."""
        self._done += self._under_way
        self._under_way = self._shares[stage]
        self._report(stage, self._done, self._seconds_left())

    def end(self) -> None:
        """Say that everything is done."""
        self._report("done", 1.0, 0.0)

    def _seconds_left(self) -> float | None:
        """At the pace so far; None before a stage is done."""
        if not self._done:
            return None
        return (time.monotonic() - self._started) * (1.0 - self._done) / self._done
