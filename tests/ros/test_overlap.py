# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""LOW_OVERLAP: a newest picture that does not belong to its window, told over the wire."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from g2vlm_training.datasets.synthetic import ShardPlan, render_room
from g2vlm_training.synthetic import scene_seed
from numpy.typing import NDArray

from g2vlm_interfaces.msg import SceneStatus
from tests.ros.graph import image_message

Make = Callable[..., Any]


def shares(earlier: float) -> Callable[[int], NDArray[np.float32]]:
    """Overlaps of a window whose best earlier frame, the first, shares so much."""
    return lambda frames: np.array([earlier, *([0.1] * (frames - 2)), 1.0], np.float32)


def test_the_best_earlier_keyframe_counts(graph: Any) -> None:
    graph.scene()  # by a runtime that cannot tell
    status = graph.status(lambda s: s.scenes > 0)
    assert status.shared_view == -1.0
    assert "LOW_OVERLAP" not in status.reason_codes
    graph.runtime.overlap_of = shares(0.3)
    graph.scene()
    status = graph.codes("LOW_OVERLAP")
    assert status.state == SceneStatus.STATE_DEGRADED
    assert abs(status.shared_view - 0.3) < 1e-6
    text = status.reason_texts[list(status.reason_codes).index("LOW_OVERLAP")]
    assert "0.30, below window.min_shared_view = 0.7" in text

    def diagnosed() -> bool:
        values = graph.diagnostics[-1].status[0].values
        return ("shared view", "0.30") in {(pair.key, pair.value) for pair in values}

    graph.wait(diagnosed, "the same in the diagnostics")
    graph.runtime.overlap_of = shares(0.9)
    graph.scene()
    status = graph.codes("LOW_OVERLAP", present=False)
    assert abs(status.shared_view - 0.9) < 1e-6


def test_a_window_of_one_moment_has_nothing_to_share(make_graph: Make) -> None:
    graph = make_graph(window__min_moments=1)
    graph.listen("status")
    graph.start()
    graph.runtime.overlap_of = lambda frames: np.ones(frames, np.float32)
    graph.scene()
    assert len(graph.runtime.windows) == 1
    status = graph.status(lambda s: s.scenes > 0)
    assert status.shared_view == -1.0
    assert "LOW_OVERLAP" not in status.reason_codes


def test_it_may_be_turned_off(make_graph: Make) -> None:
    graph = make_graph(window__min_shared_view=0.0)
    graph.listen("status")
    graph.start()
    graph.runtime.overlap_of = lambda frames: np.eye(1, frames, frames - 1, np.float32)[0]
    graph.scene()
    status = graph.status(lambda s: s.scenes > 0)
    assert status.shared_view == 0.0
    assert "LOW_OVERLAP" not in status.reason_codes


def test_another_room_is_told_by_the_embedded_model(make_graph: Make) -> None:
    plan = ShardPlan(split="test", clips=1, frames=4, smooth=0.0)
    here, there = (
        render_room(plan, scene_seed("test", 700 + number), (84, 112))[0].rgb for number in range(2)
    )
    graph = make_graph(
        runtime="torch", device="cpu", window__size=4, keyframe__min_motion=0.0, model="nano"
    )
    graph.listen("status")
    graph.start()

    def show(rgb: NDArray[np.uint8], scenes: int, low: bool) -> float:
        graph.stamp_ns += 100_000_000
        graph.publish(image_message(rgb, graph.stamp_ns))
        graph.wait(lambda: graph.board.scenes >= scenes, f"scene {scenes}")
        status = graph.status(
            lambda s: s.scenes >= scenes and ("LOW_OVERLAP" in s.reason_codes) == low
        )
        return float(status.shared_view)

    views = [show(rgb, number, False) for number, rgb in enumerate(here[:3])]
    assert views[0] == -1.0  # it waits for a second one
    assert min(views[1:]) > 0.7
    assert 0 <= show(there[0], 3, True) < 0.7
    assert show(there[1], 4, False) > 0.7  # with the picture before it
