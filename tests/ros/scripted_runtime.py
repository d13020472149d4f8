# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A runtime whose behaviour a test dictates: slow, failing, rescaled. Small pictures.

Runtime "tests.ros.scripted_runtime:create". The geometry is the wall of the benchmark's
runtime, so poses and depths have known values.
"""

from __future__ import annotations

import dataclasses
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.instant_runtime import SPEED, InstantRuntime, InstantScene, wall
from g2vlm_model.interface import (
    AnswerStatus,
    FrameWindow,
    GeometryPrediction,
    ObservationCancelledError,
    RuntimeInfo,
    RuntimeLimits,
    Scene,
    SpatialAnswer,
    SpatialQuery,
)

HEIGHT, WIDTH = 24, 32


class ScriptedRuntime(InstantRuntime):
    """The instant runtime with knobs."""

    def __init__(self) -> None:
        super().__init__()
        self.info = RuntimeInfo("scripted", "cpu", "fp32", "scripted-0", 1)
        self.windows: list[FrameWindow] = []
        self.scenes: list[InstantScene] = []
        self.observe_error: Exception | None = None
        self.ask_error: Exception | None = None
        self.close_error: Exception | None = None
        self.break_geometry: Callable[[GeometryPrediction], GeometryPrediction] | None = None
        self.break_answer: Callable[[SpatialAnswer], SpatialAnswer] | None = None
        self.overlap_of: Callable[[int], NDArray[np.float32]] | None = None  # frames -> (N,)
        self.scales: list[float] = []  # scene unit of the next windows, in turn
        self.ask_gate = threading.Event()
        self.ask_gate.set()
        self.observe_gate = threading.Event()
        self.observe_gate.set()
        self.queries: list[SpatialQuery] = []
        self.deaf = False  # to cancellation
        self.passes = 0  # that run now, and that ever ran at once
        self.most_passes = 0
        self.closed = False

    def observe(
        self, window: FrameWindow, *, cancelled: Callable[[], bool] | None = None
    ) -> InstantScene:
        self.windows.append(window)
        self.passes += 1
        self.most_passes = max(self.most_passes, self.passes)
        try:
            while not self.observe_gate.wait(0.005):
                if cancelled is not None and cancelled() and not self.deaf:
                    raise ObservationCancelledError()
        finally:
            self.passes -= 1
        if self.observe_error is not None:
            raise self.observe_error
        scale = self.scales.pop(0) if self.scales else 1.0
        start = window.frames[0].stamp_ns
        geometry = wall(
            tuple(SPEED * (frame.stamp_ns - start) * 1e-9 for frame in window.frames),
            HEIGHT,
            WIDTH,
        )
        T_world_cam = geometry.T_world_cam.copy()
        T_world_cam[:, :3, 3] *= scale
        geometry = dataclasses.replace(
            geometry,
            local_points=geometry.local_points * np.float32(scale),
            world_points=geometry.world_points * np.float32(scale),
            T_world_cam=T_world_cam,
        )
        if self.break_geometry is not None:
            geometry = self.break_geometry(geometry)
        overlap_N = None if self.overlap_of is None else self.overlap_of(len(window))
        scene = InstantScene(window, geometry, {"total": 0.0}, overlap_N)
        self.scenes.append(scene)
        return scene

    def ask(
        self,
        scene: Scene,
        query: SpatialQuery,
        *,
        on_text: Callable[[str], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> SpatialAnswer:
        self.queries.append(query)
        started = time.monotonic()
        while not self.ask_gate.is_set():
            if cancelled is not None and cancelled() and not self.deaf:
                return SpatialAnswer(AnswerStatus.CANCELLED, "cancelled between two tokens")
            if query.max_seconds is not None and time.monotonic() - started > query.max_seconds:
                return SpatialAnswer(AnswerStatus.TIMEOUT, "the time is over", text="2.")
            time.sleep(0.005)
        if self.ask_error is not None:
            raise self.ask_error
        answer = super().ask(scene, query, on_text=on_text, cancelled=cancelled)
        return answer if self.break_answer is None else self.break_answer(answer)

    def close(self) -> None:
        self.closed = True
        if self.close_error is not None:
            raise self.close_error


def create(
    model: str | Path = "", device: str = "", precision: str = "", prompt_mode: str = ""
) -> ScriptedRuntime:
    runtime = ScriptedRuntime()
    if device == "cuda":  # what a runtime does on a machine without one
        reason = "no CUDA device; runs on the CPU"
        runtime.info = dataclasses.replace(runtime.info, fallback_reason=reason)
    if stated := re.fullmatch(r"(\d+) frames", str(model)):
        limits = RuntimeLimits(max_frames=int(stated[1]))
        runtime.info = dataclasses.replace(runtime.info, limits=limits)
    return runtime
