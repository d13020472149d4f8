# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The words of a question do not tell its answer, and the tokenizer knows all of them.

Rooms of one half train a naive Bayes classifier on the words (with their neighbours, the rounded
places of marks and the order of mention), rooms of the other half test it.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter

import numpy as np
import pytest
from g2vlm_training.stages.tokens import nano_tokenizer
from g2vlm_training.synthetic import camera_path, intrinsics, make_room, render, scene_seed
from g2vlm_training.synthetic.questions import LEVELS, TASKS, Question, View, ask
from g2vlm_training.synthetic.questions.words import NAMES, PALETTE, TEMPLATES, plural

from g2vlm_model.tokenizer import Tokenizer

SIZE = (42, 56)
ROOMS, FEW_ROOMS = 64, 20  # all of the statistic, and a look at it
TRIES = 14
CONSTANT_TOLERANCE = 0.1  # of the best constant answer of a form above chance
WORDS_TOLERANCE = (
    0.2  # of the classifier of one form: few rooms, and questions of one hang together
)
TOTAL_TOLERANCE = 0.03  # of the classifier over all forms of all tasks
BALANCED = (
    *LEVELS["high"], "position_matching", "camera_motion_infer", "nearer", "side", "turn", "motion",
)  # fmt: skip
Row = tuple[bool, Question]


def _view(index: int) -> View:
    rng = np.random.default_rng(index)
    room = make_room(scene_seed("test", 100 + index))
    K = intrinsics(float(rng.uniform(55, 95)), SIZE)
    path = camera_path(
        room,
        index,
        3,
        "robot" if index % 4 < 2 else "hand",
        step=float(rng.uniform(0.1, 0.4)),
        turn_deg=float(rng.uniform(4, 14)),
    )
    order = rng.permutation(3)
    shot = render(room, path[order], K, SIZE)
    K_N33 = np.broadcast_to(K, (3, 3, 3)).astype(np.float64)
    poses = np.asarray(shot.T_world_cam, np.float64)
    return View(room.objects, shot.depth, shot.object_id, poses, K_N33, room.size)


@pytest.fixture(scope="module", params=[FEW_ROOMS, pytest.param(ROOMS, marks=pytest.mark.slow)])
def rooms(request: pytest.FixtureRequest) -> int:
    """Number of rooms that are asked about."""
    return int(request.param)


@pytest.fixture(scope="module")
def asked(rooms: int) -> dict[str, list[Row]]:
    """Questions of every task with the half that they belong to."""
    rng = np.random.default_rng(2)
    found: dict[str, list[Row]] = {task: [] for task in TASKS}
    for index in range(rooms):
        view = _view(index)
        for task in TASKS:
            made = (ask(view, task, rng) for _ in range(TRIES))
            found[task] += [(index % 2 == 0, question) for question in made if question]
    return found


def _groups(rows: list[Row]) -> dict[tuple[object, ...], list[Row]]:
    """Rows with the same answers to choose from and the same form."""
    groups: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        key = (row[1].by_name, tuple(sorted(row[1].options)))
        groups.setdefault(key, []).append(row)
    return groups


def _features(question: Question) -> set[str]:
    words = re.findall(r"[A-D]\. [a-z ]+|frame \d+|[\d.]+ m|\w+", question.bare)
    found = {*words, *("_".join(pair) for pair in itertools.pairwise(words))}
    for mark in question.marks:
        found |= {f"{mark.label} column {int(mark.u) * 5 // SIZE[1]}"}
        found |= {f"{mark.label} row {int(mark.v) * 5 // SIZE[0]}"}
    return found


def _naive_bayes(rows: list[Row]) -> float:
    """Accuracy on the second half of a classifier of the first half."""
    train = [(_features(q), q.answer) for first, q in rows if first]
    test = [(_features(q), q.answer) for first, q in rows if not first]
    classes = Counter(answer for _, answer in train)
    frequent = Counter(feature for features, _ in train for feature in features)
    counts = Counter((a, f) for features, a in train for f in features if frequent[f] > 2)
    right = 0
    for features, answer in test:
        known = [f for f in features if frequent[f] > 2]
        scores = {
            c: np.log(n) + sum(np.log((counts[c, f] + 1) / (n + 2)) for f in known)
            for c, n in classes.items()
        }
        right += max(scores, key=lambda c: scores[c]) == answer
    return right / len(test)


def _chance(rows: list[Row]) -> float:
    return 1 / len(rows[0][1].options)


