# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The status board: counters, conditions, events, quiet logs."""

from __future__ import annotations

from g2vlm_map.options import StatusOptions
from g2vlm_map.pace import Pace
from g2vlm_map.status import StatusBoard


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
    assert lines == ["NO_IMAGES: silent"] * 3


def test_tolerated_codes_do_not_degrade() -> None:
    board = StatusBoard(StatusOptions(hold_s=1.0, tolerated=("SCALE_UNKNOWN",)))
    board.condition("SCALE_UNKNOWN", True, "none")
    assert not board.degraded(board.reasons(0.0))
    board.condition("LOW_PARALLAX", True, "still")
    assert board.degraded(board.reasons(0.0))


def test_a_pass_that_takes_longer_than_a_question_may() -> None:
    board = StatusBoard(StatusOptions())
    pace = Pace(board, trial_s=10.0, frames=2)

    def said() -> str:
        return "".join(one.text for one in board.reasons(0.0) if one.code == "RUNTIME_SLOW")

    assert not said()  # nobody knows the limit yet
    pace.hold_against(30.0)
    assert said().startswith(
        "a pass over 2 frames of 4:3 will take about 60 s, and query.timeout_s is 30 s"
    )
    pace.took(1.0, 30.0)
    assert not said()
    pace.took(40.0, 30.0)
    assert said().startswith("the last pass took 40 s, and query.timeout_s is 30 s")
    pace.hold_against(60.0)
    assert not said()
