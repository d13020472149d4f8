# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Models through the sequences of an analysis: the same frames and points for all of them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from g2vlm_model.interface.progress import progress

from ..datasets.base import DataError, FrameSequence
from ..gasp.gasp_readers import PictureReader
from .correspondence import SequenceMatches, match_sequence
from .correspondence_summary import Analysis, summarised
from .windows import WindowPlan, plan_windows

__all__ = ["GAPS", "AnalysisOptions", "analyse_model", "planned_sequences"]

_LOG = logging.getLogger(__name__)
GAPS = (1, 2, 4, 8, 12, 16, 24)


@dataclass(frozen=True)
class AnalysisOptions:
    """What is looked at.

    Args:
        gaps: Frames between the first frame of a sequence and each later one, rising.
        points: Per side of the lattice on the first frame.
        sequences: At most so many.
        seed: Of their choice.

    Raises:
        ValueError: Gaps that do not rise from 1 on, or a number below 1.
    """

    gaps: tuple[int, ...] = GAPS
    points: int = 8
    sequences: int = 200
    seed: int = 7

    def __post_init__(self) -> None:
        if not self.gaps or self.gaps[0] < 1 or list(self.gaps) != sorted(set(self.gaps)):
            raise ValueError(f"gaps is {self.gaps}, expected rising numbers from 1")
        for name in ("points", "sequences"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected at least 1")


def planned_sequences(
    sequences: Sequence[FrameSequence], options: AnalysisOptions
) -> list[WindowPlan]:
    """Frames to look at: a first frame and one after each gap.

    Raises:
        ValueError: No sequence is long enough for the largest gap.
    """
    longest = max((len(sequence) for sequence in sequences), default=0)
    if longest <= options.gaps[-1]:
        raise ValueError(
            f"a gap of {options.gaps[-1]} frames needs sequences of {options.gaps[-1] + 1}, the "
            f"longest of {len(sequences)} has {longest}; lower --gaps, or render longer clips "
            f"(g2vlm dataset synthetic --frames {options.gaps[-1] + 1})"
        )
    plans = plan_windows(sequences, options.gaps[-1] + 1, 1, options.sequences, options.seed)
    offsets = (0, *options.gaps)
    return [WindowPlan(p.sequence, tuple(p.frames[k] for k in offsets)) for p in plans]


def analyse_model(
    name: str, reader: PictureReader, plans: Sequence[WindowPlan], options: AnalysisOptions
) -> Analysis:
    """Match all sequences with one model.

    Args:
        name: Of the model.
        reader: Of the model.
        plans: From `planned_sequences`.
        options: The same.

    Raises:
        ValueError: No sequence can be used.
    """
    found: list[SequenceMatches] = []
    refused: list[str] = []
    with progress(len(plans), name, "sequences") as shown:
        for plan in plans:
            try:
                clip = plan.sequence.read(list(plan.frames))
                found.append(match_sequence(reader, clip, plan.name, options.points))
            except ValueError as error:  # DataError too: files, or nothing seen twice
                refused.append(str(error))
            shown.advance()
    if not found:
        raise DataError(f"none of {len(plans)} sequences can be used; the last: {refused[-1]}")
    if refused:
        _LOG.warning(
            "%s: left out %d of %d sequences; the last: %s",
            name, len(refused), len(plans), refused[-1],
        )  # fmt: skip
    return summarised(name, options.gaps, found)
