# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Where a sequence stands: how many tokens it holds and at which rotary position it goes on."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CacheMark"]


@dataclass(frozen=True)
class CacheMark:
    """A state of a cache to return to: tokens held, and rotary position of the next one."""

    length: int
    position: int
