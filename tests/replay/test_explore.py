# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The report's part that can be explored: what is in it, how large it is, and that it moves."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from g2vlm_replay.charts import depth_chart
from g2vlm_replay.explore import (
    LIMIT_BYTES,
    embedded,
    exploration,
    scenes_within,
    within,
    worst_first,
)
from g2vlm_replay.explore_space import ShownPart, drawn_space, evidence
from g2vlm_replay.pose_metrics import PoseSegment
from g2vlm_replay.report import ReportInput, write_report

from tests.helpers import chromium
from tests.replay.explored import EVIL, explored_run, way

COUNT, WORST = 12, 5
WAIT_MS = 60_000.0


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> ReportInput:
    return explored_run(tmp_path_factory.mktemp("known"), COUNT, truth=True)


@pytest.fixture(scope="module")
def unknown(tmp_path_factory: pytest.TempPathFactory) -> ReportInput:
    return explored_run(tmp_path_factory.mktemp("unknown"), COUNT, truth=False)


def test_a_thousand_scenes_are_thinned_to_the_room_that_there_is() -> None:
    costs = {stamp: 9_000 + stamp % 7_000 for stamp in range(1000)}
    kept = within(costs, [501, 77], 3_000_000)
    assert sum(costs[stamp] for stamp in kept) <= 3_000_000
    assert {501, 77} <= set(kept)
    assert kept == sorted(kept)
    assert np.diff(kept).max() < 12, "gaps"
    assert len(kept) > 200
    assert within(costs, [501], 10**9) == sorted(costs)
    assert within(costs, [501, 77], 10_000) == [501]
    assert within(costs, [], -5) == []


@pytest.mark.parametrize("room", [0, 20_000, 60_000, 10**7])
def test_scenes_take_no_more_than_their_room(known: ReportInput, room: int) -> None:
    scenes = scenes_within(known, room)
    assert sum(len(embedded({"s": scene})) for scene in scenes) <= room
    frames = [scene["frame"] for scene in scenes]
    assert frames == sorted(frames)
    assert room < 20_000 or {3, WORST} & set(frames)
    if room == 10**7:
        assert frames == list(range(COUNT))
        for name in ("input", "depth"):
            shown = base64.b64decode(scenes[0][name])
            assert cv2.imdecode(np.frombuffer(shown, np.uint8), cv2.IMREAD_COLOR) is not None


def test_scenes_are_where_the_map_says(known: ReportInput) -> None:
    scenes = scenes_within(known, 10**7)
    true = way(COUNT)
    for scene, T in zip(scenes, true, strict=True):
        pose = np.array(scene["pose"]).reshape(4, 4).T
        np.testing.assert_allclose(pose[:3, 3], 2 * T[:3, 3], atol=1e-4)
        np.testing.assert_allclose(pose[:3, :3], T[:3, :3], atol=1e-4)
    space = exploration(known, {})["space"]
    assert space["unit"] == "map units"
    np.testing.assert_allclose(space["truth"], space["path"], atol=1e-3)  # the map is right
    np.testing.assert_allclose(space["loops"], [[space["path"][0], space["path"][-1]]])
    points = np.frombuffer(base64.b64decode(space["cloud"]["xyz"]), "<u2").reshape(-1, 3)
    assert len(points) == space["cloud"]["count"]
    placed = points / 65535 * space["cloud"]["span"] + space["cloud"]["low"]
    assert known.cloud is not None
    near = np.linalg.norm(placed[:50, None] - known.cloud["xyz"][None], axis=2).min(1)
    assert near.max() < 1e-3


def test_the_worst_scenes_come_first(known: ReportInput, unknown: ReportInput) -> None:
    stamps = known.recording.info.stamps_ns
    title, worst = worst_first(known)
    assert "error of their depth" in title
    assert worst[0][0] == stamps[WORST]
    numbers = [float(why.split()[-1]) for _, why in worst]
    assert numbers == sorted(numbers, reverse=True)
    assert len(worst) == COUNT
    without_depth = replace(known, scores=replace(known.scores, depth=None))
    assert "error of their position" in worst_first(without_depth)[0]
    title, worst = worst_first(unknown)
    assert "confident" in title
    assert worst[0] == (unknown.recording.info.stamps_ns[WORST], "mean confidence 0.35")


def test_nothing_is_said_of_a_truth_that_nobody_knows(unknown: ReportInput) -> None:
    data = exploration(unknown, {})
    data["scenes"] = scenes_within(unknown, 10**7)
    said = embedded(data).lower()
    for word in ("truth", "true depth", "absrel", "by the error", "off by", "turned by"):
        assert word not in said, word
    assert len(data["space"]["path"]) == COUNT  # the trajectory is there all the same
    assert data["space"]["cloud"]["count"]


def test_words_from_outside_stay_words(known: ReportInput) -> None:
    data = exploration(known, {})
    text = embedded(data)
    assert not set("<>&") & set(text)
    evil = json.loads(text)["questions"][1]
    assert evil["question"] == EVIL
    assert evil["points"][0][3] == EVIL
    assert json.loads(embedded({"a": "\x1b[31m\u202e", "b": float("nan")})) == {
        "a": "\\x1b[31m\\u202e",
        "b": None,
    }


