# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The status board: counters, conditions, events, quiet logs."""

from __future__ import annotations

from dataclasses import replace

from g2vlm_map.answers.options import QuestionOptions
from g2vlm_map.options import StatusOptions
from g2vlm_map.pace import Pace
from g2vlm_map.status import StatusBoard
from g2vlm_model.interface import RuntimeInfo


def test_events_end_and_conditions_last() -> None:
    board = StatusBoard(StatusOptions(hold_s=2.0))
    board.event("BAD_IMAGES", "broken", now=10.0)
    board.condition("NO_IMAGES", True, "silent", source="left")
    board.condition("NO_IMAGES", True, "silent", source="right")
    assert [r.code for r in board.reasons(11.9)] == ["NO_IMAGES", "BAD_IMAGES"]
    assert board.reasons(11.9)[0].text == "left: silent; right: silent"
    assert [r.code for r in board.reasons(12.0)] == ["NO_IMAGES"]
    board.condition("NO_IMAGES", False, source="left")
    assert board.reasons(12.0)[0].text == "right: silent"
    board.condition("NO_IMAGES", False, source="right")
    assert not board.reasons(12.0)


def test_logs_do_not_repeat() -> None:
    board = StatusBoard(StatusOptions(hold_s=0.5))
    lines = []
    for tick in range(300):  # thirty seconds of a reason that flickers
        now = tick / 10
        if tick % 10 == 0:
            board.event("BAD_IMAGES", "broken", now)
        lines += board.messages(board.reasons(now), now)
    assert sum("broken" in line for line in lines) == 3
    assert sum("over" in line for line in lines) == 3


def test_a_standing_reason_is_repeated_once_a_minute() -> None:
    board = StatusBoard(StatusOptions(hold_s=1.0))
    board.condition("NO_IMAGES", True, "silent")
    lines = [line for t in range(180) for line in board.messages(board.reasons(t), t)]
    assert lines == ["NO_IMAGES: silent (docs/troubleshooting.md#no_images)"] * 3


def test_tolerated_codes_do_not_degrade() -> None:
    board = StatusBoard(StatusOptions(hold_s=1.0, tolerated=("SCALE_UNKNOWN",)))
    board.condition("SCALE_UNKNOWN", True, "none")
    assert not board.degraded(board.reasons(0.0))
    board.condition("LOW_PARALLAX", True, "still")
    assert board.degraded(board.reasons(0.0))


def test_a_pass_that_takes_longer_than_a_question_may() -> None:
    board = StatusBoard(StatusOptions())
    tried = RuntimeInfo("torch", "cpu", "fp32", "slow-0", 1, trial_s=10.0)
    pace = Pace(board, tried, frames=2)

    def said() -> str:
        return "".join(one.text for one in board.reasons(0.0) if one.code == "RUNTIME_SLOW")

    assert not said()  # nobody knows the limit yet
    pace.hold_against(QuestionOptions(timeout_s=30.0))
    assert said().startswith(
        "a pass over 2 frames of 4:3 will take about 60 s, and query.timeout_s is 30 s"
    )
    pace.took(1.0, tried, QuestionOptions(timeout_s=30.0))
    assert not said()
    pace.took(40.0, tried, QuestionOptions(timeout_s=30.0))
    assert said().startswith("the last pass took 40 s, and query.timeout_s is 30 s")
    pace.hold_against(QuestionOptions(timeout_s=60.0))
    assert not said()


def test_an_answer_that_takes_longer_than_a_question_may() -> None:
    board = StatusBoard(StatusOptions())
    tried = RuntimeInfo("torch", "cpu", "bf16", "slow-0", 1, trial_s=1.0, token_s=1.25)
    pace = Pace(board, tried, frames=2)

    def said() -> str:
        return "".join(one.text for one in board.reasons(0.0) if one.code == "RUNTIME_SLOW")

    pace.hold_against(QuestionOptions(timeout_s=30.0, max_tokens=24))
    assert not said()  # 30 s
    pace.hold_against(QuestionOptions(timeout_s=30.0, max_tokens=64))
    assert said().startswith(
        "an answer of query.max_tokens = 64 will take 80 s and more (1.25 s a token), and "
        "query.timeout_s is 30 s: it will end within 24 tokens; raise it, lower query.max_tokens"
    )
    pace.took(40.0, tried, QuestionOptions(timeout_s=30.0, max_tokens=64))
    assert said().startswith("the last pass took 40 s")
    assert "; an answer of query.max_tokens = 64 will take 80 s" in said()
    quicker = replace(tried, token_s=0.01)  # what was built has taken over
    pace.took(1.0, quicker, QuestionOptions(timeout_s=30.0, max_tokens=64))
    assert not said()
