# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Features and matches by an ONNX graph: a map is built by it, and a bad graph is a clear error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.instant_runtime import InstantScene, wall
from g2vlm_map.mapping.learned import LearnedMatcher, learned_matcher
from g2vlm_map.mapping.options import FeatureOptions
from g2vlm_map.options import PipelineOptions
from g2vlm_map.pipeline import InputFrame, Pipeline
from g2vlm_map.recordings.bag import BagRecording
from g2vlm_model.interface import FrameWindow
from tests.helpers import REPO
from tests.map.bench import EVERY
from tests.map.mapping import graphs
from tests.ros.scripted_runtime import ScriptedRuntime

SIZE = (240, 320)  # of the model's picture
MAKERS = {"extractor": graphs.extractor, "pair": graphs.pair, "pipeline": graphs.pipeline}


class Walls(ScriptedRuntime):
    """A wall before the camera, with the pictures that were taken of it."""

    def observe(
        self, window: FrameWindow, *, cancelled: Callable[[], bool] | None = None
    ) -> InstantScene:
        geometry = wall(tuple(0.1 * n for n in range(len(window))), *SIZE)
        small = [
            cv2.resize(frame.image, SIZE[::-1], interpolation=cv2.INTER_AREA)
            for frame in window.frames
        ]
        geometry = replace(geometry, colors=np.stack(small).astype(np.uint8))
        return InstantScene(window, geometry, {"total": 0.0}, None)


def drive(detector: str, count: int = 8) -> Pipeline:
    """A drive through a synthetic room by a detector; the pipeline still runs."""
    recording = BagRecording(REPO / "tests" / "data" / "room" / "room.mcap")
    calibration = recording.info.calibration
    assert calibration is not None
    options = PipelineOptions(keyframe=EVERY, features=FeatureOptions(detector=detector))
    pipeline = Pipeline(Walls(), options)
    pipeline.start()
    for frame in recording.frames(range(0, 2 * count, 2)):
        pipeline.add(InputFrame(frame.rgb(), frame.stamp_ns, K=calibration.K))
        assert pipeline.wait(60.0)
    return pipeline


def turn_errors_deg(pipeline: Pipeline) -> list[float]:
    """How far the turn of each edge is off."""
    truth = BagRecording(REPO / "tests" / "data" / "room" / "room.mcap").true_poses()
    assert truth is not None
    poses = dict(zip(truth.stamps_ns.tolist(), truth.T_world_cam_M44, strict=True))
    stamp = {one.keyframe.number: one.keyframe.stamp_ns for one in pipeline.world.keyframes}
    errors = []
    for edge in pipeline.world.edges:
        true = np.linalg.inv(poses[stamp[edge.i]]) @ poses[stamp[edge.j]]
        off = true[:3, :3].T @ edge.T_i_j[:3, :3]
        errors.append(float(np.degrees(np.arccos(np.clip((np.trace(off) - 1) / 2, -1, 1)))))
    return errors


@pytest.mark.parametrize(
    "kind",
    [pytest.param(kind, marks=() if kind == "pair" else pytest.mark.slow) for kind in MAKERS],
)
def test_a_map_is_built_of_verified_edges(kind: str, tmp_path: Path) -> None:
    detector = str(MAKERS[kind](tmp_path / f"{kind}.onnx"))
    pipeline = drive(detector)
    try:
        world = pipeline.world
        assert len(world.keyframes) == 8
        assert len({one.segment for one in world.keyframes}) == 1
        assert len(world.edges) >= 12
        assert {edge.kind for edge in world.edges} <= {"visual", "loop"}
        assert min(edge.inliers for edge in world.edges) >= 20
        assert float(np.median(turn_errors_deg(pipeline))) < 1.5
        view = world.keyframes[-1].keyframe.views[0]
        assert view.descriptor_FE.dtype == np.int8
        assert view.descriptor_FE.shape[1] == (64 if kind == "extractor" else 1)
        # A map is found again by what it was made with, and by nothing else.
        pipeline.save_map(tmp_path / "room")
        pipeline.load_map(tmp_path / "room")
        again = pipeline.world.keyframes[-1].keyframe.views[0]
        np.testing.assert_array_equal(again.descriptor_FE, view.descriptor_FE)
        assert again.descriptor_FE.dtype == np.int8
    finally:
        pipeline.stop()
    other = Pipeline(Walls())
    with pytest.raises(ValueError, match="holds features of 'onnx-"):
        other.load_map(tmp_path / "room")


