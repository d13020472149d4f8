# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A recording's depth is played as a sensor's where the map asks for one."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from g2vlm_replay import main
from g2vlm_replay.depth_sensor import straight_recording
from g2vlm_replay.node.bag_writer import BagWriter

from g2vlm_map.camera_model import read_camera_info
from g2vlm_map.mapping.store import load_map
from g2vlm_map.recordings import LeftOut, open_recording
from g2vlm_map.rectify import Rectification
from g2vlm_ros.params import parse
from tests.replay.bags import NS, Scribe, pattern, write_places_bag, write_plain_bag

NO_DEPTH = "has no depth that belongs to one of its"
WAYS = [
    pytest.param(["--in-process"], id="in process"),
    pytest.param([], id="node", marks=pytest.mark.slow),
]


def run(source: Path, out: Path, *arguments: str) -> int:
    return main(
        [str(source), "--out", str(out), "--rate", "0", "--quiet",
         "--runtime", "tests.ros.scripted_runtime:create",
         "--param", "keyframe.min_motion=0.0", *arguments]
    )  # fmt: skip


@pytest.mark.parametrize("in_file", [False, True], ids=["as --param", "in a file"])
@pytest.mark.parametrize("way", WAYS)
def test_keyframes_have_the_recorded_depth_and_the_report_says_so(
    way: list[str], in_file: bool, tmp_path: Path
) -> None:
    write_plain_bag(tmp_path / "bag", mcap=True, count=6)
    out, file = tmp_path / "out", tmp_path / "p.yaml"
    file.write_text("/**:\n  ros__parameters: {depth: {source: sensor}, lidar.range: 5.0}\n")
    given = ["--params", str(file)] if in_file else ["--param", "depth.source=sensor"]
    assert run(tmp_path / "bag", out, *given, *way) == 0
    document = json.loads((out / "metrics.json").read_text())
    assert document["replay"]["parameters"]["depth.source"] == "sensor"
    assert any("the map was given the depth" in note for note in document["notes"])
    placed = load_map(out / "map.g2map").world.keyframes
    assert len(placed) >= 4
    for one in placed:
        view = one.keyframe.views[0]
        assert view.metres == 1.0
        number = round((one.keyframe.stamp_ns - 10 * NS) / (NS / 10))
        depth = view.depth_HW[3:, :].astype(float)
        np.testing.assert_allclose(depth[depth > 0], 1.0 + 0.01 * number, rtol=1e-3)


@pytest.mark.parametrize("straight", [False, True])
def test_the_true_depth_of_a_bent_lens_is_straightened_as_its_frames_are(
    straight: bool, tmp_path: Path
) -> None:
    topic = "/camera/image_rect" if straight else "/camera/image_raw"
    bend = (-0.3, 0.1, 0.0, 0.0, 0.0)
    with BagWriter(tmp_path / "bag") as writer:
        scribe = Scribe(writer)
        for i in range(3):
            scribe.info("/camera/camera_info", NS * (i + 1), (48, 64), distortion=bend)
            scribe.image(topic, NS * (i + 1), pattern(i), "rgb8")
            depth = np.tile(1.0 + 0.1 * np.arange(64), (48, 1)).astype(np.float32)
            scribe.image("/camera/depth/image", NS * (i + 1), depth, "32FC1")
    recording = open_recording(tmp_path / "bag")
    (_, raw), *_ = recording.true_depths(recording.info.stamps_ns)
    seen = straight_recording(recording, parse({}))
    (_, depth), *_ = seen.true_depths(recording.info.stamps_ns)
    if straight:
        np.testing.assert_array_equal(depth, raw)
        return
    assert recording.info.calibration is not None
    model = read_camera_info(recording.info.calibration.camera_info(), (48, 64))
    np.testing.assert_array_equal(depth, Rectification(model, 100.0).nearest(raw))
    assert (depth != raw).any()


def test_depth_of_another_shape_than_a_bent_lens_is_left_out_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with BagWriter(tmp_path / "bag") as writer:
        scribe = Scribe(writer)
        bend = (-0.3, 0.1, 0.0, 0.0, 0.0)
        scribe.info("/camera/camera_info", NS, (48, 64), distortion=bend)
        scribe.image("/camera/image_raw", NS, pattern(0), "rgb8")
    recording = open_recording(tmp_path / "bag")
    square = [(NS, np.ones((48, 48), np.float32))]
    monkeypatch.setattr(recording, "true_depths", lambda stamps_ns, left_out: iter(square))
    left_out: list[LeftOut] = []
    seen = straight_recording(recording, parse({}))
    assert list(seen.true_depths([NS], left_out)) == []
    assert "another shape" in left_out[0].reason


def test_a_lens_that_the_node_refuses_straightens_nothing(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as writer:
        scribe = Scribe(writer)
        scribe.info("/camera/camera_info", NS, (48, 64), distortion=(-90.0, 0.0, 0.0, 0.0, 0.0))
        scribe.image("/camera/image_raw", NS, pattern(0), "rgb8")
    recording = open_recording(tmp_path / "bag")
    assert straight_recording(recording, parse({})) is recording


@pytest.mark.parametrize("way", WAYS)
def test_recordings_without_usable_depth_end_with_a_clear_error(
    way: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with BagWriter(tmp_path / "late") as writer:  # a depth topic without frames of its time
        scribe = Scribe(writer)
        for i in range(3):
            scribe.info("/camera/camera_info", (10 + i) * NS, (48, 64))
            scribe.image("/camera/image_raw", (10 + i) * NS, pattern(i), "rgb8")
            depth = np.full((48, 64), 1000, np.uint16)
            scribe.image("/camera/depth/image", (100 + i) * NS, depth, "16UC1")
    write_places_bag(tmp_path / "no K")
    folder = tmp_path / "folder"
    folder.mkdir()
    for i in range(3):
        cv2.imwrite(str(folder / f"{i}.png"), pattern(i))
    for name, words in (("late", NO_DEPTH), ("no K", "has no K"), ("folder", "has no K")):
        assert run(tmp_path / name, tmp_path / "out", "--param", "depth.source=fused", *way) == 2
        told = capsys.readouterr().err
        assert words in told, name
        assert "depth.source is fused" in told
        assert "Traceback" not in told
