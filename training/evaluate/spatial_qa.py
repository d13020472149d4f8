# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Questions about windows that were never trained on: scores per task, level and in total.

Beside the model stand a question-only baseline (a model trained and asked without pictures), the
best constant answers and chance. Means over a level are means over its tasks, as in SPAR-Bench.
Intervals are those of `summary`: rooms are drawn, or runs of windows where there are few, because
questions of a window hang together, and windows of a room too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from g2vlm_model.interface.progress import progress

from ..datasets.batch import ClipSource, batch_of, plan_windows, read_window
from ..datasets.views import ViewOptions
from ..stages.question_batch import view_of
from ..stages.semantic_stage import SemanticStage
from ..synthetic.questions import LEVELS, SPAR_TASKS, TASKS, Question, View, ask
from .answering import answers_about
from .question_scores import best_constant, chance, score_answer
from .summary import drawn_groups, groups_of, interval_of

__all__ = ["QuestionReport", "ScoreRow", "evaluate_questions", "questions_in_turn"]

ROWS = ("model", "question only", "beside", "best constant", "chance")
_WITHOUT_MODEL = ROWS[-2:]
CAMERA_MOTION = ("camera_motion_infer", "view_change_infer", "angle", "turn", "motion")
MULTI_VIEW = ("position_matching", *(task for task in TASKS if task.endswith("_mv")))
_TRIES = 12
_EXAMPLES = 24


@dataclass(frozen=True)
class ScoreRow:
    """Scores of one task, or means over the tasks of a level.

    Args:
        name: Task or level.
        count: Questions.
        scores: Mean by row of the table, in [0, 1].
        interval: 95 % interval of the model's.
        gain: 95 % interval of the model's lead over the question-only baseline, None without one.
        lead: The same over the model beside it.
    """

    name: str
    count: int
    scores: Mapping[str, float]
    interval: tuple[float, float]
    gain: tuple[float, float] | None
    lead: tuple[float, float] | None


@dataclass(frozen=True)
class QuestionReport:
    """Scores of one number of frames per window.

    Args:
        frames: Per window.
        windows: How many.
        tasks: One row per task.
        levels: Means over the tasks of each level, of SPAR-Bench's 20 ("spar"), of those about
            the camera's motion and about several views, and of all.
        examples: Some (question, truth, answer).
    """

    frames: int
    windows: int
    tasks: tuple[ScoreRow, ...]
    levels: tuple[ScoreRow, ...]
    examples: tuple[tuple[str, str, str], ...]

    def table(self) -> str:
        """The scores in percent, as text."""
        rows = [row for row in ROWS if row in self.levels[-1].scores]
        head = f"{'task':<28}{'n':>6}" + "".join(f"{row:>15}" for row in rows)
        compared = "beside" in rows
        head += f"{'95 %':>14}" + (f"{'lead, 95 %':>18}" if compared else "")
        lines = [f"{self.windows} windows of {self.frames} frames", head]
        for row in (*self.tasks, *self.levels):
            cells = "".join(f"{100 * row.scores[name]:>15.1f}" for name in rows)
            low, high = row.interval
            line = f"{row.name:<28}{row.count:>6}{cells}{f'{100 * low:.1f}-{100 * high:.1f}':>14}"
            if row.lead is not None:
                line += f"{f'{100 * row.lead[0]:+.1f} to {100 * row.lead[1]:+.1f}':>18}"
            lines.append(line)
        return "\n".join(lines)


def questions_in_turn(
    view: View, count: int, start: int, rng: np.random.Generator, tasks: Sequence[str] = TASKS
) -> list[Question]:
    """Up to `count` questions of the tasks in their order from `start` on, so all come up alike.

    A task that the window does not allow is passed over.
    """
    found: list[Question] = []
    for step in range(len(tasks)):
        task = tasks[(start + step) % len(tasks)]
        made = (ask(view, task, rng) for _ in range(_TRIES))
        question = next((question for question in made if question is not None), None)
        if question is not None:
            found.append(question)
        if len(found) == count:
            break
    return found


