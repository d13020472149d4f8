"""Answers to synthetic questions against the truth and against the most frequent answer.

A choice is right when the words are the same. A number scores the mean relative accuracy of
VSI-Bench: the share of the thresholds .5, .55 ... .95 with relative error below 1 - threshold.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from g2vlm_model.answers import parse_quantity

from ..batch import ClipPool, draw_batch
from ..semantic_stage import SemanticStage, questions_of, view_of
from ..synthetic.questions import TASKS, Question

__all__ = ["QuestionReport", "TaskScore", "evaluate_questions", "score_answer"]

_THRESHOLDS = np.arange(0.5, 0.96, 0.05)


@dataclass(frozen=True)
class TaskScore:
    """Score of one task type: the model's and that of its best constant answer."""

    task: str
    count: int
    score: float
    majority: float


@dataclass(frozen=True)
class QuestionReport:
    """Scores by task, and some answers to look at."""

    tasks: tuple[TaskScore, ...]
    examples: tuple[tuple[str, str, str], ...]

    @property
    def mean(self) -> tuple[float, float]:
        """Mean over the task types: model, constant answers."""
        return (
            float(np.mean([row.score for row in self.tasks])),
            float(np.mean([row.majority for row in self.tasks])),
        )

    def table(self) -> str:
        """The scores as text."""
        lines = [f"{'task':<12}{'n':>6}{'model':>8}{'constant':>10}"]
        for row in self.tasks:
            lines.append(f"{row.task:<12}{row.count:>6}{row.score:>8.3f}{row.majority:>10.3f}")
        model, constant = self.mean
        count = sum(row.count for row in self.tasks)
        lines.append(f"{'mean':<12}{count:>6}{model:>8.3f}{constant:>10.3f}")
        return "\n".join(lines)


def score_answer(question: Question, said: str) -> float:
    """Score in [0, 1] of an answer's words."""
    if question.value is None:
        return float(said.strip() == question.answer)
    quantity = parse_quantity(said)
    if quantity is None:
        return 0.0
    return relative_accuracy(quantity.value, question.value)


def relative_accuracy(said: float, truth: float) -> float:
    """Mean relative accuracy of a number."""
    error = abs(said - truth) / max(abs(truth), 1e-6)
    return float((error < 1 - _THRESHOLDS).mean())


def best_constant(questions: Sequence[Question]) -> float:
    """Mean score of the one answer that suits a set of questions of one task best."""
    if questions[0].value is None:
        tally = Counter(question.answer for question in questions)
        return tally.most_common(1)[0][1] / len(questions)
    truths = [float(question.value or 0.0) for question in questions]
    candidates = np.quantile(truths, np.linspace(0.05, 0.95, 31))
    return max(
        float(np.mean([relative_accuracy(float(c), truth) for truth in truths])) for c in candidates
    )


def evaluate_questions(
    stage: SemanticStage,
    pool: ClipPool,
    windows: int,
    frames: int,
    seed: int,
    per_window: int = 8,
) -> QuestionReport:
    """Ask a model about windows of a pool.

    The constant answers are chosen with the knowledge of the answers of this very set, so they
    are an upper bound of what ignoring the pictures and the question's words can reach.

    Args:
        stage: Model in evaluation mode.
        pool: Where the windows come from.
        windows: How many.
        frames: Per window.
        seed: Of the windows and the questions.
        per_window: Questions per window.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    rng = np.random.default_rng([seed, 43])
    asked: dict[str, list[Question]] = {task: [] for task in TASKS}
    scores: dict[str, list[float]] = {task: [] for task in TASKS}
    examples = []
    for _ in range(windows):
        batch = draw_batch(pool, 1, frames, generator, None)
        questions = questions_of(view_of(batch, 0), per_window, rng)
        with torch.no_grad():
            cache = stage.prefix(batch)
        for question in questions:
            said = stage.answer(cache, question.text)
            asked[question.task].append(question)
            scores[question.task].append(score_answer(question, said))
            examples.append((question.text, question.answer, said))
    rows = tuple(
        TaskScore(task, len(asked[task]), float(np.mean(scores[task])), best_constant(asked[task]))
        for task in TASKS
        if asked[task]
    )
    return QuestionReport(rows, tuple(examples[:: max(1, len(examples) // 12)]))
