# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""`g2vlm evaluate questions --calibrate FILE`, `--judge FILE`: fit a calibration, or measure it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from g2vlm_map.answers.reliability import Reliability, group_of, read_reliability
from g2vlm_model.checkpoint import model_id
from g2vlm_model.interface.progress import progress
from g2vlm_model.interface.whole_files import write_text
from g2vlm_model.runtimes import load_runtime

from ..datasets.mixture import ClipPool
from .answer_cases import scene_cases
from .calibrate import Rated, fit_curves, rated, write_calibration
from .measured_tasks import MEASURED_TASKS
from .memory_cases import MEMORY_TASKS, memory_readings

__all__ = ["Row", "calibrate", "judgement", "table"]

_SEED = 11
Row = dict[str, float]


def calibrate(args: argparse.Namespace) -> int:
    """Ask, fit or measure, print; returns the exit code."""
    runtime = load_runtime(model=args.model, device=args.device, precision="fp32")
    pool = ClipPool(args.root, args.split)
    cases = scene_cases(runtime, pool, args.windows, args.frames, _SEED, args.per_window)
    with progress(args.windows, "asking", "windows") as shown:
        readings = rated(shown.over(cases))
        shown.begin("searching", args.windows, "windows")
        for one in memory_readings(runtime, pool, args.windows, _SEED):
            readings.append(one)
            shown.at(one.scene + 1)
    runtime.close()
    name = model_id(args.model)
    if args.calibrate:
        how = {"rooms": args.split, "windows": args.windows, "questions": len(readings)}
        write_calibration(args.calibrate, name, fit_curves(readings), how)
    path = args.calibrate or args.judge
    found = judgement(readings, read_reliability(path.read_text(encoding="utf-8"), name))
    print(table(found, args.split))
    if args.json:
        write_text(args.json, json.dumps(found, indent=2) + "\n")
    return 0


def judgement(readings: Sequence[Rated], reliability: Reliability) -> dict[str, Row]:
    """How good a calibration is, by group and in all.

    Returns:
        For each group of what the model is taught, and, with a dash before it, for each type of
        `measured_tasks` and `memory_cases`: questions, accuracy of the words, of the geometry where
        it reads, of the better one by its probability; expected calibration error (10 bins of equal
        count), AUROC, and the accuracy of the surest 60, 50 and 30 % of all questions.
    """
    extra = {*MEASURED_TASKS, *MEMORY_TASKS}
    taught = [one for one in readings if one.task not in extra]
    groups: dict[str, list[Rated]] = {"all": taught}
    for one in taught:
        groups.setdefault(group_of(one.intent), []).append(one)
    for one in readings:
        if one.task in extra:
            groups.setdefault(f"-{one.task}", []).append(one)
    groups = {name: members for name, members in groups.items() if members}
    return {name: _measured(members, reliability) for name, members in groups.items()}


def _measured(members: Sequence[Rated], reliability: Reliability) -> Row:
    chosen = [_chosen(one, reliability) for one in members]
    share_M = np.array([share for share, _ in chosen])
    right_M = np.array([right for _, right in chosen], np.float64)
    read = [one.measured_right for one in members if one.measured_right is not None]
    order = np.argsort(-share_M, kind="stable")
    return {
        "questions": len(members),
        "words": float(np.mean([one.text_right is True for one in members])),
        "geometry": float(np.mean(read)) if read else float("nan"),
        "geometry_reads": len(read),
        "answer": float(right_M.mean()),
        "calibration_error": _calibration_error(share_M, right_M),
        "auroc": _auroc(share_M, right_M),
        "at_60": float(right_M[order[: max(1, round(0.6 * len(order)))]].mean()),
        "at_50": float(right_M[order[: max(1, round(0.5 * len(order)))]].mean()),
        "at_30": float(right_M[order[: max(1, round(0.3 * len(order)))]].mean()),
    }


def _chosen(one: Rated, reliability: Reliability) -> tuple[float, bool]:
    """Probability and truth of the reading that would be the answer."""
    options: list[tuple[float, bool]] = []
    for source, right in (("text", one.text_right), ("geometry", one.measured_right)):
        share = reliability.probability(one.intent, source, one.features)
        if right is not None and share is not None:
            options.append((share, right))
    return max(options, default=(0.0, False))


def _calibration_error(share_M: NDArray[np.float64], right_M: NDArray[np.float64]) -> float:
    bins = np.array_split(np.argsort(share_M, kind="stable"), min(10, len(share_M)))
    gaps = [abs(share_M[rows].mean() - right_M[rows].mean()) * len(rows) for rows in bins]
    return float(sum(gaps) / len(share_M))


def _auroc(share_M: NDArray[np.float64], right_M: NDArray[np.float64]) -> float:
    """Chance that a right answer has a higher probability than a wrong one; ties count half."""
    good, bad = share_M[right_M > 0], share_M[right_M == 0]
    if not len(good) or not len(bad):
        return float("nan")
    return float((np.sign(good[:, None] - bad).mean() + 1.0) / 2.0)


def table(found: dict[str, Row], split: str) -> str:
    """The numbers of `judgement` in percent, as text."""
    head = f"{split:<16}{'n':>6}{'words':>8}{'geometry':>10}{'of':>6}{'answer':>8}"
    lines = [f"{head}{'ECE':>7}{'AUROC':>7}{'60 %':>7}{'50 %':>7}{'30 %':>7}"]
    for name, row in found.items():
        lines.append(
            f"{name:<16}{row['questions']:>6}{100 * row['words']:>8.1f}"
            f"{100 * row['geometry']:>10.1f}{row['geometry_reads']:>6}{100 * row['answer']:>8.1f}"
            f"{row['calibration_error']:>7.3f}{row['auroc']:>7.2f}"
            f"{100 * row['at_60']:>7.1f}{100 * row['at_50']:>7.1f}{100 * row['at_30']:>7.1f}"
        )
    return "\n".join(lines)
