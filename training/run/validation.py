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
from ..datasets.mixture import SYNTHETIC, ClipPool, FolderPool, Mixture, SourceOptions
from ..evaluate.examine import Examiner
from ..evaluate.geometry_cli import stored_mean_map
from ..evaluate.geometry_run import GeometryOptions, run_geometry
from ..evaluate.geometry_tables import gain_text, text_table
from ..evaluate.spatial_qa import evaluate_questions
from ..evaluate.windows import known_of, mean_depth_of
from .runlog import Table

if TYPE_CHECKING:
    from ..stages.semantic_stage import SemanticStage

__all__ = ["Validation", "learned_beside", "validation_sources"]

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
        pool: What the run learns from; the baseline from what of it lies at the same place.

    Raises:
        ValueError, FileNotFoundError, DataError: There are no such data.
    """

    def __init__(self, config: TrainConfig, data: Path, pool: Mixture) -> None:
        self.config = config
        self._pool = Mixture(validation_sources(config), data, config.views)
        self._sequences = _sequences_of(self._pool.sources)
        self._learned = _sequences_of(learned_beside(config, pool))

    def geometry(self, model: G2VLM, prompts: PromptIds) -> Table:
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
        rows = table.summary()
        values = {
            f"val/{row['row']}/{key}": float(row["metrics"][key]["value"])
            for row in rows
            for key in _SHOWN
            if key in row["metrics"]
        }
        lines = [text_table(rows, _SHOWN)]
        lines += [gain_text(title, vars(gain)) for title, gain in table.gains().items()]
        if known.unmeasured:
            lines.append(f"not measured, {known.unmeasured}")
        return Table("validation: geometry", "\n".join(lines), values)

    def questions(self, stage: SemanticStage) -> Table | None:
        """A table of questions about the rooms, None where there are none.

        Args:
            stage: Around a model in evaluation.
        """
        rooms = next(iter(self._pool.pools.values()), None)
        if rooms is None:
            return None
        asked = (self.config.eval_windows, _QUESTION_FRAMES, _SEED)
        report = evaluate_questions(stage, rooms, *asked)
        values = {
            f"val/questions/{row.name}/{name}": score
            for row in (*report.tasks, *report.levels)
            for name, score in row.scores.items()
        }
        return Table("validation: questions", report.table(), values)

    def _mean_map(self, model: G2VLM) -> Tensor:
        """Mean depth of what is learned from there; the package's where that has no depth."""
        try:
            return mean_depth_of(self._learned, model.config, _SEED)
        except ValueError:
            return stored_mean_map().depth_HW


def learned_beside(config: TrainConfig, pool: Mixture) -> Sequence[ClipPool | FolderPool]:
    """The sources of a run that lie where it is validated; all where none does.

    A map that looks at no picture says most where it was taken from the same place.

    Args:
        config: Of the run.
        pool: Its sources, opened.
    """
    places = {(item.layout, item.root) for item in validation_sources(config)}
    scenes = [item for item in config.sources if not item.is_language]
    beside = [
        source
        for item, source in zip(scenes, pool.sources, strict=True)
        if (item.layout, item.root) in places
    ]
    return beside or pool.sources


def _sequences_of(sources: Sequence[ClipPool | FolderPool]) -> Sequence[FrameSequence]:
    return [
        sequence
        for source in sources
        for sequence in (source.clips if isinstance(source, ClipPool) else source.sequences)
    ]
