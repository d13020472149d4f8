# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Words that came from outside, made fit for logs, terminals, status and reports."""

from __future__ import annotations

import logging
import unicodedata

__all__ = ["MAX_CHARS", "log_plainly", "make_plain", "plain", "plain_lines"]

MAX_CHARS = 2000
MAX_LINES = 100
_NOTE_CHARS = 40  # room for how much was cut


def plain(text: str, limit: int = MAX_CHARS) -> str:
    r"""One line without control characters, of a bounded length.

    An escape sequence in a frame_id, a topic or a file's name would else reach the terminal of
    whoever reads the log, and 10 kB of it everybody's.

    What it returns it would return again as it is.

    Args:
        text: Of whatever length; line ends and tabs become spaces, other controls "\x1b".
        limit: Characters at most, 50 or more; what is cut is counted.
    """
    shown, unseen = text[:limit], max(0, len(text) - limit)
    if not shown.isprintable():
        shown = "".join(_shown(char) for char in shown)
    if len(shown) + unseen <= limit:
        return shown
    kept = shown[: limit - _NOTE_CHARS]
    return f"{kept} ... ({len(shown) - len(kept) + unseen} characters more)"


def plain_lines(text: str) -> str:
    """Several lines, each as `plain` makes it; a hundred at most."""
    return "\n".join(plain(line) for line in text.splitlines()[:MAX_LINES])


def make_plain(of: object, *names: str) -> None:
    """Give a frozen dataclass that is being made its words as `plain` makes them.

    Args:
        of: In its `__post_init__`.
        names: Fields of it that hold one line, or a tuple of such.

    Raises:
        TypeError: Of a field that holds something else.
    """
    for name in names:
        value = getattr(of, name)
        many = isinstance(value, tuple)
        object.__setattr__(of, name, tuple(map(plain, value)) if many else plain(value))


class _PlainFormatter(logging.Formatter):
    """Names out of files stand in log lines; their control characters do not."""

    def format(self, record: logging.LogRecord) -> str:
        """The record's text, line by line."""
        return plain_lines(super().format(record))


def log_plainly(level: int, form: str, datefmt: str | None = None) -> None:
    """What a command logs goes to stderr, plain; as `logging.basicConfig`."""
    handler = logging.StreamHandler()
    handler.setFormatter(_PlainFormatter(form, datefmt))
    logging.basicConfig(level=level, handlers=[handler])


def _shown(char: str) -> str:
    if char.isprintable():
        return char
    if char in "\n\r\t" or unicodedata.category(char) == "Zs":
        return " "
    return char.encode("unicode_escape", "backslashreplace").decode("ascii")
