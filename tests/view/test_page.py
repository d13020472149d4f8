# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The page in a real Chromium without a screen: what it draws, what it asks, whom it talks to.

A software renderer draws, so clouds are small and waits are long.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from g2vlm_view.chunks import Chunks, heights_of, map_picture
from g2vlm_view.drawing import colors
from g2vlm_view.replies import answer_fields

from g2vlm_map.pipeline import Mark, Question
from tests.helpers import REPO, chromium
from tests.view.test_session import wordless
from tests.view.viewed import Viewed

pytestmark = pytest.mark.slow
WAIT_MS = 90_000.0
HOOK = (REPO / "tests" / "view" / "drawn_points.js").read_text(encoding="utf-8")


@dataclass
class Opened:
    """A page and all that it said and asked for."""

    page: Any
    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def until(self, said: Callable[[], bool], what: str) -> None:
        """Wait as Playwright wants it: its own clock hands events on."""
        for _ in range(int(WAIT_MS / 100)):
            if said():
                return
            self.page.wait_for_timeout(100)
        raise AssertionError(f"{what} did not come true in {WAIT_MS / 1000:g} s")

    def drawn(self) -> list[dict[str, Any]]:
        """Clouds of a frame that was drawn: {count, low, high, matrix}."""
        (scene,) = [frame for frame in self.page.frames if "/scene/" in frame.url]
        found: list[dict[str, Any]] = scene.evaluate("window.drawnPoints()")
        return found

    def shows(self, points: int) -> list[dict[str, Any]]:
        """The clouds of a frame with so many points; a later one may have drawn nothing."""
        held: list[dict[str, Any]] = []

        def are_there() -> bool:
            held[:] = self.drawn()
            return bool(sum(cloud["count"] for cloud in held) == points)

        self.until(are_there, f"{points} points")
        return held

    def picture(self) -> np.ndarray:
        """(H, W, 3) BGR of the stage."""
        data = self.page.locator("#scene").screenshot(timeout=WAIT_MS)
        shown = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        assert shown is not None
        return np.asarray(shown)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as made:
        yield made


@pytest.fixture
def opened(browser: Any) -> Iterator[Callable[[Viewed], Opened]]:
    pages: list[Any] = []

    def make(viewed: Viewed) -> Opened:
        context = browser.new_context(viewport={"width": 960, "height": 460})
        context.set_default_timeout(WAIT_MS)
        page = context.new_page()
        pages.append(context)
        one = Opened(page)
        page.on("request", lambda request: one.requests.append(request.url))
        page.on("pageerror", lambda error: one.errors.append(str(error)))
        page.on("console", lambda said: one.errors.extend([said.text] * (said.type == "error")))
        page.add_init_script(HOOK)
        page.goto(viewed.front.url)
        return one

    yield make
    for context in pages:
        context.close()


Open = Callable[[Viewed], Opened]


def test_the_cloud_in_the_page_is_the_map(viewed: Viewed, opened: Open, tmp_path: Path) -> None:
    """By count and by bounds, against an empty runtime's page, with nothing from elsewhere."""
    one = opened(viewed)
    picture = viewed.session.newest()
    clouds, nodes = one.shows(len(picture.points())), list(picture.nodes.values())
    named = {_color_sum(node.chunk.color_P3): node for node in nodes}
    assert len(named) == len(nodes), "frames differ"
    assert {cloud["color"] for cloud in clouds} == set(named)
    for cloud in clouds:
        points_P3 = named[cloud["color"]].chunk.point_P3
        np.testing.assert_array_equal(cloud["low"], points_P3.min(0), strict=False)
        np.testing.assert_array_equal(cloud["high"], points_P3.max(0), strict=False)
    low, high = _bounds_in_level(clouds, named)
    points = picture.points()
    np.testing.assert_allclose(low, points.min(0), atol=2e-3)
    np.testing.assert_allclose(high, points.max(0), atol=2e-3)
    one.page.wait_for_timeout(1500)  # viser fades in
    full = one.picture()
    with Viewed(tmp_path, paused=True) as empty:
        other = opened(empty)
        other.until(lambda: other.page.locator("#no-frame").is_visible(), "the empty page")
        other.page.wait_for_timeout(3000)
        bare = other.picture()
        host = f"127.0.0.1:{empty.front.port}"
        assert {url.split("/")[2] for url in other.requests if url.startswith("http")} == {host}
    different = (np.abs(full.astype(int) - bare.astype(int)).max(2) > 40).mean()
    assert different > 0.02, different
    host = f"127.0.0.1:{viewed.front.port}"
    outside = [
        url for url in one.requests if not url.startswith((f"http://{host}/", "blob:", "data:"))
    ]
    assert not outside
    assert not one.errors
    assert one.page.locator("#scale-word").inner_text() == "UP TO SCALE"
    assert one.page.locator("#counts").inner_text().startswith(f"{len(nodes)} keyframes")