@torch.no_grad()
def evaluate_questions(
    stage: SemanticStage,
    pool: ClipSource,
    windows: int,
    frames: int,
    seed: int,
    per_window: int = 16,
    question_only: SemanticStage | None = None,
    beside: SemanticStage | None = None,
    tasks: Sequence[str] = TASKS,
) -> QuestionReport:
    """Ask a model about windows of a pool.

    Args:
        stage: Model in evaluation mode.
        pool: Where the windows come from.
        windows: How many.
        frames: Per window.
        seed: Of the windows and the questions.
        per_window: Questions per window, at most.
        question_only: A blind model to ask the same questions.
        beside: Another model to ask the same questions.
        tasks: Types of the questions.

    Raises:
        ValueError: A question-only model that sees, or no window allows a question.
    """
    if question_only is not None and not question_only.blind:
        raise ValueError("the question-only model must be blind: SemanticStage(..., blind=True)")
    generator = torch.Generator().manual_seed(seed)
    rng = np.random.default_rng([seed, 43])
    asked: list[Question] = []
    owner: list[int] = []
    rooms: list[str] = []
    views = ViewOptions()
    examinees = {"model": stage, "question only": question_only, "beside": beside}
    asks = {row: examinee for row, examinee in examinees.items() if examinee is not None}
    said: dict[str, list[str]] = {row: [] for row in asks}
    with progress(windows, "questions", "windows") as shown:
        for window in range(windows):
            plan = plan_windows(pool, 1, frames, generator, views)
            rooms.append(plan.sequences[0].name)
            batch = batch_of([read_window(plan, 0, pool, generator, views)])
            start = window * per_window
            questions = questions_in_turn(view_of(batch, 0), per_window, start, rng, tasks)
            for row, examinee in asks.items():
                if questions:
                    said[row] += answers_about(examinee, batch, questions)
            asked += questions
            owner += [window] * len(questions)
            shown.advance()
    if not asked:
        raise ValueError(f"none of {windows} windows allows a question")
    groups, _ = groups_of(rooms, range(windows))
    return _report(asked, np.array(owner), said, frames, groups)


def _report(
    asked: Sequence[Question],
    owner: NDArray[np.int64],
    said: Mapping[str, Sequence[str]],
    frames: int,
    groups: NDArray[np.int64],
) -> QuestionReport:
    """Score what was said; `owner` is each question's window, `groups` each window's group."""
    task_of = np.array([question.task for question in asked])
    scores = {
        row: np.array([score_answer(*pair) for pair in zip(asked, words, strict=True)])
        for row, words in said.items()
    }
    scores |= {row: np.zeros(len(asked)) for row in _WITHOUT_MODEL}
    present = [task for task in TASKS if (task_of == task).any()]
    for task in present:
        members = np.flatnonzero(task_of == task)
        questions = [asked[int(index)] for index in members]
        scores["best constant"][members] = best_constant(questions)
        scores["chance"][members] = chance(questions)
    count = int(groups.max()) + 1
    weight_RG = np.stack([np.bincount(pick, minlength=count) for pick in drawn_groups(count)])
    group = groups[owner]

    def row_of(name: str, tasks: Sequence[str]) -> ScoreRow:
        members = [np.flatnonzero(task_of == task) for task in tasks]
        means = {row: float(np.mean([v[m].mean() for m in members])) for row, v in scores.items()}
        model = _resampled(scores["model"], members, group, weight_RG)
        ahead = {
            row: interval_of(model - _resampled(scores[row], members, group, weight_RG))
            for row in ("question only", "beside")
            if row in scores
        }
        gain, lead = ahead.get("question only"), ahead.get("beside")
        return ScoreRow(name, sum(map(len, members)), means, interval_of(model), gain, lead)

    levels = [
        *LEVELS.items(),
        ("spar", SPAR_TASKS),
        ("camera_motion", CAMERA_MOTION),
        ("multi_view", MULTI_VIEW),
        ("all", TASKS),
    ]
    grouped = [(name, [task for task in tasks if task in present]) for name, tasks in levels]
    words = list(zip(asked, said["model"], strict=True))[:: max(1, len(asked) // _EXAMPLES)]
    return QuestionReport(
        frames=frames,
        windows=len(groups),
        tasks=tuple(row_of(task, [task]) for task in present),
        levels=tuple(row_of(name, tasks) for name, tasks in grouped if tasks),
        examples=tuple((question.text, question.answer, answer) for question, answer in words),
    )


def _resampled(
    scores: NDArray[np.float64],
    members: Sequence[NDArray[np.int64]],
    group: NDArray[np.int64],
    weight_RG: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Mean over tasks of the tasks' means, for every drawing of the groups."""
    groups = weight_RG.shape[1]
    means = []
    for indices in members:
        total = np.bincount(group[indices], scores[indices], groups)
        count = np.bincount(group[indices], minlength=groups)
        with np.errstate(invalid="ignore"):
            means.append((weight_RG @ total) / (weight_RG @ count))
    table_TR = np.stack(means)  # a task that no drawn group asks is left out of that mean
    with np.errstate(invalid="ignore"):
        result: NDArray[np.float64] = np.nansum(table_TR, axis=0) / np.isfinite(table_TR).sum(
            axis=0
        )
    return result
