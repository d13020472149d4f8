# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A look at validation windows every so often, by the evaluators of `g2vlm evaluate`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from g2vlm_model.model import G2VLM
from g2vlm_model.tokenizer import PromptIds

from ..config import TrainConfig
from ..datasets.base import FrameSequence
from ..datasets.mixture import SYNTHETIC, ClipPool, Mixture, SourceOptions
from ..evaluate.examine import Examiner
from ..evaluate.geometry_cli import stored_mean_map
from ..evaluate.geometry_run import GeometryOptions, run_geometry
from ..evaluate.geometry_tables import gain_text, text_table
from ..evaluate.spatial_qa import evaluate_questions
from ..evaluate.windows import known_of, mean_depth_of

if TYPE_CHECKING:
    from ..stages.semantic_stage import SemanticStage

__all__ = ["Validation", "validation_sources"]

_SEED = 1
_FRAMES, _STRIDE = 4, 2
_QUESTION_FRAMES = 3
_SHOWN = (
    "abs_rel", "delta_125", "rotation_median_deg", "rra5", "rta30", "auc30", "matched",
    "matched_still",
)  # fmt: skip


def validation_sources(config: TrainConfig) -> tuple[SourceOptions, ...]:
    """What a run is validated on: what its config says, or the rooms beside its first ones.

    Raises:
        ValueError: It says nothing and has no rooms.
    """
    if config.validation:
        return config.validation
    rooms = [source for source in config.sources if source.layout == SYNTHETIC]
    if not rooms:
        raise ValueError(
            "nothing says what to validate on: set validation=[{layout: ..., root: ...}], or "
            "eval_windows=0 to go without"
        )
    return (dataclasses.replace(rooms[0], split="val"),)


class Validation:
    """The windows that a run is validated on, and the baseline from what it learns.

    Args:
        config: Of the run.
        data: Folder where relative roots start.
        pool: What the run learns from.

    Raises:
        ValueError, FileNotFoundError, DataError: There are no such data.
    """

    def __init__(self, config: TrainConfig, data: Path, pool: Mixture) -> None:
        self.config = config
        self._pool = Mixture(validation_sources(config), data, config.views)
        self._sequences = _sequences_of(self._pool)
        self._learned = _sequences_of(pool)

    def geometry(self, model: G2VLM, prompts: PromptIds) -> str:
        """A table of the geometry beside its baselines, of what truth there is.

        Args:
            model: In evaluation, in fp32; on any device.
            prompts: Of its tokenizer.

        Raises:
            ValueError: Nothing can be measured on these data.
        """
        known = known_of(self._sequences, _SEED)
        longest = max(len(sequence) for sequence in self._sequences)
        frames = min(_FRAMES, longest)
        options = GeometryOptions(
            frames=(frames,), stride=_STRIDE if longest > _STRIDE * (frames - 1) else 1,
            windows=self.config.eval_windows, refined=0, seed=_SEED, shown=0,
        )  # fmt: skip
        own = mean_depth_of(self._sequences, model.config, _SEED) if known.depth else None
        mean = self._mean_map(model)
        examiner = Examiner(model, prompts, mean, mean if own is None else own)
        (table,) = run_geometry(examiner, self._sequences, options, known)
        lines = [text_table(table.summary(), _SHOWN)]
        lines += [gain_text(title, vars(gain)) for title, gain in table.gains().items()]
        if known.unmeasured:
            lines.append(f"not measured, {known.unmeasured}")
        return "\n".join(lines)

    def questions(self, stage: SemanticStage) -> str:
        """A table of questions about the rooms, "" where there are none.

        Args:
            stage: Around a model in evaluation.
        """
        rooms = next(iter(self._pool.pools.values()), None)
        if rooms is None:
            return ""
        asked = (self.config.eval_windows, _QUESTION_FRAMES, _SEED)
        return evaluate_questions(stage, rooms, *asked).table()

    def _mean_map(self, model: G2VLM) -> Tensor:
        """Mean depth of what is learned from; that of the package where it has no depth."""
        try:
            return mean_depth_of(self._learned, model.config, _SEED)
        except ValueError:
            return stored_mean_map().depth_HW


def _sequences_of(pool: Mixture) -> Sequence[FrameSequence]:
    return [
        sequence
        for source in pool.sources
        for sequence in (source.clips if isinstance(source, ClipPool) else source.sequences)
    ]