def test_questions_name_their_scene_and_what_they_rest_on(known: ReportInput) -> None:
    first, last, never = exploration(known, {})["questions"]
    assert (first["frame"], last["frame"], never["frame"]) == (3, COUNT - 1, None)
    assert first["marks"] == [[0.25, 0.5, "A"]]
    T = way(COUNT)[3]
    expected = T[:3, :3] @ [0.5, 0.0, 2.0] + 2 * T[:3, 3]  # a map unit is half a metre
    np.testing.assert_allclose(first["points"][0][:3], expected, atol=1e-3)
    part = ShownPart.of(known.scores)
    answer = replace(known.scores.answers[0].answer, is_metric=True)
    assert evidence(known, part, answer) == [], "metres on a map without a scale"
    assert never["points"] == []


def test_poses_between_keyframes_are_on_the_way() -> None:
    T_M44 = way(4)
    part = ShownPart(PoseSegment(1, (0, 10, 20, 30), T_M44), frozenset({12}), "m")
    ahead, at, between, other, behind = part.at([-1, 10, 15, 12, 31])
    assert ahead is None
    assert other is None
    assert behind is None
    assert at is not None
    assert between is not None
    np.testing.assert_allclose(at, T_M44[1], atol=1e-12)
    np.testing.assert_allclose(between[:3, 3], (T_M44[1] + T_M44[2])[:3, 3] / 2)
    np.testing.assert_allclose(between[:3, :3] @ between[:3, :3].T, np.eye(3), atol=1e-12)


def test_a_run_without_a_pose_has_no_space(known: ReportInput) -> None:
    bare = replace(known, scores=replace(known.scores, final=None, segments=()))
    assert ShownPart.of(bare.scores) is None
    assert drawn_space(bare, None)["places"] is False
    assert all(scene["pose"] is None for scene in scenes_within(bare, 10**6))


def test_a_chart_knows_where_its_time_is() -> None:
    chart = depth_chart([1.0, 3.0], [0.1, 0.2], {})
    (axis,) = chart.since(0)
    assert axis.first < 1.0 < 3.0 < axis.last
    assert 0 < axis.left < axis.left + axis.width <= 1
    assert 0 < axis.top < axis.top + axis.height < 1


# In a browser.


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as made:
        yield made


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A thousand scenes of 320 x 240 with a truth; the depth of frame 701 is among those scored."""
    folder = tmp_path_factory.mktemp("large")
    report = explored_run(folder, 1000, truth=True, size_hw=(240, 320), worst=701)
    write_report(folder / "report.html", report)
    return folder / "report.html"


def opened(browser: Any, path: Path, **options: Any) -> tuple[Any, list[str], list[str]]:
    """A page, what it asked for, and what it complained about."""
    context = browser.new_context(viewport={"width": 1200, "height": 900}, **options)
    context.set_default_timeout(WAIT_MS)
    page, asked, wrong = context.new_page(), [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda said: wrong.extend([said.text] * (said.type in {"error", "warning"})))
    page.goto(path.as_uri())
    return page, asked, wrong


def shown(page: Any) -> dict[str, Any]:
    """What the slider should move."""
    found: dict[str, Any] = page.evaluate(
        """() => ({
          frame: document.getElementById("x-frame").src,
          depth: document.getElementById("x-depth").src,
          pose: document.getElementById("x-pose").textContent,
          cursors: Array.from(document.querySelectorAll(".x-cursor"), (bar) => bar.style.left),
        })"""
    )
    page.wait_for_timeout(600)
    return found | {"space": page.locator("#x-canvas").screenshot()}


@pytest.mark.slow
def test_the_slider_moves_everything_and_a_question_shows_its_evidence(
    browser: Any, written: Path
) -> None:
    assert written.stat().st_size <= LIMIT_BYTES
    page, asked, wrong = opened(browser, written)
    page.wait_for_selector("#explore[data-drawn=true]")
    before = shown(page)
    assert len(before["cursors"]) >= 3  # depth, trajectory, status
    page.locator("#x-slider").fill("400")
    after = shown(page)
    for name in before:
        assert before[name] != after[name], name
    assert all(one != two for one, two in zip(before["cursors"], after["cursors"], strict=True))
    page.locator("#x-worst button").first.click()
    assert page.locator("#x-at").inner_text().endswith("frame 701")
    page.locator("#x-questions button").first.click()
    assert page.locator("#x-at").inner_text().endswith("frame 3")
    assert page.locator("#x-marks").inner_text() == "A"
    data = page.locator("#x-pictures > div").first.screenshot()
    seen = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert seen is not None
    pink = np.abs(seen.astype(int) - (163, 79, 255)).max(2) < 8
    assert np.count_nonzero(pink) > 20, "the mark on the frame"
    assert "2 units" in page.locator("#x-answer").inner_text()
    page.wait_for_timeout(600)
    assert page.locator("#x-labels").inner_text() == "A"
    page.locator("#x-questions button").nth(1).click()
    assert EVIL in page.locator("#x-answer").inner_text()
    assert page.evaluate("window.harm") is None
    whole = page.locator("#x-canvas").screenshot()
    page.locator("#x-inside").click()
    page.wait_for_timeout(600)
    assert page.locator("#x-canvas").screenshot() != whole
    assert asked == [written.as_uri()] or not [u for u in asked[1:] if not u.startswith("data:")]
    assert not wrong
    page.context.close()


@pytest.mark.slow
def test_without_javascript_the_pictures_stay(browser: Any, written: Path) -> None:
    page, _, wrong = opened(browser, written, java_script_enabled=False)
    assert not page.locator("#explore").is_visible()
    for name in ("#scenes img", "#cloud img", "#trajectory img"):
        assert page.locator(name).first.is_visible()
    assert not wrong
    page.context.close()
