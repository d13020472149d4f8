# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What of the frames that come in is taken; of `PipelineOptions`, see `options.py`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .option_fields import OptionGroup, option

__all__ = ["ImageOptions", "SyncOptions"]


@dataclass(frozen=True)
class ImageOptions(OptionGroup):
    """What comes in."""

    group: ClassVar[str] = "images"

    timeout_s: float = option(
        2.0,
        "A camera without good frames for this long is missing",
        unit="s",
        low=0.1,
        high=3600.0,
        changeable=True,
    )
    max_jump_s: float = option(
        5.0,
        "A stamp that leaps further than this starts a new segment",
        unit="s",
        low=0.1,
        high=3600.0,
        changeable=True,
    )
    max_pixels: int = option(
        33554432, "Largest frame that is accepted", unit="px", low=4, high=1073676289
    )
    max_memory_mb: int = option(
        2048,
        "Memory for the decoded frames of one camera; larger frames than fit are refused",
        unit="MB",
        low=1,
        high=1048576,
    )
    damaged: str = option(
        "refuse",
        "A frame whose coded data is corrupt, but decodes: refuse it, or use it and say so",
        choices=("refuse", "use"),
        changeable=True,
    )
    min_contrast: int = option(
        4,
        "A frame whose brightness spans fewer levels of 256 (1st to 99th percentile) shows nothing "
        "and is refused: a covered lens, a dark room, glare; 0 takes all",
        low=0,
        high=255,
        changeable=True,
    )
    max_skew_s: float = option(
        10.0,
        "CLOCK_SKEW where stamps lie further than this from the node's clock; 0 never",
        unit="s",
        low=0.0,
        high=1e6,
        changeable=True,
    )
    rectified_fov_deg: float = option(
        100.0,
        "Widest angle of a straightened frame, across and down; what a fisheye sees beyond is cut",
        unit="deg",
        low=20.0,
        high=160.0,
    )


@dataclass(frozen=True)
class SyncOptions(OptionGroup):
    """Which frames of a rig belong together."""

    group: ClassVar[str] = "sync"

    tolerance_s: float = option(
        0.02,
        "Frames of several cameras within this time belong together",
        unit="s",
        low=0.0,
        high=1.0,
    )
    max_gap_s: float = option(
        0.2,
        "With the extrinsics of all cameras, frames this far from the reference's are taken too, "
        "at the rig's pose of their own stamp",
        unit="s",
        low=0.0,
        high=1.0,
    )
