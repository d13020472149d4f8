# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What questions may be told; see `option_fields`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from g2vlm_model.interface import SpatialQuery

from ..option_fields import OptionGroup, option

__all__ = ["QuestionOptions"]


@dataclass(frozen=True)
class QuestionOptions(OptionGroup):
    """Places and limits of questions that name none, and the robot that they are about."""

    group: ClassVar[str] = "query"

    queue: int = option(8, "Questions that may wait", unit="questions", low=1, high=1000)
    timeout_s: float = option(
        30.0,
        "Time of a question that names none, waiting included",
        unit="s",
        low=0.01,
        high=3600.0,
        changeable=True,
    )
    max_tokens: int = option(
        64,
        "Answer tokens of a question that names no limit",
        unit="tokens",
        low=1,
        high=1024,
        changeable=True,
    )
    reason: str = option(
        "off",
        "What the model reads between a question that names nothing and its answer: nothing, or "
        "the poses, depths and points that its geometry says (for models trained with it)",
        choices=SpatialQuery.REASONS,
        changeable=True,
    )
    min_confidence: float = option(
        0.3,
        "Answers less likely right are withheld (without a calibration: words less probable)",
        low=0.0,
        high=1.0,
        changeable=True,
    )
    reach: float = option(
        0.0,
        "How far the arm reaches from the base's origin; 0: unknown, ask within how many metres",
        unit="m",
        low=0.0,
        high=20.0,
        changeable=True,
    )
    robot_width: float = option(
        0.5,
        "Width that a way must have to be called free",
        unit="m",
        low=0.05,
        high=10.0,
        changeable=True,
    )
    way_length: float = option(
        2.0,
        "How far a way without an end must be seen to be called free; below obstacles.max_range",
        unit="m",
        low=0.1,
        high=50.0,
        changeable=True,
    )
    free_text: bool = option(
        False,
        "What is not understood is asked of the model all the same; its words come unchecked",
        changeable=True,
    )
