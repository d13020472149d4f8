# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""JSON that somebody else wrote: data of bounded size, or a ValueError, nothing else.

Python's own reader raises RecursionError at brackets in brackets, takes 1e999 for infinity, and
10**400 for a number that no float holds, which raises far from the file. Here every number is
finite and fits a float, and what is too deep, too long or too much is refused in words.
"""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

__all__ = ["MAX_BYTES", "MAX_DIGITS", "check_size", "parse_json"]

MAX_BYTES = 2**28
MAX_DIGITS = 300  # of a whole number: a float holds it


def parse_json(text: str | bytes, max_bytes: int = MAX_BYTES, *, nan: bool = False) -> Any:
    """Read JSON.

    Args:
        text: The document; bytes are UTF-8.
        max_bytes: Longest one that is read; the lists of whole data sets are long.
        nan: Take NaN, which Python writes for a measurement that failed.

    Raises:
        ValueError: It is none, or holds what no file of this project needs.
    """
    check_size(text, max_bytes)
    try:
        constant = _nan if nan else _strange
        words = text.decode("utf-8-sig") if isinstance(text, bytes) else text
        return json.loads(words, parse_int=_whole, parse_float=_number, parse_constant=constant)
    except RecursionError:
        raise ValueError("brackets are nested too deeply") from None


def check_size(text: str | bytes, max_bytes: int = MAX_BYTES) -> None:
    """Refuse a document that is too long.

    Raises:
        ValueError: It is.
    """
    if len(text) > max_bytes:
        raise ValueError(f"it has {len(text)} bytes, expected at most {max_bytes}")


def _whole(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"a number of {len(digits)} digits, expected at most {MAX_DIGITS}")
    return int(digits)


def _number(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"{digits[:40]} is no finite number")
    return value


def _nan(name: str) -> float:
    return math.nan if name == "NaN" else _strange(name)


def _strange(name: str) -> NoReturn:
    raise ValueError(f"{name} is no finite number")
