"""The services of map and scale: what a bad request gets, and that a good one reaches the map."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from g2vlm_interfaces.msg import PixelMark
from g2vlm_interfaces.srv import SetScale
from tests.ros.scripted_runtime import HEIGHT, WIDTH

Make = Callable[..., Any]


def set_scale(graph: Any, length: float, *marks: tuple[float, float], **fields: Any) -> Any:
    request = SetScale.Request(
        marks=[PixelMark(u=float(u), v=float(v)) for u, v in marks], length=length, **fields
    )
    return graph.call(SetScale, "/g2vlm/set_scale", request)


def test_a_length_makes_the_map_metric_or_says_why_not(graph: Any) -> None:
    """The wall stands 2 units away; its columns are 2 / f apart in the model's picture."""
    graph.scene()
    geometry = graph.runtime.scenes[-1].geometry
    columns = WIDTH / 2
    units = columns * 2.0 / float(geometry.K[-1, 0, 0])
    # Marks are in pixels of the camera's picture, which is 5 times as large.
    left, right = 2.5 * 1 + 60, 2.5 * 1 + 60 + 5 * columns
    answer = set_scale(graph, 3.0 * units, (left, 60), (right, 60))
    assert answer.success, answer.message
    assert answer.scale == pytest.approx(3.0, rel=0.02)
    assert 0 < answer.scale_sigma < 1
    status = graph.status(lambda s: not math.isnan(s.scale))
    assert status.scale == pytest.approx(3.0, rel=0.02)
    assert "length" in status.scale_source
    assert HEIGHT > 0


@pytest.mark.parametrize(
    ("length", "marks", "words"),
    [
        (0.0, [(10, 10), (50, 50)], "a length above 0"),
        (-1.0, [(10, 10), (50, 50)], "a length above 0"),
        (math.nan, [(10, 10), (50, 50)], "a length above 0"),
        (1.0, [(10, 10)], "got 1 marks"),
        (1.0, [(10, 10), (5000, 50)], "lies outside"),
        (1.0, [(10, 10), (10, 10)], "measures 0 map units"),
    ],
)
def test_a_length_that_is_none_is_refused(
    graph: Any, length: float, marks: list[tuple[float, float]], words: str
) -> None:
    graph.scene()
    answer = set_scale(graph, length, *marks)
    assert not answer.success
    assert words in answer.message
    assert not graph.status().is_metric


def test_before_the_first_scene_there_is_nothing_to_measure(graph: Any) -> None:
    answer = set_scale(graph, 1.0, (10, 10), (50, 50))
    assert not answer.success
    assert "no scene" in answer.message


def test_an_inactive_node_serves_none(make_graph: Make) -> None:
    graph = make_graph()
    answer = set_scale(graph, 1.0, (10, 10), (50, 50))
    assert not answer.success
    assert "inactive" in answer.message
