# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The services of map and scale: what a bad request gets, and that a good one reaches the map."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from geometry_msgs.msg import PoseWithCovarianceStamped

from g2vlm_interfaces.msg import PixelMark
from g2vlm_interfaces.srv import LoadMap, Localize, SaveMap, SetScale
from g2vlm_ros import messages
from tests.map.placed import pose
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


def save(graph: Any, path: Path | str, overwrite: bool = False) -> Any:
    return graph.call(
        SaveMap, "/g2vlm/save_map", SaveMap.Request(path=str(path), overwrite=overwrite)
    )


def load(graph: Any, path: Path | str) -> Any:
    return graph.call(LoadMap, "/g2vlm/load_map", LoadMap.Request(path=str(path)))


def test_a_map_is_saved_and_loaded(graph: Any, tmp_path: Path) -> None:
    for _ in range(3):
        graph.scene()
    saved = save(graph, tmp_path / "kitchen")
    assert saved.success, saved.message
    assert Path(saved.path).stat().st_size == saved.bytes
    assert saved.keyframes == len(graph.node.pipeline.world.keyframes) > 0
    assert not save(graph, saved.path).success, "it is there already"
    saved = save(graph, saved.path, overwrite=True)  # the map may have grown meanwhile
    assert saved.success
    before = graph.status().map_version
    loaded = load(graph, saved.path)
    assert loaded.success, loaded.message
    assert loaded.keyframes == saved.keyframes
    assert graph.status(lambda s: s.map_version != before).map_keyframes >= saved.keyframes
    event = graph.wait(
        lambda: [e for e in graph.received["map_event"] if e.cause == "loaded"], "the event"
    )[0]
    assert str(saved.keyframes) in event.text
    graph.codes("NOT_LOCALISED")
    answer = graph.call(Localize, "/g2vlm/localize", Localize.Request())
    assert not answer.success
    assert "nothing has been seen" in answer.message


@pytest.mark.parametrize("content", [b"", b"PK\3\4 cut off", b"no map at all" * 100])
def test_a_file_that_is_no_map_leaves_the_present_one(
    graph: Any, tmp_path: Path, content: bytes
) -> None:
    graph.scene()
    keyframes = len(graph.node.pipeline.world.keyframes)
    (tmp_path / "broken.g2map").write_bytes(content)
    answer = load(graph, tmp_path / "broken.g2map")
    assert not answer.success
    assert "broken" in answer.message
    assert len(graph.node.pipeline.world.keyframes) == keyframes
    graph.codes("MAP_FILE_FAILED")


def test_a_path_that_cannot_be_is_refused(graph: Any, tmp_path: Path) -> None:
    graph.scene()
    for path in ("", str(tmp_path / "nowhere" / "map.g2map"), "/proc/map.g2map"):
        answer = save(graph, path)
        assert not answer.success, path
        assert answer.message
    answer = load(graph, tmp_path / "absent.g2map")
    assert not answer.success


def hinted(frame: str, T: Any = None) -> Any:
    message = PoseWithCovarianceStamped(header=messages.header(0, frame))
    if T is not None:
        message.pose.pose = messages.pose(T)
    return message


@pytest.mark.parametrize(
    ("hint", "words"),
    [
        (hinted("odom", pose()), "the hint is in 'odom', expected 'g2vlm_map'"),
        (hinted("g2vlm_map", np.diag([1.0, 1.0, 1.0, 1.0]) * np.nan), "the hint is no pose"),
    ],
)
def test_a_bad_hint_is_refused(graph: Any, hint: Any, words: str) -> None:
    graph.scene()
    request = Localize.Request(has_hint=True, hint=hint)
    answer = graph.call(Localize, "/g2vlm/localize", request)
    assert not answer.success
    assert words in answer.message


def test_initialpose_looks_for_the_place(graph: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    graph.scene()
    hints: list[Any] = []
    asked = threading.Event()

    def localize(hint: Any) -> Any:
        hints.append(hint)
        asked.set()
        return SimpleNamespace(text="tried")

    monkeypatch.setattr(graph.node.pipeline, "localize", localize)
    T = pose((0, 0, 0.5), (1, 2, 0))
    publisher = graph.publisher("/initialpose", PoseWithCovarianceStamped, 10)
    publisher.publish(hinted("g2vlm_map", T))
    graph.wait(asked.is_set, "the hint")
    np.testing.assert_allclose(hints[0], T, atol=1e-9)


def test_one_request_at_a_time(graph: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the executor goes on meanwhile: frames and statuses are served."""
    graph.scene()
    inside, go_on = threading.Event(), threading.Event()

    def save_map(path: Path, *, overwrite: bool) -> Any:
        inside.set()
        assert go_on.wait(20.0)
        return SimpleNamespace(path=path, keyframes=1, bytes=2)

    monkeypatch.setattr(graph.node.pipeline, "save_map", save_map)
    first = graph.send(SaveMap, "/g2vlm/save_map", SaveMap.Request(path="slow"))
    graph.wait(inside.is_set, "the first request")
    second = load(graph, "other")
    assert not second.success
    assert "another request" in second.message
    graph.good_image()
    graph.status()
    go_on.set()
    graph.wait(first.done, "the first response")
    assert first.result().success
