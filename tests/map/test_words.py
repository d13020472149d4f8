# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Text from outside becomes one bounded line without control characters."""

from __future__ import annotations

import dataclasses

import pytest

from g2vlm_map.decode import BadInputError
from g2vlm_map.options import StatusOptions
from g2vlm_map.recordings import RecordingError
from g2vlm_map.status import StatusBoard
from g2vlm_model.interface import AnswerStatus, RuntimeInfo, SpatialAnswer
from g2vlm_model.interface.words import MAX_CHARS, plain

HOSTILE = "\x1b]0;owned\x07\x1b[31mred\u202ednuor yaw gnorw\x00\n" + "x" * 10_000


def test_plain() -> None:
    assert plain("a topic /cam\u00e9ra/image \u4e2d") == "a topic /cam\u00e9ra/image \u4e2d"
    assert plain("one\ntwo\tthree") == "one two three"
    assert plain("\x1b[31m") == r"\x1b[31m"
    assert plain("a\u202eb\ud800") == r"a\u202eb\ud800"
    assert plain("x" * 100, 60) == "x" * 20 + " ... (80 characters more)"
    assert plain("x" * 60, 60) == "x" * 60


@pytest.mark.parametrize("text", ["x" * 9000, "\x1b" * 1999, HOSTILE, "\x1b[31m"])
def test_what_is_plain_stays_as_it_is(text: str) -> None:
    once = plain(text)
    assert plain(once) == once
    assert len(once) <= MAX_CHARS


def test_words_of_a_model_and_of_its_folder_are_plain() -> None:
    answer = SpatialAnswer(
        AnswerStatus.OK,
        message=HOSTILE,
        text=f"{HOSTILE}\nand more",
        unit="m\x07",
        labels=("A\x1b[2J", "B"),
        model_id=HOSTILE,
    )
    assert answer.text.splitlines()[-1] == "and more"
    info = RuntimeInfo("torch\x1b", HOSTILE, "fp32\n", HOSTILE, 1, fallback_reason=HOSTILE)
    words = [answer.message, answer.unit, *answer.labels, answer.model_id, *answer.text.split("\n")]
    words += [info.runtime, info.device, info.precision, info.model_id, info.fallback_reason]
    for text in words:
        assert text.isprintable(), text
    assert len(answer.text.split("\n")) == 3
    assert dataclasses.replace(answer, text="a\x1b").text == r"a\x1b"


def test_every_door_speaks_plainly() -> None:
    board = StatusBoard(StatusOptions())
    board.event("QUERY_REJECTED", HOSTILE, 0.0)
    board.condition("NO_IMAGES", True, HOSTILE, "camera")
    texts = [reason.text for reason in board.reasons(1.0)]
    texts += [str(BadInputError("bad_data", HOSTILE)), str(RecordingError(HOSTILE))]
    assert len(texts) == 4
    for text in texts:
        assert text.isprintable(), text
        assert len(text) < MAX_CHARS + 100
