# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A run that is made here part by part: a folder of frames, kept scenes, a map, answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from g2vlm_replay.asking import Answer
from g2vlm_replay.files import map_cloud
from g2vlm_replay.kept import KeptScenes
from g2vlm_replay.map_metrics import FinalMap, ScaleSample
from g2vlm_replay.outcome import Played, StatusSample, Timeline
from g2vlm_replay.question_file import Mark, Question
from g2vlm_replay.report import ReportInput
from g2vlm_replay.scoring import score
from scipy.spatial.transform import Rotation

from g2vlm_map.mapping.keyframe import Edge
from g2vlm_map.options import DepthOptions
from g2vlm_map.recordings import open_recording
from g2vlm_map.world import World
from tests.map.mapping.worlds import random_placed
from tests.replay.bags import K, pattern

HW = (48, 64)
EVIL = "</script><script>window.harm = 1</script><img src=x onerror='window.harm = 2'>"


def way(count: int) -> np.ndarray:
    """(M, 4, 4) camera poses round a circle of 3 m, looking ahead."""
    T_M44 = np.tile(np.eye(4), (count, 1, 1))
    angle = np.linspace(0, 1.9 * np.pi, count)
    T_M44[:, :3, :3] = Rotation.from_euler("y", angle[:, None]).as_matrix()
    T_M44[:, 0, 3], T_M44[:, 2, 3] = 3 * (1 - np.cos(angle)), 3 * np.sin(angle)
    return T_M44


def write_folder(folder: Path, count: int, *, truth: bool, size_hw: tuple[int, int]) -> Path:
    """Frames; with a truth also poses, K, and depth of 1 m that grows."""
    (folder / "images").mkdir(parents=True)
    (folder / "depth").mkdir()
    for number in range(count):
        image = cv2.resize(pattern(number, HW), size_hw[::-1], interpolation=cv2.INTER_LINEAR)
        cv2.imwrite(str(folder / "images" / f"{number:05d}.jpg"), image)
        if truth:
            depth = np.full(HW, 1000 + number, np.uint16)
            cv2.imwrite(str(folder / "depth" / f"{number:05d}.png"), depth)
    if not truth:
        return folder / "images"
    stretch = size_hw[1] / HW[1]
    np.savetxt(folder / "K.txt", np.diag([stretch, stretch, 1]) @ K)
    np.savetxt(folder / "poses.txt", way(count).reshape(count, 16))
    return folder


def kept_scenes(folder: Path, stamps: tuple[int, ...], worst: int) -> KeptScenes:
    """Depth of 2 units and a ramp; that of one scene is wrong."""
    folder.mkdir()
    scenes = KeptScenes(folder, DepthOptions())
    ramp = np.linspace(0, 0.02, HW[1], dtype=np.float32)
    for number, (stamp, T) in enumerate(zip(stamps, way(len(stamps)), strict=True)):
        step = np.roll(ramp, number) * (40 if number == worst else 1)
        depth = np.tile(2 + step, (HW[0], 1))
        np.save(folder / f"{number:06d}.npy", depth)
        scenes.poses.append((1, False, stamp, T))
    return scenes


def made_map(stamps: tuple[int, ...], unsure: int) -> FinalMap:
    """Every scene a keyframe, in map units of half a metre, a loop from end to start."""
    rng, placed = np.random.default_rng(0), []
    for number, (stamp, T) in enumerate(zip(stamps, way(len(stamps)), strict=True)):
        T[:3, 3] *= 2
        one = random_placed(rng, number)
        view = one.keyframe.views[0]
        sure = np.full_like(view.confidence_HW, 90 if number == unsure else 200)
        view = replace(view, confidence_HW=sure, T_body_cam=np.eye(4))
        keyframe = replace(one.keyframe, stamp_ns=stamp, views=(view,))
        placed.append(replace(one, keyframe=keyframe, T_map_body=T, log_depth_scale=0.0, segment=1))
    loop = Edge(0, len(stamps) - 1, "loop", np.eye(4), 0.01, 0.02, np.inf)
    return FinalMap.of_world(World(segment=1, keyframes=tuple(placed), edges=(loop,)))


def explored_run(
    folder: Path, count: int, *, truth: bool, size_hw: tuple[int, int] = HW, worst: int = 5
) -> ReportInput:
    """A finished run of so many scenes; `worst` is the scene with the wrong depth, or unsure."""
    recording = open_recording(write_folder(folder / "in", count, truth=truth, size_hw=size_hw))
    stamps = recording.info.stamps_ns
    outputs = kept_scenes(folder / "kept", stamps, worst)
    outputs.map = made_map(stamps, worst)
    timeline = Timeline(
        sent_s={stamp: 0.1 * at for at, stamp in enumerate(stamps)},
        scene_s={stamp: 0.1 * at + 0.04 for at, stamp in enumerate(stamps)},
        statuses=[StatusSample(0.1 * at, at, at, 0, at, 1, ()) for at in range(count)],
        scales=[ScaleSample(stamp, 1, False, 1.0, 0.5) for stamp in stamps],
    )
    height, width = size_hw
    mark = Mark("A", width / 4, height / 2)
    asked = Question("How far away is A?", 3, (mark,))
    near, ahead = ((0.5, 0.0, 2.0),), ((0.0, 0.0, 1.0),)
    answers = [
        Answer(asked, stamps[3], "OK", reply="2 units", points=near, labels=("A",)),
        Answer(Question(EVIL), stamps[-1], "OK", reply=EVIL, points=ahead, labels=(EVIL,)),
        Answer(Question("Never?"), 0, "NOT_ASKED", "no scene"),
    ]
    played = Played(1.0, count, 0, (), 100.0, 0.5)
    scores = score(recording, outputs, timeline, played, answers)
    assert outputs.map.world is not None
    return ReportInput(
        title="explored", created="now", recording=recording, outputs=outputs, scores=scores,
        timeline=timeline, played=played,
        cloud=map_cloud(outputs.map.world, 0.3, in_metres=False), cloud_confidence=0.3,
        rate=0.0, in_process=True, conditions=(), failed=(), system={},
    )  # fmt: skip
