# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Scores of answers by hand, answers in a batch, and the report with its baselines."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from g2vlm_training.datasets.batch import draw_batch
from g2vlm_training.datasets.mixture import ClipPool
from g2vlm_training.evaluate.answering import greedy_answers
from g2vlm_training.evaluate.question_scores import (
    best_constant,
    chance,
    read_view_change,
    score_answer,
)
from g2vlm_training.evaluate.spatial_qa import _report, evaluate_questions, questions_in_turn
from g2vlm_training.stages.question_batch import view_of
from g2vlm_training.stages.semantic_stage import SemanticStage
from g2vlm_training.stages.tokens import nano_tokenizer
from g2vlm_training.synthetic.questions import Question

from tests.training.tiny import tiny_model

MOTION = "right 0.20 up 0.00 forward 1.00 turn left 10 up 2"
VALUES = (0.2, 0.0, 1.0, -10.0, 2.0)


@pytest.mark.parametrize(
    ("said", "score"), [("2.0 m", 1.0), ("2.3 m", 0.8), ("200 cm", 1.0), ("4.1 m", 0), ("far", 0)]
)
def test_numbers_score_relative_accuracy(said: str, score: float) -> None:
    question = Question("distance_prediction_oc", "How far is A?", "2.0 m", 2.0)
    assert score_answer(question, said) == pytest.approx(score)


def test_choices_score_by_the_word() -> None:
    question = Question("side", "left or right?", "left", options=("left", "right"))
    assert score_answer(question, " left.") == 1.0
    assert score_answer(question, "right") == 0.0


@pytest.mark.parametrize(
    ("said", "score"),
    [
        (MOTION, 1.0),
        (MOTION.replace("right 0.20", "left 0.20"), 0.8),
        ("right 0.20 up 0.00 forward 1.00", 0.6),
        (MOTION.replace("forward 1.00", "forward 1.20"), (4 + 0.7) / 5),
        ("nothing", 0.0),
    ],
)
def test_a_view_change_scores_each_of_its_numbers(said: str, score: float) -> None:
    question = Question("view_change_infer", "How?", MOTION, values=VALUES)
    assert score_answer(question, said) == pytest.approx(score)


def test_a_view_change_is_read_by_its_words() -> None:
    assert read_view_change(MOTION) == VALUES
    assert read_view_change("turn right 3 down 4") == (None, None, None, 3.0, -4.0)


def test_best_constant_knows_the_answers() -> None:
    sides = [Question("turn", "", a, options=("left", "right")) for a in ("left", "left", "right")]
    letters = [Question("turn", "", "B", options=("A", "B"))]
    assert best_constant([*sides, *letters]) == [1.0, 1.0, 0.0, 1.0]
    lengths = [Question("angle", "", "", value) for value in (1.0, 1.0, 1.02, 9.0)]
    assert np.mean(best_constant(lengths)) > 0.7
    motions = [Question("view_change_infer", "", "", values=v) for v in (VALUES, VALUES)]
    assert best_constant(motions) == [1.0, 1.0]


def test_chance_is_one_option_or_any_truth() -> None:
    four = Question("turn", "", "A", options=("A", "B", "C", "D"))
    assert chance([four, four]) == [0.25, 0.25]
    lengths = [Question("angle", "", f"{value} m", value) for value in (1.0, 10.0)]
    assert chance(lengths) == [0.5, 0.5]


def test_report_means_over_tasks_and_windows() -> None:
    """Two tasks, unequal counts: the level's mean is that of the tasks, not of the questions."""
    turn = [Question("turn", "", a, options=("left", "right")) for a in ("left", "right", "left")]
    room = [Question("room_size", "", "20 square meters", 20.0)]
    said = {"model": ["left", "right", "right", "20"], "question only": ["left"] * 4}
    report = _report([*turn, *room], np.array([0, 0, 1, 1]), said, 2, np.arange(2))
    by_name = {row.name: row for row in (*report.tasks, *report.levels)}
    assert by_name["turn"].scores["model"] == pytest.approx(2 / 3)
    assert by_name["scene"].scores["model"] == pytest.approx((2 / 3 + 1) / 2)
    assert by_name["scene"].scores["question only"] == pytest.approx(1 / 3)
    assert by_name["turn"].interval == (0.0, 1.0)
    assert by_name["turn"].scores["chance"] == 0.5
    assert "spar" not in by_name
    assert "scene" in report.table()