@pytest.mark.parametrize("task", BALANCED)
def test_no_constant_answers_a_choice(asked: dict[str, list[Row]], rooms: int, task: str) -> None:
    deviations = 2.6 if rooms == ROOMS else 3.0
    groups = {key: rows for key, rows in _groups(asked[task]).items() if len(rows) >= 30}
    assert groups, {key: len(rows) for key, rows in _groups(asked[task]).items()}
    for key, rows in groups.items():
        chance = _chance(rows)
        noise = deviations * (chance * (1 - chance) / len(rows)) ** 0.5
        tally = Counter(question.answer for _, question in rows)
        constant = tally.most_common(1)[0][1] / len(rows)
        assert constant < chance + max(CONSTANT_TOLERANCE, noise), (key, tally)


def test_no_words_answer_the_choices(asked: dict[str, list[Row]], rooms: int) -> None:
    leads, sizes = [], []
    for task in BALANCED:
        for key, rows in _groups(asked[task]).items():
            if len(rows) >= 60:
                leads.append(_naive_bayes(rows) - _chance(rows))
                sizes.append(len(rows))
                noise = 3.5 * (_chance(rows) / (len(rows) / 2)) ** 0.5
                assert leads[-1] < max(WORDS_TOLERANCE, noise), (task, key, leads[-1], len(rows))
    assert sum(sizes) > 47 * rooms, sizes
    assert np.average(leads, weights=sizes) < TOTAL_TOLERANCE, list(zip(leads, sizes, strict=True))


def test_letters_are_uniform(asked: dict[str, list[Row]], rooms: int) -> None:
    for size in (2, 4):
        letters = [
            question.answer
            for rows in asked.values()
            for _, question in rows
            if question.options == ("A", "B", "C", "D")[:size]
        ]
        tally = Counter(letters)
        assert len(letters) > 6 * rooms
        assert max(tally.values()) < 1.2 * len(letters) / size, tally


@pytest.mark.parametrize("task", LEVELS["low"])
def test_numbers_are_broad(asked: dict[str, list[Row]], task: str) -> None:
    """A tenth of the answers is far below the median, a tenth far above it."""
    values = np.array([float(question.value or 0) for _, question in asked[task]])
    low, middle, high = np.quantile(values, [0.1, 0.5, 0.9])
    assert low < 0.6 * middle, (low, middle, high)
    assert high > 1.45 * middle, (low, middle, high)


@pytest.mark.parametrize("task", LEVELS["low"])
def test_names_do_not_tell_numbers(asked: dict[str, list[Row]], task: str) -> None:
    """The mean log answer of the other half's questions with the same name explains little."""
    named = [row for row in asked[task] if row[1].by_name]
    logs = {id(q): float(np.log(float(q.value or 1))) for _, q in named}
    overall = float(np.mean([logs[id(q)] for first, q in named if first]))
    by_name: dict[str, list[float]] = {}
    for first, question in named:
        if first:
            for name in set(NAMES) & set(question.bare.split()):
                by_name.setdefault(name, []).append(logs[id(question)])
    residual, total = [], []
    for first, question in named:
        if not first:
            known = [
                sum(by_name[n]) / (len(by_name[n]) + 10) + overall * 10 / (len(by_name[n]) + 10)
                for n in set(by_name) & set(question.bare.split())
            ]
            guess = float(np.mean(known)) if known else overall
            residual.append((logs[id(question)] - guess) ** 2)
            total.append((logs[id(question)] - overall) ** 2)
    explained = 1 - float(np.mean(residual) / np.mean(total))
    assert explained < 0.2, explained


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return nano_tokenizer(1024)


def test_words_places_and_frames_are_single_tokens(tokenizer: Tokenizer) -> None:
    fixed = re.compile(r"\{.*?\}")
    spoken = " ".join(fixed.sub("", text) for texts in TEMPLATES.values() for text in texts)
    told = set(re.findall(r"(?<= )[a-z]+", spoken))
    names = {word for name in NAMES for word in (*name.split(), *plural(name).split())}
    answers = "left right front behind above below up down forward backward turn degrees m square"
    pieces = {
        *(f" {word}" for word in {*told, *names, *PALETTE, *answers.split()} if len(word) > 1),
        *(f" frame {k}" for k in range(1, 25)),
        *(f" {axis} {k}" for axis in "xy" for k in range(100)),
        *(f" {letter}" for letter in "ABCDPQRS"),
    }
    split = {piece: tokenizer.encode(piece) for piece in pieces}
    assert {piece for piece, ids in split.items() if len(ids) != 1} == set()


def test_numbers_are_digits_and_everything_comes_back(
    tokenizer: Tokenizer, asked: dict[str, list[Row]]
) -> None:
    assert [tokenizer.decode([i]) for i in tokenizer.encode("12.5 m")] == ["1", "2", ".", "5", " m"]
    texts = [q.text + "\n" + q.answer for rows in asked.values() for _, q in rows[:20]]
    for text in [*texts, "Zwölf Öfen – ☃ 1234567890\n\tend ", "frame 7x 3 y  100"]:
        assert tokenizer.decode(tokenizer.encode(text)) == text