def test_pictures_of_a_fixed_size_are_stretched_to_it(tmp_path: Path) -> None:
    """A corner is found where it is, whatever size the graph was exported for."""
    picture = np.zeros((120, 200, 3), np.uint8)
    picture[40:80, 50:150] = 255
    for size in ("H, W", "96, 96", "240, 320"):
        graph = LearnedMatcher(graphs.extractor(tmp_path / f"{size[0]}{size[-1]}.onnx", size))
        found = graph.find(picture)
        corners = np.array([[49.5, 39.5], [149.5, 39.5], [49.5, 79.5], [149.5, 79.5]])
        best = found.pixel_F2[np.argsort(-found.score_F)[:4]]
        away = np.linalg.norm(best[:, None] - corners, axis=-1).min(axis=1)
        assert away.max() < 4.0, (size, best)


def test_descriptors_may_lie_the_other_way_round(tmp_path: Path) -> None:
    made = [
        LearnedMatcher(graphs.with_outputs(
            tmp_path / f"{name}.onnx", "Identity (points)", "Identity (marks)", f"Identity ({name})"
        )).find(np.zeros((64, 64, 3), np.uint8))
        for name in ("vectors", "vectors_T")
    ]  # fmt: skip
    assert made[0].descriptor_FD.shape == made[1].descriptor_FD.shape == (40, 8)


@pytest.mark.parametrize(
    ("outputs", "words"),
    [
        (("Identity (points_nan)", "Identity (marks)", "Identity (vectors)"),
         "keypoints with 80 values that are not finite"),
        (("Identity (points)", "Identity (marks)", "Identity (vectors_nan)"),
         "descriptors with 320 values that are not finite"),
        (("Identity (points3)", "Identity (marks)", "Identity (vectors)"),
         r"keypoints \(1, 40, 3\), expected \(1, F, 2\)"),
        (("Identity (points)", "Identity (few_marks)", "Identity (vectors)"),
         "40 keypoints, 30 scores"),
        (("Identity (points)", "Identity (marks)", "Reshape (vectors, minus_one)"),
         r"40 keypoints, 40 scores and descriptors \(320,\)"),
        (("Identity (points)", "Identity (marks)", "Reshape (vectors, s)"), "fails on a picture"),
    ],
    ids=["NaN keypoints", "NaN descriptors", "three coordinates", "scores", "one row", "fails"],
)  # fmt: skip
def test_a_graph_that_answers_nonsense_is_refused_before_anything_runs(
    outputs: tuple[str, str, str], words: str, tmp_path: Path
) -> None:
    path = graphs.with_outputs(tmp_path / "bad.onnx", *outputs)
    options = PipelineOptions(features=FeatureOptions(detector=str(path)))
    with pytest.raises(ValueError, match=f"features.detector = .*bad.onnx' .*{words}"):
        Pipeline(ScriptedRuntime(), options)


def test_a_file_that_is_no_such_graph_is_refused(tmp_path: Path) -> None:
    text, empty = tmp_path / "text.onnx", tmp_path / "empty.onnx"
    text.write_text("no graph")
    empty.write_bytes(b"")
    for path, words in (
        (tmp_path / "missing.onnx", "is no file; expected sift, orb or an ONNX graph"),
        (text, "is no ONNX graph that can be run"),
        (empty, "is no ONNX graph that can be run"),
        (graphs.matcher_alone(tmp_path / "alone.onnx"), "export the two as one"),
        (
            graphs.extractor(tmp_path / "batch.onnx", batch=4),
            "expected 1 or 3 channels of one picture",
        ),
    ):
        with pytest.raises(ValueError, match=words):
            learned_matcher(str(path))


def test_a_detector_that_is_neither_is_no_option() -> None:
    with pytest.raises(ValueError, match="expected sift, orb or the path of an ONNX graph"):
        FeatureOptions(detector="superpoint")
    assert learned_matcher("sift") is None
