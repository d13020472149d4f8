# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""`g2vlm evaluate questions --stretches NAME ...`: lengths between marks on real pictures.

Places are drawn on frames whose depth was measured; they are asked how far they are from the
camera and from each other, in one frame and across frames. Points lie on the rays of the known
intrinsics, as in the pipeline. The scale is the true one with the
sigma that a sensor would have. What the node would answer is rated by the model's calibration, so
that the table says how often the surer half is right. Nothing is learned from these pictures.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence

import numpy as np

from g2vlm_map.answers.reliability import Reliability, read_reliability
from g2vlm_map.optics import Optics
from g2vlm_model.interface import Frame, FrameWindow, SpatialQuery, SpatialRuntime
from g2vlm_model.interface.whole_files import write_text
from g2vlm_model.runtimes import load_runtime

from ..datasets.base import Clip, FrameSequence
from ..synthetic.questions import View
from .answer_cases import AnswerCase, SceneCase, true_scale
from .calibrate import Rated, rated
from .calibrate_run import Row, judgement, table
from .spatial_qa import questions_in_turn
from .stretches import opened, part_of, stretches_of
from .windows import plan_windows

__all__ = ["LENGTH_TASKS", "measure_stretches"]

LENGTH_TASKS = (
    *("distance_prediction_oc", "distance_prediction_oc_mv"),
    *("distance_prediction_oo", "distance_prediction_oo_mv"),
)
_FRAMES, _STRIDE, _SEED = 3, 4, 13


def measure_stretches(args: argparse.Namespace) -> int:
    """Ask about each stretch, print a table; returns the exit code."""
    runtime = load_runtime(model=args.model, device=args.device, precision="fp32")
    info = runtime.info
    reliability = read_reliability(info.calibration, info.model_id)
    known = {stretch.name: stretch for stretch in stretches_of(args.list)}
    unknown = sorted(set(args.stretches) - set(known))
    if unknown:
        raise ValueError(f"no stretch is called {unknown}; there are {sorted(known)}")
    every: list[Rated] = []
    content: dict[str, dict[str, Row]] = {}
    for name in args.stretches:
        parts = [part_of(one, known[name]) for one in opened(known[name], args.root)]
        readings = rated(_cases(runtime, parts, args.windows, args.per_window, name))
        every += readings
        content[name] = _printed(readings, reliability, name)
    if len(args.stretches) > 1:
        content["together"] = _printed(every, reliability, "together")
    runtime.close()
    if args.json:
        write_text(args.json, json.dumps(content, indent=2) + "\n")
    return 0


def _printed(readings: Sequence[Rated], reliability: Reliability, name: str) -> dict[str, Row]:
    found = judgement(readings, reliability)
    found |= {
        f"-{task.removeprefix('distance_prediction_')}": judgement(members, reliability)["all"]
        for task in LENGTH_TASKS
        if (members := [one for one in readings if one.task == task])
    }
    found.pop("length", None)
    print(table(found, name))
    return found


def _cases(
    runtime: SpatialRuntime,
    sequences: Sequence[FrameSequence],
    windows: int,
    per_window: int,
    name: str,
) -> Iterator[SceneCase]:
    rng = np.random.default_rng(_SEED)
    for number, plan in enumerate(plan_windows(sequences, _FRAMES, _STRIDE, windows, _SEED)):
        clip = plan.sequence.read(list(plan.frames))
        view = _view(clip)
        questions = questions_in_turn(view, per_window, number, rng, LENGTH_TASKS * per_window)
        if not questions:
            continue
        names = [f"{name}-{number}-{k}" for k in range(len(clip.rgb))]
        pictures = zip(clip.rgb, names, strict=True)
        window = FrameWindow(
            tuple(
                Frame(np.ascontiguousarray(picture), 1 + k, "camera", "camera", key, clip.K[k])
                for k, (picture, key) in enumerate(pictures)
            )
        )
        scene = runtime.observe(window)
        answers = []
        for question in questions:
            query = SpatialQuery(question.bare, question.marks)
            answers.append(AnswerCase(question, query, runtime.ask(scene, query)))
        geometry = Optics("camera").corrected(scene.geometry, window)
        scale = true_scale(clip.depth, geometry)
        scene.close()
        yield SceneCase(window, geometry, scale, tuple(answers))


def _view(clip: Clip) -> View:
    nothing = np.zeros(clip.depth.shape, np.uint8)
    return View((), clip.depth, nothing, clip.T_world_cam, clip.K)
