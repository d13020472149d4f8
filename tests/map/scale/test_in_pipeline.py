# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The scale in a running pipeline: what a world, a status and an answer say."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from g2vlm_map.events import ScaleChanged
from g2vlm_map.pipeline import Mark
from g2vlm_map.scale.options import ScaleOptions
from g2vlm_map.sensing import OdometrySample
from g2vlm_model.interface import AnswerStatus, SpatialAnswer
from tests.map.bench import Bench
from tests.ros.scripted_runtime import ScriptedRuntime


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench(ScriptedRuntime(), scale=ScaleOptions(fixed=1.5))
    yield made
    made.pipeline.stop()


def test_a_fixed_scale_makes_world_and_status_metric(bench: Bench) -> None:
    assert "no scale source" in bench.reason("SCALE_UNKNOWN")
    bench.scenes(3)
    world = bench.pipeline.world
    assert world.scale.metric
    assert world.scale.metres_per_unit == pytest.approx(1.5)
    assert not bench.reason("SCALE_UNKNOWN")
    (change,) = bench.told(ScaleChanged)
    assert change.now == world.scale


def test_a_new_scale_is_another_version_of_the_map() -> None:
    bench = Bench()
    try:
        bench.scenes(2)
        before = bench.pipeline.world
        bench.pipeline._scale.set_length(1.0, 2.0)
        now = bench.pipeline.world
        assert now.version > before.version
        assert now.scale.metres_per_unit == pytest.approx(2.0)
        assert not before.scale.metric
    finally:
        bench.pipeline.stop()


def test_a_reset_takes_the_scale_away_and_the_next_keyframe_brings_it_back(bench: Bench) -> None:
    bench.scenes(2)
    bench.pipeline.reset("for the test")
    assert not bench.pipeline.world.scale.metric
    assert bench.reason("SCALE_UNKNOWN")
    bench.scenes(2)
    assert bench.pipeline.world.scale.metric


def test_a_limit_may_be_changed_while_it_runs(bench: Bench) -> None:
    bench.scenes(2)
    strict = replace(bench.pipeline.options.scale, max_sigma=0.02, lose_sigma=0.03)
    bench.pipeline.apply(replace(bench.pipeline.options, scale=strict))
    bench.scenes(1)
    assert not bench.pipeline.world.scale.metric
    assert "above scale.max_sigma = 2%" in bench.reason("SCALE_UNKNOWN")


def test_odometry_that_is_nonsense_is_told_with_the_next_keyframe(bench: Bench) -> None:
    bench.scenes(2)
    bench.pipeline.sense(OdometrySample(1, np.full((4, 4), math.nan)))
    bench.scenes(1)
    assert "not finite" in bench.reason("SENSOR_REFUSED")


def test_an_answer_is_in_metres(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.scenes(3)
    units = SpatialAnswer(AnswerStatus.OK, text="2.0 units", value=2.0, unit="scene_unit")
    monkeypatch.setattr(bench.runtime, "ask", lambda scene, query, **_: units)
    answer = bench.pipeline.ask("How far away is A?", [Mark(10, 10, "A")]).answer
    record = bench.pipeline.scene
    assert record is not None
    assert answer.value is not None
    assert answer.value == pytest.approx(2.0 * record.scale * 1.5)
    assert (answer.unit, answer.is_metric) == ("m", True)
    assert answer.sigma == pytest.approx(answer.value * bench.pipeline.world.scale.sigma)
    assert "fixed" in answer.message
