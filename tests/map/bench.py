# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A started pipeline with a scripted runtime, for the tests of the pipeline."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from g2vlm_map.events import (
    Event,
)
from g2vlm_map.mapping.options import FeatureOptions
from g2vlm_map.options import (
    KeyframeOptions,
    PipelineOptions,
)
from g2vlm_map.pipeline import Pipeline
from tests.helpers import wait_for
from tests.map.frames import given
from tests.ros.scripted_runtime import ScriptedRuntime

QUICK = FeatureOptions(detector="orb", count=150)
EVERY = KeyframeOptions(min_motion=0.0, min_interval_s=0.0, max_interval_s=0.0)


class Bench:
    """A started pipeline with a scripted runtime and all that it told."""

    def __init__(self, runtime: ScriptedRuntime | None = None, **options: Any) -> None:
        self.runtime = runtime or ScriptedRuntime()
        self.events: list[Event] = []
        made = PipelineOptions(**{"keyframe": EVERY, "features": QUICK, **options})
        self.pipeline = Pipeline(self.runtime, made, self.events.append)
        self.stamp_s = 10_000.0
        self.pipeline.start()

    def add(self, *cameras: str, shift: int = 0, step_s: float = 0.1) -> None:
        """One frame of each camera, all of one instant."""
        self.stamp_s += step_s
        for camera in cameras or ("",):
            self.pipeline.add(given(self.stamp_s, camera, shift))

    def scenes(self, count: int) -> None:
        """Frames one by one, each with its scene."""
        for _ in range(count):
            self.add()
            assert self.pipeline.wait(10.0)

    def told(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def reason(self, code: str) -> str:
        """The text of a code that is in force; "" where it is not."""
        texts = {reason.code: reason.text for reason in self.pipeline.snapshot().reasons}
        return texts.get(code, "")

    def becomes(self, code: str, present: bool = True) -> str:
        wait_for(lambda: bool(self.reason(code)) == present, 10.0, what=f"{code} {present}")
        return self.reason(code)

    def balanced(self) -> bool:
        """Whether every frame is used, dropped or waits."""
        now = self.pipeline.snapshot()
        return now.received == now.used + now.dropped + self.pipeline.pending_frames


Make = Callable[..., Bench]
