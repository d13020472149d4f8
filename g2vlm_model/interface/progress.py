# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""How far a long command is: a bar on a terminal, lines without one, nothing with `--quiet`."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .words import plain

__all__ = ["Progress", "be_quiet", "is_quiet", "progress"]

_QUIET = "G2VLM_QUIET"  # in the environment, so that commands that a command starts heed it
_FIRST_LINE_S = 2.0
_LINES_EVERY_S = 10.0


def be_quiet() -> None:
    """Show no progress from here on, in this process and those that it starts."""
    os.environ[_QUIET] = "1"


def is_quiet() -> bool:
    """Whether no progress is to be shown."""
    return bool(os.environ.get(_QUIET))


class Progress:
    """Work of which `total` parts are to be done; `done` of them are done before it begins."""

    def __init__(self, total: int, what: str, unit: str, done: int, bar: Any) -> None:
        self._total, self._what, self._unit = total, plain(what), unit
        self._begun_with = self._done = done
        self._bar = bar
        self._started = time.monotonic()
        self._due = self._started + _FIRST_LINE_S
        self._note = ""

    def advance(self, parts: int = 1) -> None:
        """So many more parts are done."""
        self._done += parts
        if is_quiet():
            return
        if self._bar is not None:
            self._bar.set_postfix_str(self._told(), refresh=False)
            self._bar.update(parts)
        elif time.monotonic() >= self._due:
            self._due = time.monotonic() + _LINES_EVERY_S
            share = self._done / max(1, self._total)
            print(f"{self._what}: {share:.0%}, {self._told()}", file=sys.stderr, flush=True)

    def note(self, text: str) -> None:
        """Words that stand behind the numbers from the next part on."""
        self._note = plain(text)

    def say(self, line: str) -> None:
        """Print a result on stdout, above the bar; with `--quiet` too."""
        if self._bar is None:
            print(line, flush=True)
        else:
            self._bar.write(line)

    def _told(self) -> str:
        seconds = time.monotonic() - self._started
        pace_s = seconds / max(1, self._done - self._begun_with)
        left = f"about {pace_s * (self._total - self._done):.0f} s left"
        parts = f"{self._done} of {self._total} {self._unit}".rstrip()
        return ", ".join(filter(None, (parts, left, self._note)))


@contextmanager
def progress(total: int, what: str, unit: str = "", done: int = 0) -> Iterator[Progress]:
    """Show how far some work is, on stderr.

    On a terminal a bar that is gone at the end (where tqdm is installed), with what is logged
    meanwhile above it. Else a line at most every 10 s, the first after 2 s.

    Args:
        total: Parts of the work.
        what: It is.
        unit: What its parts are, in the plural.
        done: Parts that are done already.
    """
    if is_quiet() or not sys.stderr.isatty():
        yield Progress(total, what, unit, done, None)
        return
    try:
        from tqdm import tqdm  # a robot has none
        from tqdm.contrib.logging import logging_redirect_tqdm
    except ImportError:
        yield Progress(total, what, unit, done, None)
        return
    bar = tqdm(
        total=total,
        initial=done,
        desc=plain(what),
        bar_format="{desc:<28}{percentage:3.0f}%|{bar}| {elapsed}{postfix}",
        dynamic_ncols=True,
        leave=False,
    )
    with bar, logging_redirect_tqdm():
        yield Progress(total, what, unit, done, bar)
