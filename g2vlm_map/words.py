# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Words that came from outside, made fit for logs, terminals, status and reports."""

from __future__ import annotations

import unicodedata

__all__ = ["MAX_CHARS", "plain"]

MAX_CHARS = 2000


def plain(text: str, limit: int = MAX_CHARS) -> str:
    r"""One line without control characters, of a bounded length.

    An escape sequence in a frame_id, a topic or a file's name would else reach the terminal of
    whoever reads the log, and 10 kB of it everybody's.

    Args:
        text: Of whatever length; line ends and tabs become spaces, other controls "\x1b".
        limit: Characters at most; what is cut is counted.
    """
    cut = len(text) - limit
    shown = text[:limit]
    if not shown.isprintable():
        shown = "".join(_shown(char) for char in shown)[: 2 * limit]
    return f"{shown} ... ({cut} characters more)" if cut > 0 else shown


def _shown(char: str) -> str:
    if char.isprintable():
        return char
    if char in "\n\r\t" or unicodedata.category(char) == "Zs":
        return " "
    return char.encode("unicode_escape", "backslashreplace").decode("ascii")
