# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""How far a long command is: a bar on a terminal, lines without one, nothing with `--quiet`."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from .words import plain

__all__ = ["Progress", "be_quiet", "is_quiet", "progress"]

Part = TypeVar("Part")

_QUIET = "G2VLM_QUIET"  # in the environment, so that commands that a command starts heed it
_FIRST_LINE_S = 2.0
_LINES_EVERY_S, _LINES_AT_MOST = 10.0, 20  # later lines are further apart: a run may take days
_BAR_EVERY_S = 0.5
_BAR = "{desc:<28}{percentage:3.0f}%|{bar}| {elapsed}{postfix}"
_BAR_WITHOUT_END = "{desc:<28}{elapsed}{postfix}"


def be_quiet() -> None:
    """Show no progress from here on, in this process and those that it starts."""
    os.environ[_QUIET] = "1"


def is_quiet() -> bool:
    """Whether no progress is to be shown."""
    return bool(os.environ.get(_QUIET))


class Progress:
    """Work of which `total` parts are to be done; `done` of them are done before it begins.

    A thread of its own shows it: work that takes long without a word from it is seen too.
    """

    def __init__(self, total: float, what: str, unit: str, done: float, bar: Any) -> None:
        self._total, self._unit = total, unit
        self._done = done
        self._note: str | Callable[[], str] = ""
        self._bar = bar
        self.begin(what)
        self._ended = threading.Event()
        self._shower = threading.Thread(
            target=self._show_lines if bar is None else self._show_bar, name="progress", daemon=True
        )
        if not is_quiet():
            self._shower.start()

    def begin(self, what: str, total: float | None = None, unit: str = "") -> None:
        """The same parts are done by something else from now on, at a pace of its own.

        Args:
            what: It is.
            total, unit: As of `progress`, where its parts are others; none of them is done yet.
        """
        if total is not None:
            self._total, self._unit, self._done = total, unit, 0
        self._what = plain(what)
        self._begun_with, self._started = self._done, time.monotonic()

    def stage(self, what: str) -> None:
        """The same work is at something else now."""
        self._what = plain(what)

    def advance(self, parts: float = 1) -> None:
        """So many more parts are done."""
        self._done += parts

    def over(self, parts: Iterable[Part]) -> Iterator[Part]:
        """Go through parts of the work, and count each when the next one is asked for."""
        for part in parts:
            yield part
            self.advance()

    def at(self, done: float) -> None:
        """So many parts are done in all."""
        self._done = done

    def note(self, text: str | Callable[[], str]) -> None:
        """Words that stand behind the numbers, or what tells them when they are shown."""
        self._note = text

    def say(self, line: str) -> None:
        """Print a result on stdout, above the bar; with `--quiet` too."""
        if self._bar is None:
            print(line, flush=True)
        else:
            self._bar.write(line)

    def end(self) -> None:
        """Show no more; the bar is gone."""
        self._ended.set()
        if self._shower.is_alive():
            self._shower.join()
        if self._bar is not None:
            self._draw()
            self._bar.close()
            self._bar = None

    def _show_lines(self) -> None:
        begun, wait_s = time.monotonic(), _FIRST_LINE_S
        while not self._ended.wait(wait_s):
            share = [f"{self._done / self._total:.0%}"] if self._total > 0 else []
            line = ", ".join([*share, *self._told()])
            so_far_s = time.monotonic() - begun
            with suppress(OSError, ValueError):  # nobody reads any more
                print(f"{self._what}: {line}", file=sys.stderr, flush=True)
            wait_s = max(_LINES_EVERY_S, so_far_s / _LINES_AT_MOST)

    def _show_bar(self) -> None:
        while not self._ended.wait(_BAR_EVERY_S):
            self._draw()

    def _draw(self) -> None:
        ends = self._total > 0
        told = self._told() if ends else self._told()[:-1]  # the bar tells the time
        self._bar.set_description_str(self._what, refresh=False)
        self._bar.set_postfix_str(", ".join(told), refresh=False)
        self._bar.total, self._bar.n = self._total if ends else None, self._done
        self._bar.bar_format = _BAR if ends else _BAR_WITHOUT_END
        with suppress(OSError, ValueError):  # nobody looks any more
            self._bar.refresh()

    def _told(self) -> list[str]:
        """Parts that are done, words, and the time that is left or, without an end, was taken."""
        seconds, made = time.monotonic() - self._started, self._done - self._begun_with
        parts = f"{self._done} of {self._total} {self._unit}"
        if self._total <= 0:
            parts = f"{self._done} {self._unit}" if self._done else ""
            left = f"{_duration(seconds)} so far"
        else:
            open_parts = self._total - self._done
            known = made > 0 and open_parts > 0
            left = f"about {_duration(seconds / made * open_parts)} left" if known else ""
        note = plain(self._note if isinstance(self._note, str) else self._note())
        return [*filter(None, (parts if self._unit else "", note, left))]


def _duration(seconds: float) -> str:
    for unit, length_s in (("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * length_s:
            return f"{seconds / length_s:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


@contextmanager
def progress(total: float, what: str, unit: str = "", done: float = 0) -> Iterator[Progress]:
    """Show how far some work is, on stderr.

    On a terminal a bar that is gone at the end (where tqdm is installed), with what is logged
    meanwhile above it. Else lines, the first after 2 s, then every 10 s and more rarely later.

    Args:
        total: Parts of the work; 0 where that is not known.
        what: It is.
        unit: What its parts are, in the plural; "" where they are but shares of the whole.
        done: Parts that are done already.
    """
    if is_quiet() or not _has_room_for_a_bar():
        yield from _until_its_end(Progress(total, what, unit, done, None))
        return
    try:
        from tqdm import tqdm  # a robot has none
        from tqdm.contrib.logging import logging_redirect_tqdm
    except ImportError:
        yield from _until_its_end(Progress(total, what, unit, done, None))
        return
    bar = tqdm(
        total=total or None,
        initial=done,
        desc=plain(what),
        bar_format=_BAR_WITHOUT_END,
        dynamic_ncols=True,
        leave=False,
    )
    with logging_redirect_tqdm():
        yield from _until_its_end(Progress(total, what, unit, done, bar))


def _has_room_for_a_bar() -> bool:
    if not sys.stderr.isatty():
        return False
    return min(os.get_terminal_size(sys.stderr.fileno())) > 0  # a serial console says 0 x 0


def _until_its_end(shown: Progress) -> Iterator[Progress]:
    try:
        yield shown
    finally:
        shown.end()
