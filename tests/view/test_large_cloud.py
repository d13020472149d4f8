# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A million points in the page: all are there, where the map has them."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from g2vlm_view.chunks import Chunks, MapPicture, map_picture
from g2vlm_view.front import Front, close_viser, guarded_viser
from g2vlm_view.waiting import Waiting

from g2vlm_map.world import World
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
    server = guarded_viser("secret")
    session = Large(server)
    front = Front(session, server.get_port(), "secret", token="t0ken")
    front.start()
    session.start()
    context = browser.new_context(viewport={"width": 960, "height": 460})
    one = Opened(context.new_page())
    try:
        one.page.on("pageerror", lambda error: one.errors.append(str(error)))
        one.page.on("console", lambda said: one.errors.extend([said.text] * (said.type == "error")))
        one.page.add_init_script(HOOK)
        begun = time.monotonic()
        one.page.goto(front.url)
        points = session.large.points()
        assert len(points) >= POINTS
        clouds = one.shows(len(points))
        print(f"{len(points)} points drawn after {time.monotonic() - begun:.1f} s")
        named = {_color_sum(node.chunk.color_P3): node for node in session.large.nodes.values()}
        assert {cloud["color"] for cloud in clouds} == set(named)
        low, high = _bounds_in_level(clouds, named)
        np.testing.assert_allclose(low, points.min(0), atol=2e-3)
        np.testing.assert_allclose(high, points.max(0), atol=2e-3)
        assert f"{len(points):,} points" in one.page.locator("#counts").inner_text()
        print(f"{_frame_rate(one):.2f} frames a second while it turns")
        assert not one.errors
    finally:
        context.close()
        session.close()
        front.close()
        close_viser(server)
