# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The geometry of a model on many windows: run, pool, and say what was left out."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from g2vlm_model.interface.progress import progress

from ..datasets.base import DataError, FrameSequence
from .examine import AXES, Examiner, Samples
from .summary import GAINS, METRICS, Estimate, difference, estimate, groups_of
from .windows import (
    EvalWindow,
    Known,
    Prediction,
    WindowPlan,
    plan_windows,
    predict,
    read_window,
)

__all__ = ["GeometryOptions", "GeometryTable", "Scored", "run_geometry"]

_LOG = logging.getLogger(__name__)
_BEST_AXIS = "best constant axis"


@dataclass(frozen=True)
class GeometryOptions:
    """What is run.

    Args:
        frames: Frames per window, one table each.
        stride: Step between the frames of a window.
        windows: At most so many windows of each number of frames.
        refined: On so many of them, the first, poses are refined and two-view geometry runs.
        seed: Of the choice of windows.
        causal: Let each frame see earlier ones only, whatever the config says.
        shown: So many windows of each length are kept for the report.
    """

    frames: tuple[int, ...] = (2, 4, 8)
    stride: int = 1
    windows: int = 200
    refined: int = 100
    seed: int = 7
    causal: bool = False
    shown: int = 1


@dataclass(frozen=True)
class Scored:
    """A window with its prediction and every row's samples."""

    plan: WindowPlan
    rows: dict[str, Samples]
    window: EvalWindow | None = field(default=None, repr=False)
    said: Prediction | None = field(default=None, repr=False)
    refined_T_N44: NDArray[np.float64] | None = field(default=None, repr=False)


@dataclass(frozen=True)
class GeometryTable:
    """All windows of one number of frames.

    Args:
        frames: Per window.
        scored: The windows, in the order in which they were drawn.
        refused: Windows that could not be read, and why.
        seconds: Wall time.
    """

    frames: int
    scored: tuple[Scored, ...]
    refused: dict[str, str]
    seconds: float

    def names(self) -> list[str]:
        """Rows, with the best constant axis in place of the six."""
        names = list(dict.fromkeys(name for item in self.scored for name in item.rows))
        axes = [f"constant {axis}" for axis in AXES]
        at = [_BEST_AXIS] if set(axes) & set(names) and self.frames > 1 else []
        rest = [name for name in names if name not in axes]
        return [name for name in rest if name != "identity motion" or self.frames > 1] + at

    def samples(self, name: str) -> tuple[list[Samples], list[WindowPlan]]:
        """Samples of a row, and the windows that have it."""
        key = self._best_axis() if name == _BEST_AXIS else name
        with_row = [item for item in self.scored if key in item.rows]
        return [item.rows[key] for item in with_row], [item.plan for item in with_row]

    def _best_axis(self) -> str:
        """The axis that suits these very windows best by AUC@30."""
        auc = next(metric for metric in METRICS if metric.key == "auc30")

        def score(axis: str) -> float:
            windows = [item.rows[f"constant {axis}"] for item in self.scored]
            found = estimate(auc, windows, np.arange(len(windows)))
            return -1.0 if found is None else found.value

        return f"constant {max(AXES, key=score)}"

    def summary(self) -> list[dict[str, Any]]:
        """One dict per row: how much was scored, and every metric with its interval."""
        rows = []
        for name in self.names():
            samples, plans = self.samples(name)
            groups, kind = _groups(plans)
            found = {metric.key: estimate(metric, samples, groups) for metric in METRICS}
            pairs = sum(len(item.get("rotation_deg", ())) for item in samples)
            long = sum(len(item.get("direction_deg", ())) for item in samples)
            places = len({plan.sequence.name for plan in plans})
            rows.append(
                {
                    "row": name, "frames": self.frames, "windows": len(samples),
                    "sequences": places, "pairs": pairs, "baseline_pairs": long,
                    "resampled": kind,
                    "metrics": {key: vars(e) for key, e in found.items() if e is not None},
                }
            )  # fmt: skip
        return rows

    def gains(self) -> dict[str, Estimate]:
        """What separates the head from its baselines, window by window."""
        found: dict[str, Estimate | None] = {}
        for title, mine, theirs, key in GAINS:
            both = [item for item in self.scored if mine in item.rows and theirs in item.rows]
            groups, _ = _groups([item.plan for item in both])
            found[title] = difference(
                key, [item.rows[mine] for item in both], [item.rows[theirs] for item in both],
                groups,
            )  # fmt: skip
        return {title: e for title, e in found.items() if e is not None}


def run_geometry(
    examiner: Examiner,
    sequences: Sequence[FrameSequence],
    options: GeometryOptions,
    known: Known | None = None,
) -> list[GeometryTable]:
    """Score windows of every asked length.

    Args:
        examiner: Model and baselines.
        sequences: Where windows come from.
        options: Which windows; single frames are left out where no depth is known.
        known: What truth the data have; None: depth and poses.

    Raises:
        ValueError: No window of a length exists, or none could be read.
    """
    known = known or Known()
    lengths = [frames for frames in options.frames if known.depth or frames > 1]
    if not lengths:
        raise ValueError("single frames have no motion, and these data know no depth to measure")
    return [_table(examiner, sequences, options, known, frames) for frames in lengths]


def _table(
    examiner: Examiner,
    sequences: Sequence[FrameSequence],
    options: GeometryOptions,
    known: Known,
    frames: int,
) -> GeometryTable:
    plans = plan_windows(
        sequences, frames, options.stride, options.windows, options.seed, max(options.frames)
    )
    started = time.monotonic()
    scored: list[Scored] = []
    refused: dict[str, str] = {}
    with progress(len(plans), f"windows of {frames}", "windows") as told:
        for plan in plans:
            try:
                window = read_window(plan, examiner.model.config, known)
            except DataError as error:
                refused[plan.name] = str(error)
                _LOG.warning("left out window %d: %s", len(refused), error)
                told.advance()
                continue
            refines = known.poses and frames > 1 and len(scored) < options.refined
            shown = known.depth and known.poses and len(scored) < options.shown
            scored.append(_score(examiner, plan, window, known, options.causal, refines, shown))
            told.advance()
    if not scored:
        raise ValueError(f"none of {len(plans)} windows could be read, e.g. {refused}"[:500])
    return GeometryTable(frames, tuple(scored), refused, time.monotonic() - started)


def _groups(plans: Sequence[WindowPlan]) -> tuple[NDArray[np.int64], str]:
    return groups_of([plan.sequence.name for plan in plans], [plan.frames[0] for plan in plans])


def _score(
    examiner: Examiner,
    plan: WindowPlan,
    window: EvalWindow,
    known: Known,
    causal: bool,
    refines: bool,
    shown: bool,
) -> Scored:
    said = predict(examiner.model, examiner.prompts, window.batch, causal)
    rows = examiner.learned(window, said, known)
    poses = None
    if refines:
        more, result = examiner.refined(plan, window, said, known)
        rows, poses = rows | more, result.T_world_cam_N44
    if not shown:
        return Scored(plan, rows)
    return Scored(plan, rows, window, said, poses)
