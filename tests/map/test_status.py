# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The status board: counters, conditions, events, quiet logs."""

from __future__ import annotations

from g2vlm_map.options import StatusOptions
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