def _color_sum(color_P3: Any) -> int:
    """As `drawn_points.js` sums colours up."""
    values = color_P3.ravel().astype(np.int64)
    return int((values * (np.arange(len(values)) % 97 + 1)).sum() % 1000003)


def _bounds_in_level(clouds: list[dict[str, Any]], named: dict[int, Any]) -> tuple[Any, Any]:
    """Corners of what is drawn, with each cloud where the page has put it.

    The page knows clouds in the axes of its camera; where that is follows from the first of them.
    """
    corners = []
    T_view_level = None
    for cloud in clouds:
        node = named[cloud["color"]]
        model = node.T_level_cam @ np.diag([node.scale, node.scale, node.scale, 1.0])
        seen = np.array(cloud["matrix"]).reshape(4, 4).T
        if T_view_level is None:
            T_view_level = seen @ np.linalg.inv(model)
        placed = np.linalg.inv(T_view_level) @ seen
        points = node.chunk.point_P3 @ placed[:3, :3].T + placed[:3, 3]
        corners += [points.min(0), points.max(0)]
    return np.min(corners, 0), np.max(corners, 0)


def test_a_mark_and_a_question_in_the_page_get_the_apis_answer(
    viewed: Viewed, opened: Open
) -> None:
    one = opened(viewed)
    frame = one.page.locator("#keyframe")
    one.until(frame.is_visible, "the keyframe")
    one.until(
        lambda: one.page.evaluate("document.getElementById('keyframe').naturalWidth > 0"), "it"
    )
    wordless(viewed.runtime)
    box = frame.bounding_box()
    frame.click(position={"x": 0.5 * box["width"], "y": 0.4 * box["height"]})
    one.until(lambda: "A" in one.page.locator("#mark-list").inner_text(), "the mark")
    one.page.locator("#question").fill("How far away is A?")
    one.page.locator("#send").click()
    card = one.page.locator(".answer").first
    one.until(card.is_visible, "the answer")
    mark = viewed.session.marks[0]
    assert (mark.u, mark.v) == pytest.approx((0.5 * 160 - 0.5, 0.4 * 120 - 0.5), abs=1.0)
    own = viewed.pipeline.ask(Question("How far away is A?", (Mark(mark.u, mark.v, "A"),))).answer
    text = card.inner_text()
    assert own.reply
    assert own.reply in text
    assert f"{round(100 * own.confidence)} %" in text
    assert "the model's words" in text
    assert f"{own.measured_value:.2f}" in text
    fields = answer_fields("How far away is A?", own, 0.0)
    assert {**viewed.session.answers[-1].fields, "ms": 0} == {**fields, "ms": 0}
    one.page.locator("#question").fill("flurble wobble")
    one.page.locator("#send").click()
    one.until(lambda: "cannot be answered" in one.page.locator(".answer").first.inner_text(), "no")
    one.page.locator("#unmark").click()
    one.until(lambda: not viewed.session.marks, "no marks")
    assert not one.errors


def test_sliders_and_colours_change_the_points_and_a_reload_keeps_them(
    viewed: Viewed, opened: Open
) -> None:
    one = opened(viewed)
    every = len(viewed.session.newest().points())
    one.shows(every)
    try:
        one.page.locator("#max_range").fill("53")
        one.until(lambda: viewed.session.look.max_range > 0, "a range")
        look = viewed.session.look
        near = sum(
            int((node.chunk.range_P * node.scale <= look.max_range).sum())
            for node in viewed.session.newest().nodes.values()
        )
        assert 0 < near < every
        one.shows(near)
        one.page.reload()
        one.shows(near)
        assert "no limit" not in one.page.locator("#max_range-out").inner_text()
        one.page.locator("#max_range").fill("100")
        one.shows(every)
        for mode in ("confidence", "consistency", "height", "picture"):
            one.page.locator(f"[data-mode={mode}]").click()
            one.until(lambda: viewed.session.look.mode == mode, mode)  # noqa: B023
            shown = map_picture(viewed.pipeline.world, Chunks(each=300), consistency=True)
            sums = {
                _color_sum(colors(node, mode, heights_of(shown))) for node in shown.nodes.values()
            }
            one.until(lambda: {c.get("color") for c in one.drawn()} == sums, mode)  # noqa: B023
            assert one.page.locator("#legend").is_visible() == (mode != "picture")
        one.page.locator("[data-look=points]").uncheck()
        one.shows(0)
    finally:
        viewed.do("look", max_range=0.0, points=True, mode="picture")
    assert not one.errors


