# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A runtime that returns at once: what the node itself costs, without a model.

Runtime "benchmarks.instant_runtime:create"; `model` may name the size of the model's picture,
e.g. "518x294" (the default; what the full model makes of 16:9) or "112x56", and how long a pass
takes without using the processor, as on a GPU: "112x56@100ms". The geometry is
a wall at a depth of 2 scene units in front of a camera that moves sideways by 0.1 scene units
per second of stamp. Everything is computed once per window length, so `observe` takes
microseconds; colours are not taken from the pictures.
"""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from g2vlm_model.interface import (
    AnswerStatus,
    FrameWindow,
    GeometryPrediction,
    RuntimeInfo,
    Scene,
    SpatialAnswer,
    SpatialQuery,
)

__all__ = ["InstantRuntime", "InstantScene", "create", "wall"]

HEIGHT, WIDTH, DEPTH = 294, 518, 2.0  # the full model's picture of a 16:9 camera
SPEED = 0.1  # scene units per second along x


@dataclass
class InstantScene:
    """A window with its ready-made geometry."""

    window: FrameWindow
    geometry: GeometryPrediction
    latency_ms: dict[str, float]
    overlap: NDArray[np.float32] | None = None
    closed: bool = False

    def close(self) -> None:
        """Nothing to free."""
        self.closed = True


class InstantRuntime:
    """Answers every window with the wall and every question with its depth."""

    info = RuntimeInfo("instant", "cpu", "fp32", "instant-0", 0)

    def __init__(self, height: int = HEIGHT, width: int = WIDTH, pass_ms: int = 0) -> None:
        self._size = (height, width)
        self._pass_ms = pass_ms

    def observe(
        self, window: FrameWindow, *, cancelled: Callable[[], bool] | None = None
    ) -> InstantScene:
        """The wall, seen from where the stamps say the camera is."""
        time.sleep(1e-3 * self._pass_ms)
        seconds = [(f.stamp_ns - window.frames[0].stamp_ns) * 1e-9 for f in window.frames]
        return InstantScene(
            window, wall(tuple(SPEED * s for s in seconds), *self._size), {"total": 0.0}
        )

    def ask(
        self,
        scene: Scene,
        query: SpatialQuery,
        *,
        on_text: Callable[[str], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> SpatialAnswer:
        """The wall's depth."""
        if on_text is not None:
            on_text("2.0")
        return SpatialAnswer(
            AnswerStatus.OK,
            text="2.0",
            value=DEPTH,
            unit="scene_unit",
            points=np.array([[0.0, 0.0, DEPTH]], np.float32),
            labels=("wall",),
            confidence=1.0,
            model_id=self.info.model_id,
        )

    def close(self) -> None:
        """Nothing to free."""


def create(
    model: str | Path = "", device: str = "", precision: str = "", prompt_mode: str = ""
) -> InstantRuntime:
    """What the name stands for; `model` is "WIDTHxHEIGHT", "WIDTHxHEIGHT@MSms" or anything else."""
    size = re.fullmatch(r"(\d+)x(\d+)(?:@(\d+)ms)?", str(model))
    if size is None:
        return InstantRuntime()
    return InstantRuntime(int(size[2]), int(size[1]), int(size[3] or 0))


def wall(
    positions_x: tuple[float, ...], height: int = HEIGHT, width: int = WIDTH
) -> GeometryPrediction:
    """A fronto-parallel wall seen from places along x; only the poses depend on the places.

    Args:
        positions_x: Camera positions in scene units, the first 0.
        height: Rows of the picture.
        width: Columns of the picture.
    """
    frames = len(positions_x)
    T_world_cam = np.tile(np.eye(4, dtype=np.float32), (frames, 1, 1))
    T_world_cam[:, 0, 3] = positions_x
    still = _still_wall(frames, height, width)
    return GeometryPrediction(
        local_points=still.local_points,
        world_points=still.world_points,
        T_world_cam=T_world_cam,
        confidence=still.confidence,
        valid=still.valid,
        K=still.K,
        colors=still.colors,
        confidence_source="head",
    )


@functools.cache
def _still_wall(frames: int, height: int, width: int) -> GeometryPrediction:
    """Everything of the wall but the poses; the camera stands still."""
    focal = 0.8 * width
    v, u = np.mgrid[0:height, 0:width].astype(np.float32)
    rays = np.stack([(u - width / 2) / focal, (v - height / 2) / focal, np.ones_like(u)], -1)
    points = np.broadcast_to((rays * DEPTH).astype(np.float32), (frames, height, width, 3)).copy()
    shade = np.linspace(0, 255, width).astype(np.uint8)
    K = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]], np.float32)
    return GeometryPrediction(
        local_points=points,
        world_points=points,
        T_world_cam=np.tile(np.eye(4, dtype=np.float32), (frames, 1, 1)),
        confidence=np.ones((frames, height, width), np.float32),
        valid=np.ones((frames, height, width), bool),
        K=np.tile(K, (frames, 1, 1)),
        colors=np.broadcast_to(shade[:, None], (frames, height, width, 3)).copy(),
        confidence_source="head",
    )
