# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Sensors that know metres: each turns its samples around a keyframe into measurements."""

from __future__ import annotations

from ..options import ScaleOptions
from .fiducial import FiducialSource
from .height import HeightSource
from .odometry import OdometrySource
from .ranges import DepthSource, RangeSource, ScanSource
from .rig import RigSource
from .sight import Source
from .stereo import StereoSource

__all__ = ["made_sources"]


def made_sources(options: ScaleOptions) -> dict[str, Source]:
    """The sources that may speak, by kind.

    Raises:
        ValueError: One that is asked for cannot be had.
    """
    made: dict[str, Source] = {
        "odometry": OdometrySource(),
        "depth": DepthSource(),
        "range": RangeSource(),
        "scan": ScanSource(),
        "stereo": StereoSource(),
        "rig": RigSource(),
    }
    if options.camera_height:
        made["height"] = HeightSource(options.camera_height)
    if options.marker_size:
        made["fiducial"] = FiducialSource(options.marker_size, options.marker_family)
    return {name: source for name, source in made.items() if name in options.sources}