def test_a_click_in_the_scene_marks_a_point_for_all_viewers(viewed: Viewed, opened: Open) -> None:
    one, two = opened(viewed), opened(viewed)
    every = len(viewed.session.newest().points())
    one.shows(every)
    two.until(lambda: "2 viewers" in two.page.locator("#counts").inner_text(), "two viewers")
    one.page.locator("#pick").click()
    one.until(lambda: viewed.session.picking, "picking")
    box = one.page.locator("#scene").bounding_box()
    try:
        for y in (0.5, 0.45, 0.55, 0.4, 0.6):
            one.page.mouse.click(box["x"] + 0.5 * box["width"], box["y"] + y * box["height"])
            one.page.wait_for_timeout(2000)
            if viewed.session.marks:
                break
        (mark,) = viewed.session.marks
        assert mark.place_3 is not None
        apart = np.linalg.norm(viewed.session.newest().points() - mark.place_3, axis=1)
        assert apart.min() < 1e-6
        two.until(lambda: "A" in two.page.locator("#mark-list").inner_text(), "its name")
    finally:
        viewed.do("unmark")
        viewed.do("pick", on=False)


def test_occupancy_is_seen_on_the_floor(opened: Open, tmp_path: Path) -> None:
    with Viewed(tmp_path, on_base=True) as viewed:
        viewed.played().made_metric()
        one = opened(viewed)
        one.shows(len(viewed.session.newest().points()))
        for name in ("points", "frusta", "path"):
            one.page.locator(f"[data-look={name}]").uncheck()
        one.shows(0)
        one.page.wait_for_timeout(1500)
        bare = one.picture().astype(int)
        one.page.locator("[data-look=occupancy]").check()

        def changed() -> float:
            return float((np.abs(one.picture().astype(int) - bare).max(2) > 40).mean())

        one.until(lambda: changed() > 0.001, "the grid in the picture")
        red = one.picture().astype(int)
        assert ((red[..., 2] > 150) & (red[..., 1] < 100) & (red[..., 0] < 100)).any(), "a wall"
        one.page.locator("[data-look=occupancy]").uncheck()
        one.until(lambda: changed() < 0.0005, "an empty floor")
        assert not one.errors


def test_the_whole_map_is_shown_to_who_asks(viewed: Viewed, opened: Open) -> None:
    one, two = opened(viewed), opened(viewed)
    two.until(lambda: len(viewed.server.get_clients()) == 2, "two viewers")
    for client in viewed.server.get_clients().values():
        client.camera.position, client.camera.look_at = (50.0, 50.0, 50.0), (51.0, 50.0, 50.0)
    one.page.wait_for_timeout(1000)

    def far() -> list[bool]:
        clients = viewed.server.get_clients().values()
        return [bool(np.allclose(client.camera.position, 50.0, atol=0.1)) for client in clients]

    one.page.locator("#fit").click()
    one.until(lambda: not all(far()), "the whole map")
    one.page.wait_for_timeout(1000)
    assert sorted(far()) == [False, True]


def test_a_foreign_page_cannot_reach_the_view(viewed: Viewed, browser: Any) -> None:
    """Another origin on this machine, with the browser's cookie of the view."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(viewed.front.url)
    page.goto("data:text/html,<h1>elsewhere</h1>")
    code = """(port) => new Promise((done) => {
      const line = new WebSocket(`ws://127.0.0.1:${port}/live`);
      line.onopen = () => done("open"); line.onerror = () => done("refused"); })"""
    assert page.evaluate(code, viewed.front.port) == "refused"
    inner = code.replace("/live", "/").replace(
        'line.onopen = () => done("open")',
        'line.onmessage = () => done("told"); line.onclose = () => done("refused")',
    )
    assert page.evaluate(inner, viewed.server.get_port()) == "refused"
    context.close()
