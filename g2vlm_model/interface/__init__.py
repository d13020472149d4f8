# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Every type that crosses a package border: frames in, geometry and answers out.

numpy only: the node, the runtimes and the tools share these types and none of them
has to import torch to do so.

Shape letters: N frames, H W pixels of the *model's* picture (after its resize), M points.
Axes are OpenCV optical axes everywhere: x right, y down, z forward.
`T_a_b` maps coordinates of b to a (`x_a = T_a_b @ x_b`).

Scale: the model's output is up to scale. Lengths below are in *scene units* until a scale
source fixes them; only then `is_metric` is True and the unit is the metre.
"""

from __future__ import annotations

from .frames import Frame, FrameWindow, GeometryPrediction, PixelMark
from .questions import (
    AnswerSource,
    AnswerStatus,
    CrossCheck,
    NamedPlace,
    SpatialAnswer,
    SpatialQuery,
)
from .runtime import (
    TRIAL_HW,
    BuildProgress,
    ObservationCancelledError,
    RuntimeInfo,
    RuntimeLimits,
    Scene,
    SpatialRuntime,
    TokenScene,
    WindowRefusedError,
)

__all__ = [
    "TRIAL_HW",
    "AnswerSource",
    "AnswerStatus",
    "BuildProgress",
    "CrossCheck",
    "Frame",
    "FrameWindow",
    "GeometryPrediction",
    "NamedPlace",
    "ObservationCancelledError",
    "PixelMark",
    "RuntimeInfo",
    "RuntimeLimits",
    "Scene",
    "SpatialAnswer",
    "SpatialQuery",
    "SpatialRuntime",
    "TokenScene",
    "WindowRefusedError",
]
