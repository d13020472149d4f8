# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Loops that a map closed and whether they are right; whether a place is found again after load.

    python -m benchmarks.loops FOLDER_OR_BAG ... [--then FOLDER_OR_BAG]

Plays each recording through the pipeline at rate 0 with the shipped options. A loop is wrong where
its edge is off by more than 10 deg, or by more than 0.5 of the truth's unit once the whole map is
laid upon the truth by one similarity. With --then the map of the last recording is saved, loaded
into a fresh pipeline, and the other recording of the same place is played into it: how many of its
keyframes are placed in the map, and how far off, by the map's own similarity to the truth.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from g2vlm_training.evaluate import points
from numpy.typing import NDArray

from benchmarks.common import add_common_arguments, print_table, set_threads, write_report
from benchmarks.map import play
from g2vlm_map.events import Event, MapChanged
from g2vlm_map.mapping.keyframe import PlacedKeyframe
from g2vlm_map.mapping.loops import turn_deg
from g2vlm_map.mapping.rotations import orthonormal
from g2vlm_map.pipeline import Pipeline
from g2vlm_map.recordings import Recording, open_recording
from g2vlm_map.world import World
from g2vlm_model.interface import SpatialRuntime
from g2vlm_model.runtimes import load_runtime

Floats = NDArray[np.float64]

WRONG_DEG, WRONG = 10.0, 0.5
NEAR_DEG, NEAR = 5.0, 0.15
HEAD = ["recording", "keyframes", "segments", "loops", "wrong", "worst deg", "worst length"]
AGAIN = ["map", "then", "keyframes", "found after", "placed", "within .15 / 5 deg", "wrong"]


def main() -> None:
    """Play, print the tables, write the JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("recordings", type=Path, nargs="+")
    parser.add_argument("--then", type=Path)
    add_common_arguments(parser, "loops")
    arguments = parser.parse_args()
    device = set_threads(arguments)
    cv2.setNumThreads(1)
    runtime = load_runtime("torch", device="cpu")
    rows, again = [HEAD], [AGAIN]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "map.g2map"
        for path in arguments.recordings:
            recording = open_recording(path)
            with Pipeline(runtime) as pipeline:
                play(recording, pipeline)
                rows.append([path.name, *loop_row(pipeline.world, recording)])
                pipeline.save_map(file)
        if arguments.then:
            first = open_recording(arguments.recordings[-1])
            then = open_recording(arguments.then)
            names = [arguments.recordings[-1].name, arguments.then.name]
            again.append([*names, *found_again(file, first, then, runtime)])
    print_table(rows)
    if again[1:]:
        print_table(again)
    write_report(arguments.out, "loops", device, {"loops": rows, "again": again})


def loop_row(world: World, recording: Recording) -> list[str]:
    """What stands in the table."""
    true = true_poses(world.keyframes, recording)
    scales = {}
    for segment in {one.segment for one in world.keyframes}:
        ours = [one for one in world.keyframes if one.segment == segment]
        scales[segment] = similarity(ours, true)[0]
    segment_of = {one.keyframe.number: one.segment for one in world.keyframes}
    off = []
    for edge in world.edges:
        if edge.kind == "loop":
            T = np.linalg.inv(true[edge.i]) @ true[edge.j]
            shift = T[:3, 3] - scales[segment_of[edge.i]] * edge.T_i_j[:3, 3]
            turn = turn_deg(orthonormal(T[:3, :3].T @ edge.T_i_j[:3, :3]))
            off.append((turn, float(np.linalg.norm(shift))))
    wrong = sum(turn > WRONG_DEG or shift > WRONG for turn, shift in off)
    worst = np.array(off).max(axis=0) if off else np.zeros(2)
    counts = [len(world.keyframes), len(scales), len(off), wrong]
    return [*map(str, counts), f"{worst[0]:.1f}", f"{worst[1]:.2f}"]


def found_again(
    file: Path, first: Recording, then: Recording, runtime: SpatialRuntime
) -> list[str]:
    """Place the second recording in the map of the first one."""
    found: list[int] = []  # keyframes that there were when the place was found

    def hear(event: Event) -> None:
        if isinstance(event, MapChanged) and event.cause == "localized":
            found.append(len(pipeline.world.keyframes))

    with Pipeline(runtime, on_event=hear) as pipeline:
        pipeline.load_map(file)
        known = {one.keyframe.number for one in pipeline.world.keyframes}
        play(then, pipeline)
        world = pipeline.world
    stored = [one for one in world.keyframes if one.keyframe.number in known]
    new = [one for one in world.keyframes if one.keyframe.number not in known]
    scale, R, t = similarity(stored, true_poses(stored, first))
    true = true_poses(new, then)
    home = {one.segment for one in stored}
    off = []
    for one in new:
        if one.segment in home:
            T = true[one.keyframe.number]
            shift = scale * R @ one.T_map_body[:3, 3] + t - T[:3, 3]
            turn = turn_deg(orthonormal(T[:3, :3].T @ R @ one.T_map_body[:3, :3]))
            off.append((turn, float(np.linalg.norm(shift))))
    good = sum(turn < NEAR_DEG and shift < NEAR for turn, shift in off)
    wrong = sum(turn > WRONG_DEG or shift > WRONG for turn, shift in off)
    after = str(found[0] - len(known)) if found else "never"
    return [str(len(new)), after, str(len(off)), f"{good} ({good / len(new):.0%})", str(wrong)]


def true_poses(placed: Sequence[PlacedKeyframe], recording: Recording) -> dict[int, Floats]:
    """True pose of each keyframe, by number."""
    truth = recording.true_poses()
    assert truth is not None, "the recording has no true poses"
    stamps = np.array([one.keyframe.stamp_ns for one in placed])
    nearest = np.abs(truth.stamps_ns[None] - stamps[:, None]).argmin(axis=1)
    found = truth.T_world_cam_M44[nearest]
    return {one.keyframe.number: T for one, T in zip(placed, found, strict=True)}


def similarity(
    placed: Sequence[PlacedKeyframe], true: Mapping[int, Floats]
) -> tuple[float, Floats, Floats]:
    """Scale, rotation and shift from the map to the truth."""
    a = np.array([one.T_map_body[:3, 3] for one in placed])
    b = np.array([true[one.keyframe.number][:3, 3] for one in placed])
    return points.similarity(a, b)


if __name__ == "__main__":
    main()
