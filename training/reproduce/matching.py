# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What GASP is about, measured on a model: matches in queries and keys, answers by category."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from g2vlm_model.model import G2VLM
from g2vlm_model.tokenizer import Tokenizer

from ..datasets.base import FrameSequence
from ..datasets.batch import ClipSource
from ..evaluate.correspondence_run import GAPS, AnalysisOptions, analyse_model, planned_sequences
from ..evaluate.spatial_qa import evaluate_questions
from ..gasp.gasp_readers import SemanticReader
from ..stages.semantic_stage import SemanticStage

__all__ = ["measured_categories", "measured_matches"]

_SEED = 7
_SEQUENCES = 60


def measured_matches(
    model: G2VLM, tokenizer: Tokenizer, clips: Sequence[FrameSequence], side: int = 0
) -> dict[str, float]:
    """PCK of the best layer and mean over layers, chance, correlation, what is left at the end.

    Args:
        model: In evaluation.
        tokenizer: The model's.
        clips: Validation clips, as long as the gaps shall be.
        side: See `GaspOptions`.
    """
    longest = max(len(clip) for clip in clips)
    gaps = tuple(gap for gap in GAPS if gap < longest)
    options = AnalysisOptions(gaps, sequences=_SEQUENCES, seed=_SEED)
    reader = SemanticReader(SemanticStage(model, tokenizer, questions=1), side)
    found = analyse_model("model", reader, planned_sequences(clips, options), options)
    best = found.pck[found.best_layer]
    return {
        "pck": best.mean,
        "pck_deviation": best.deviation,
        "pck_moved": found.moved_pck[found.best_layer].mean,
        "pck_mean": float(np.mean([one.mean for one in found.pck])),
        "pck_chance": found.chance,
        "pck_still": found.still,
        "correlation": found.correlation[found.best_layer].mean,
        "correlation_nearby": found.nearby_correlation[found.best_layer].mean,
        "pck_far": found.gap_pck[-1].mean,
        "left": found.robustness[-1].mean,
        "left_gap": float(gaps[-1]),
    } | {f"pck_{layer}": one.mean for layer, one in enumerate(found.pck)}


def measured_categories(
    model: G2VLM, tokenizer: Tokenizer, source: ClipSource, windows: int, frames: int
) -> dict[str, float]:
    """Mean scores of the answers, by category (means over their tasks).

    Args:
        model: In evaluation.
        tokenizer: The model's.
        source: Validation clips.
        windows: How many.
        frames: Of a window.
    """
    stage = SemanticStage(model, tokenizer, questions=1)
    report = evaluate_questions(stage, source, windows, frames, _SEED)
    return {f"answers_{row.name}": row.scores["model"] for row in report.levels}
