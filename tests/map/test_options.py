# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Options: one place for default, range and name; checked when they are made."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from g2vlm_map.option_fields import described, flat, from_flat
from g2vlm_map.options import (
    CloudOptions,
    DepthOptions,
    KeyframeOptions,
    PipelineOptions,
    QuestionOptions,
    StatusOptions,
    WindowOptions,
)


def test_groups_have_the_names_of_their_fields() -> None:
    for item in dataclasses.fields(PipelineOptions):
        group = getattr(getattr(PipelineOptions(), item.name), "group", None)
        assert group in (item.name, None), item.name


def test_flat_values_and_back() -> None:
    made = from_flat(PipelineOptions, {"cameras": ["left", "right"], "window.size": 4, "rate": 3})
    assert made == PipelineOptions(cameras=("left", "right"), window=WindowOptions(size=4))
    values = flat(made)
    assert list(values) == list(described(PipelineOptions))
    assert values["window.size"] == 4
    assert from_flat(PipelineOptions, values) == made


def test_every_option_says_what_it_is_and_has_a_default_within_its_range() -> None:
    for kind in (PipelineOptions, CloudOptions, DepthOptions):
        defaults = flat(kind())
        for name, made in described(kind).items():
            assert made.description, name
            assert not made.description.endswith("."), name
            assert made.check(name, made.default) == defaults[name]
            if isinstance(made.default, int | float) and not isinstance(made.default, bool):
                assert made.low is not None, name
                assert made.high is not None, name


@pytest.mark.parametrize(
    ("kind", "values", "said"),
    [
        (WindowOptions, {"size": 1}, "window.size is 1, expected 2..64"),
        (WindowOptions, {"overlap": 0}, "window.overlap is 0, expected 1..63"),
        (WindowOptions, {"size": 4, "overlap": 4}, "window.overlap is 4, expected less than"),
        (WindowOptions, {"size": 4, "min_moments": 5}, "window.min_moments is 5, expected at most"),
        (WindowOptions, {"size": 4.0}, "window.size is 4.0, expected a whole number"),
        (WindowOptions, {"size": True}, "window.size is True, expected a whole number"),
        (KeyframeOptions, {"min_motion": float("nan")}, "keyframe.min_motion is nan"),
        (QuestionOptions, {"timeout_s": "soon"}, "query.timeout_s is 'soon', expected a number"),
        (StatusOptions, {"tolerated": "X"}, "status.tolerated is 'X', expected a list of texts"),
        (StatusOptions, {"tolerated": [1]}, "status.tolerated is .1,., expected a list of texts"),
        (CloudOptions, {"source": "all"}, "points.source is 'all', expected one of"),
        (CloudOptions, {"min_range": 3.0, "max_range": 2.0}, "points.max_range is 2"),
        (CloudOptions, {"organized": True, "source": "window"}, "points.organized needs"),
        (PipelineOptions, {"cameras": ()}, "cameras names 0 cameras"),
        (PipelineOptions, {"cameras": ("a", "a")}, "expected each name once"),
        (PipelineOptions, {"cameras": tuple(map(str, range(17)))}, "names 17 cameras"),
    ],
)
def test_bad_values_are_refused_with_the_value(
    kind: type, values: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        kind(**values)


def test_whole_numbers_are_taken_for_fractions() -> None:
    made = QuestionOptions(timeout_s=2)
    assert made.timeout_s == 2.0
    assert isinstance(made.timeout_s, float)
