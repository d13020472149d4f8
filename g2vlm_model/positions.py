# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Where a sequence stands, and the step by which an answer grows; with torch and without.

Shape letters: V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["CacheMark", "DecodeStep"]


@dataclass(frozen=True)
class CacheMark:
    """A state of a cache to return to: tokens held, and rotary position of the next one."""

    length: int
    position: int


@dataclass(frozen=True)
class DecodeStep:
    """One decoded token.

    Args:
        token: Its id.
        log_probability: Natural logarithm of its probability at temperature 1.
        logits_V: What it was chosen from, of whatever computes.
    """

    token: int
    log_probability: float
    logits_V: Any
