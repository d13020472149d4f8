# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Conditions that turn a replay into a failure."""

from __future__ import annotations

import pytest
from g2vlm_replay.errors import ReplayInputError
from g2vlm_replay.metrics import FailCondition, failures, parse_condition


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("abs_rel>0.3", FailCondition("abs_rel", ">", 0.3)),
        (" ate_m >= 1e-2 ", FailCondition("ate_m", ">=", 0.01)),
        ("frames_dropped!=0", FailCondition("frames_dropped", "!=", 0.0)),
        ("ate_m<-1", FailCondition("ate_m", "<", -1.0)),
        ("ate_m<=3", FailCondition("ate_m", "<=", 3.0)),
        ("ate_m==3", FailCondition("ate_m", "==", 3.0)),
    ],
)
def test_parses(text: str, expected: FailCondition) -> None:
    assert parse_condition(text) == expected


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("abs_rel", "no condition"),
        ("", "no condition"),
        ("abs_rel=0.3", "no condition"),
        ("abs_rel>0.3>0.2", "no finite number"),
        ("absrel>0.3", "did you mean abs_rel"),
        ("nonsense>0.3", "unknown metric 'nonsense'"),
        ("abs_rel>nan", "no finite number"),
        ("abs_rel>inf", "no finite number"),
        ("abs_rel>a.b", "no finite number"),
    ],
)
def test_refuses(text: str, says: str) -> None:
    with pytest.raises(ReplayInputError, match=says):
        parse_condition(text)


def test_holds_and_holds_not() -> None:
    conditions = [parse_condition("abs_rel>0.3"), parse_condition("ate_m>0.3")]
    assert failures(conditions, {"abs_rel": 0.3, "ate_m": 0.1}) == []
    (line,) = failures(conditions, {"abs_rel": 0.31, "ate_m": 0.1})
    assert line == "FAILED abs_rel>0.3: abs_rel is 0.31"


@pytest.mark.parametrize("values", [{}, {"abs_rel": None}, {"abs_rel": float("nan")}])
def test_a_guard_on_what_was_not_measured_fails(values: dict[str, float | None]) -> None:
    (line,) = failures([parse_condition("abs_rel<0")], values)
    assert "was not measured" in line
