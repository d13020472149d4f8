# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Large maps in the page: a million points are all there, and memory is bounded."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import psutil
import pytest
from g2vlm_view.chunks import Chunks, MapPicture, map_picture
from g2vlm_view.front import Front, close_viser, guarded_viser
from g2vlm_view.joints import NODES, Joints
from g2vlm_view.waiting import Waiting

from g2vlm_map.world import World
from tests.map.placed import pose
from tests.view.test_chunks import WALL, world
from tests.view.test_page import HOOK, Opened, _bounds_in_level, _color_sum, browser

__all__ = ["browser"]
pytestmark = pytest.mark.slow
POINTS = 1_000_000
TURNED_S = 10.0


def _tinted(made: World) -> World:
    """Other colours in every keyframe, so that clouds can be told apart."""
    rng = np.random.default_rng(0)
    seen = []
    for placed in made.keyframes:
        (view,) = placed.keyframe.views
        color_HW3 = rng.integers(0, 256, view.color_HW3.shape, np.uint8)
        keyframe = replace(placed.keyframe, views=(replace(view, color_HW3=color_HW3),))
        seen.append(replace(placed, keyframe=keyframe))
    return replace(made, keyframes=tuple(seen))


class Large(Waiting):
    """A session whose map has a million points from the start."""

    def __init__(self, server: Any) -> None:
        super().__init__(server, "large", "large")
        count = int(np.ceil(POINTS / WALL.size))
        self.large = map_picture(_tinted(world(count, step=0.01)), Chunks(WALL.size, 2 * POINTS))

    def newest(self) -> MapPicture:
        return self.large


@contextmanager
def _opened(
    browser: Any, kind: Callable[[Any], Any], size: tuple[int, int]
) -> Iterator[tuple[Any, Front, Opened]]:
    """A session of a kind with its front, and a page that is still empty."""
    server = guarded_viser("secret")
    session = kind(server)
    front = Front(session, server.get_port(), "secret", token="t0ken")
    front.start()
    session.start()
    context = browser.new_context(viewport={"width": size[0], "height": size[1]})
    one = Opened(context.new_page())
    one.page.on("pageerror", lambda error: one.errors.append(str(error)))
    one.page.on("console", lambda said: one.errors.extend([said.text] * (said.type == "error")))
    try:
        yield session, front, one
    finally:
        context.close()
        session.close()
        front.close()
        close_viser(server)


def _frame_rate(one: Opened) -> float:
    """Frames drawn in a second while the view is turned."""
    (scene,) = [frame for frame in one.page.frames if "/scene/" in frame.url]
    box = one.page.locator("#scene").bounding_box()
    one.page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.5 * box["height"])
    one.page.mouse.down()
    before, begun, moves = scene.evaluate("window.drawnFrames()"), time.monotonic(), 0
    while time.monotonic() - begun < TURNED_S:
        moves += 1
        one.page.mouse.move(box["x"] + 0.5 * box["width"] + moves % 40, box["y"] + 100)
    drawn = scene.evaluate("window.drawnFrames()") - before
    lasted = time.monotonic() - begun
    one.page.mouse.up()
    return float(drawn / lasted)


def test_a_million_points_are_all_in_the_page(browser: Any) -> None:
    """By count and by bounds; prints how long it takes and the frame rate."""
    with _opened(browser, Large, (960, 460)) as (session, front, one):
        one.page.add_init_script(HOOK)
        begun = time.monotonic()
        one.page.goto(front.url)
        points = session.large.points()
        assert len(points) >= POINTS
        clouds = one.shows(len(points))
        print(f"{len(points)} points drawn after {time.monotonic() - begun:.1f} s")
        nodes = Joints().of(session.large.nodes).values()
        named = {_color_sum(node.chunk.color_P3): node for node in nodes}
        assert {cloud["color"] for cloud in clouds} == set(named)
        low, high = _bounds_in_level(clouds, named)
        np.testing.assert_allclose(low, points.min(0), atol=2e-3)
        np.testing.assert_allclose(high, points.max(0), atol=2e-3)
        assert f"{len(points):,} points" in one.page.locator("#counts").inner_text()
        assert not one.page.locator("#thinned").inner_text(), "its limit is twice as many"
        print(f"{_frame_rate(one):.2f} frames a second while it turns")
        assert not one.errors


def _heap_mb(page: Any) -> float:
    """Of JavaScript, of the page and of viser's in it, after what is garbage is gone."""
    line = page.context.new_cdp_session(page)
    line.send("HeapProfiler.collectGarbage")
    heap = line.send("Runtime.getHeapUsage")
    line.detach()
    return float(heap["usedSize"]) / 1e6


class Growing(Waiting):
    """A session whose map grows by a keyframe, or turns, whenever it is drawn.

    Four keyframes and each turn are one drawing; `most` and `turns` say how many there are to be.
    """

    def __init__(self, server: Any) -> None:
        super().__init__(server, "growing", "growing")
        self.whole, self.chunks = world(512, step=0.02), Chunks(each=300, total=60_000)
        self.count = self.most = self.turned = self.turns = 0
        self._made = MapPicture()

    def newest(self) -> MapPicture:
        if self.count < self.most:
            self.count = min(self.count + 4, self.most)
        elif self.turned < self.turns:
            self.turned += 1
        else:
            return self._made
        turn = pose((0.0, 0.0, 0.01 * self.turned))
        seen = self.whole.keyframes[: self.count]
        some = tuple(replace(one, T_map_body=turn @ one.T_map_body) for one in seen)
        self._made = map_picture(replace(self.whole, keyframes=some), self.chunks)
        return self._made


def test_memory_is_flat_over_500_keyframes(browser: Any) -> None:
    """Of the page, and of the process that serves it, once the scene has all nodes it may have."""
    taken: list[tuple[float, float]] = []
    with _opened(browser, Growing, (480, 270)) as (session, front, one):

        def take() -> None:
            one.page.wait_for_timeout(3000)  # what was sent has come
            gc.collect()
            taken.append((_heap_mb(one.page), psutil.Process().memory_info().rss / 1e6))

        one.page.goto(front.url)
        for most in (NODES, 512):
            session.most, said = most, f"{most} keyframes"
            counts = one.page.locator("#counts")
            one.until(lambda: counts.inner_text().startswith(said), said)  # noqa: B023
            thinned = one.page.locator("#thinned").inner_text()
            assert thinned == session.newest().thinned
            assert ("thinned to 75 points" in thinned) == (most > NODES), thinned
            take()
        session.turns = 10
        one.until(lambda: session.turned == session.turns, "a map that has turned")
        take()
    (heap_few, rss_few), (heap_many, rss_many), (heap_turned, rss_turned) = taken
    assert heap_many - heap_few < 2.0, taken
    assert heap_turned - heap_many < 2.0, taken
    assert rss_many - rss_few < 30.0, taken
    assert rss_turned - rss_many < 30.0, taken
    assert not one.errors
    print(taken, f"MB: heap and process at {NODES}, at 512, after the turns")
