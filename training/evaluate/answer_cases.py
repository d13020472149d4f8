# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Questions about held-out rooms as the node would get them: scene, words, truth.

What calibration is fitted on and measured with. The runtime is the node's own, so token
probabilities, geometry and its confidence are those that it will see.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from g2vlm_map.answers.measure import Scale
from g2vlm_map.answers.surroundings import Surroundings
from g2vlm_model.interface import (
    Frame,
    FrameWindow,
    GeometryPrediction,
    SpatialAnswer,
    SpatialQuery,
    SpatialRuntime,
)

from ..datasets.batch import ClipSource, WindowBatch, draw_batch
from ..stages.question_batch import view_of
from ..synthetic.questions import TASKS, Question, View
from .measured_tasks import measured_questions, surroundings_of
from .spatial_qa import questions_in_turn

__all__ = ["SCALE_SIGMA", "AnswerCase", "SceneCase", "scene_cases", "true_scale", "window_of"]

SCALE_SIGMA = 0.05  # of the scale that a sensor would give


@dataclass(frozen=True, eq=False)
class AnswerCase:
    """A question, its truth and what the model said.

    Args:
        question: With its truth.
        query: As it was asked.
        said: The runtime's answer.
    """

    question: Question
    query: SpatialQuery
    said: SpatialAnswer


@dataclass(frozen=True, eq=False)
class SceneCase:
    """A window and what was asked about it.

    Args:
        window: The frames.
        geometry: What the runtime made of them.
        metres_per_unit: Median of true over predicted depth: the scale that a sensor would fix.
        answers: One per question.
        around: What the robot would know around it, with that scale.
    """

    window: FrameWindow
    geometry: GeometryPrediction
    metres_per_unit: float
    answers: tuple[AnswerCase, ...]
    around: Surroundings = field(default_factory=Surroundings)


def scene_cases(
    runtime: SpatialRuntime,
    pool: ClipSource,
    windows: int,
    frames: Sequence[int],
    seed: int,
    per_window: int = 16,
) -> Iterator[SceneCase]:
    """Ask a runtime about windows of a pool.

    Args:
        runtime: The model.
        pool: Where the windows come from.
        windows: How many.
        frames: Per window, in turn.
        seed: Of the windows and the questions.
        per_window: Questions per window, at most; all types come up alike. Those of
            `measured_tasks` come beside them, drawn by a generator of their own; the robot knows
            its base in every second window.
    """
    generator = torch.Generator().manual_seed(seed)
    rng, robots = np.random.default_rng([seed, 43]), np.random.default_rng([seed, 44])
    start = 0
    for number in range(windows):
        batch = draw_batch(pool, 1, frames[number % len(frames)], generator, None)
        view = view_of(batch, 0)
        questions = questions_in_turn(view, per_window, start, rng, TASKS)
        knows_base = number % 2 == 0
        questions += measured_questions(view, robots, knows_base)
        start += per_window
        if questions:
            yield _asked(runtime, batch, view, questions, f"{seed}-{number}", knows_base)


def window_of(batch: WindowBatch, name: str) -> FrameWindow:
    """The pictures of a batch of one window; `name` begins their keys."""
    pictures = (batch.rgb_BN3HW[0].permute(0, 2, 3, 1).numpy() * 255).round().astype(np.uint8)
    return FrameWindow(
        tuple(
            Frame(np.ascontiguousarray(picture), 1 + number, "camera", "camera", f"{name}-{number}")
            for number, picture in enumerate(pictures)
        )
    )


def _asked(
    runtime: SpatialRuntime,
    batch: WindowBatch,
    view: View,
    questions: Sequence[Question],
    name: str,
    knows_base: bool,
) -> SceneCase:
    window = window_of(batch, name)
    scene = runtime.observe(window)
    answers = []
    for question in questions:
        query = SpatialQuery(question.bare, question.marks)
        answers.append(AnswerCase(question, query, runtime.ask(scene, query)))
    scale = true_scale(batch.depth_BNHW[0].numpy(), scene.geometry)
    scene.close()
    around = surroundings_of(view, scene.geometry, Scale(scale, SCALE_SIGMA), knows_base)
    return SceneCase(window, scene.geometry, scale, tuple(answers), around)


def true_scale(depth_NHW: NDArray[np.float32], geometry: GeometryPrediction) -> float:
    """Metres per scene unit: median ratio of the depths of all frames."""
    z_NHW = geometry.local_points[..., 2]
    rows = np.linspace(0, depth_NHW.shape[1] - 1, z_NHW.shape[1]).round().astype(int)
    columns = np.linspace(0, depth_NHW.shape[2] - 1, z_NHW.shape[2]).round().astype(int)
    true_NHW = depth_NHW[:, rows][:, :, columns]
    known = (true_NHW > 0) & geometry.valid
    return float(np.median(true_NHW[known] / z_NHW[known]))