def test_windows_of_one_room_are_no_independent_evidence() -> None:
    """Ten rooms, each asked twice and each wholly right or wrong: half as much is known."""
    asked = [Question("turn", "", "left", options=("left", "right"))] * 20
    said = {"model": ["left" if (index // 2) % 2 else "right" for index in range(20)]}
    apart = _report(asked, np.arange(20), said, 2, np.arange(20)).levels[-1]
    rooms = _report(asked, np.arange(20), said, 2, np.arange(20) // 2).levels[-1]
    assert rooms.scores["model"] == apart.scores["model"] == 0.5
    width, known = (row.interval[1] - row.interval[0] for row in (rooms, apart))
    assert 1.2 * known < width < 1.7 * known, (width, known)


def _stage(blind: bool = False, seed: int = 0) -> SemanticStage:
    stage = SemanticStage(tiny_model(seed), nano_tokenizer(700), questions=1, blind=blind)
    stage.eval()
    return stage


@pytest.mark.parametrize("blind", [False, True])
def test_answers_in_a_batch_are_those_of_one_by_one(pool: ClipPool, blind: bool) -> None:
    stage = _stage(blind)
    batch = draw_batch(pool, 1, 2, torch.Generator().manual_seed(1), None)
    questions = questions_in_turn(view_of(batch, 0), 6, 0, np.random.default_rng(0))
    assert len(questions) == 6
    with torch.no_grad():
        prefix = stage.prefix(batch)
    together = greedy_answers(stage, prefix, questions, batch.grid, max_tokens=8)
    alone = [stage.answer(prefix, question, batch.grid, 8) for question in questions]
    assert together == alone


def test_the_evaluation_asks_all_tasks_alike(pool: ClipPool) -> None:
    seeing, blind = _stage(), _stage(blind=True, seed=1)
    report, again = (evaluate_questions(seeing, pool, 2, 2, 3, 7, blind) for _ in range(2))
    assert report == again
    assert len(report.tasks) > 10
    total = report.levels[-1]
    assert total.name == "all"
    assert set(total.scores) == {"model", "question only", "best constant", "chance"}
    assert total.scores["best constant"] > total.scores["chance"] - 0.05
    assert total.gain is not None
    json.dumps([row.scores for row in report.tasks])


def test_another_model_is_asked_the_same(pool: ClipPool) -> None:
    tasks = ("nearer", "turn", "motion")
    one, other = _stage(), _stage(seed=1)
    report = evaluate_questions(one, pool, 2, 2, 3, 7, beside=other, tasks=tasks)
    turned = evaluate_questions(other, pool, 2, 2, 3, 7, beside=one, tasks=tasks)
    assert {row.name for row in report.tasks} <= set(tasks)
    for row, back in zip(report.levels, turned.levels, strict=True):
        assert (row.scores["model"], row.count) == (back.scores["beside"], back.count)
        assert row.lead is not None
        assert back.lead is not None
        assert row.lead == pytest.approx((-back.lead[1], -back.lead[0]))
    assert "lead, 95 %" in report.table()
    alike = evaluate_questions(one, pool, 1, 2, 3, 7, beside=one).levels[-1]
    assert alike.lead == (0.0, 0.0)
    assert {row.name for row in report.levels} >= {"camera_motion", "all"}


def test_a_question_only_model_must_not_see(pool: ClipPool) -> None:
    with pytest.raises(ValueError, match="blind"):
        evaluate_questions(_stage(), pool, 1, 2, 3, 4, _stage())


def test_windows_without_questions_are_an_error(pool: ClipPool, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="none of 0 windows"):
        evaluate_questions(_stage(), pool, 0, 2, 3)
