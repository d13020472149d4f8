# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A rig's recording is played whole: all cameras, at their own stamps, where TF says they sit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from g2vlm_replay import main
from g2vlm_replay.node.bag_writer import BagWriter

from g2vlm_map.mapping.store import load_map
from g2vlm_map.poses import rigid, rotation
from g2vlm_map.recordings import RecordingError, open_rig
from g2vlm_map.recordings.bag import BagRecording
from g2vlm_map.sensing import Extrinsics
from tests.helpers import REPO
from tests.replay.bags import NS, Scribe, pattern, translation

ROOM = REPO / "tests" / "data" / "room" / "room.mcap"
LOOKS_AHEAD = np.array([[0.0, 0, 1, 0.2], [-1, 0, 0, 0], [0, -1, 0, 0.5], [0, 0, 0, 1]])
TURN = rigid(
    rotation(np.array([0.0, 0.6, 0.0])), np.array([0.15, 0.0, 0.02])
)  # in the front's axes
COUNT = 8
WAYS = [
    pytest.param(["--in-process"], id="in process"),
    pytest.param([], id="node", marks=pytest.mark.slow),
]


def write_rig(path: Path, *, joined: bool = True, rear_hz: int = 4) -> Path:
    """The front sees a room at 4 Hz, the side camera the same mirrored, 8 ms later."""
    source = BagRecording(ROOM)
    calibration, truth = source.info.calibration, source.true_poses()
    assert calibration is not None
    assert truth is not None
    true = dict(zip(truth.stamps_ns.tolist(), truth.T_world_cam_M44, strict=True))
    with BagWriter(path) as writer:
        scribe = Scribe(writer)
        scribe.tf("/tf_static", 10 * NS, "base_link", "front_optical", LOOKS_AHEAD)
        if joined:
            scribe.tf("/tf_static", 10 * NS, "front_optical", "side_optical", TURN)
        for number, frame in enumerate(source.frames(range(0, 2 * COUNT, 2))):
            ns = 10 * NS + number * NS // 4
            scribe.pose("/truth/pose", ns, true[frame.stamp_ns])
            for name, shown, later in (
                ("front", frame.rgb(), 0),
                ("side", frame.rgb()[:, ::-1], 8_000_000),
            ):
                if name == "side" and number % (4 // rear_hz):
                    continue
                scribe.info(f"/rig/{name}/camera_info", ns + later, source.info.size_hw,
                            calibration.K)  # fmt: skip
                encoded = cv2.imencode(".jpg", shown[..., ::-1])[1].tobytes()
                topic = f"/rig/{name}/image_raw/compressed"
                message = scribe.types["sensor_msgs/msg/CompressedImage"](
                    header=scribe.header(ns + later, f"{name}_optical"),
                    format="jpeg",
                    data=np.frombuffer(encoded, np.uint8),
                )
                kind = "sensor_msgs/msg/CompressedImage"
                writer.write_message(topic, kind, ns + later, message)
    return path


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rig(tmp_path_factory.mktemp("bags") / "rig")


Run = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def run(source: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
        code = main(
            [str(source), "--out", str(tmp_path / "out"), "--rate", "0", "--quiet",
             "--runtime", "tests.ros.scripted_runtime:create",
             "--param", "keyframe.min_motion=0.0", *arguments]
        )  # fmt: skip
        file = tmp_path / "out" / "metrics.json"
        return code, json.loads(file.read_text()) if file.exists() else {}

    return run


def test_the_cameras_of_a_bag_are_found_named_and_placed(rig: Path) -> None:
    found = open_rig(rig)
    assert list(found.cameras) == ["front", "side"]
    assert found.base == "base_link"
    np.testing.assert_allclose(found.T_base_cams["front"], LOOKS_AHEAD, atol=1e-9)
    np.testing.assert_allclose(found.T_base_cams["side"], LOOKS_AHEAD @ TURN, atol=1e-9)
    frames = [(name, frame.stamp_ns) for name, frame in found.rig_frames()]
    assert [name for name, _ in frames[:4]] == ["front", "side", "front", "side"]
    assert frames[1][1] - frames[0][1] == 8_000_000  # as recorded
    assert [stamp for _, stamp in frames] == sorted(stamp for _, stamp in frames)
    first = next(sample for _, sample in found.samples(""))
    assert isinstance(first, Extrinsics)
    assert first.camera == "front"
    named = open_rig(rig, ["/rig/side/image_raw/compressed", "/rig/front/image_raw/compressed"])
    assert list(named.cameras) == ["side", "front"]


@pytest.mark.parametrize("way", WAYS)
def test_a_rig_is_one_map_of_rigid_keyframes(
    rig: Path, run: Run, way: list[str], tmp_path: Path
) -> None:
    code, document = run(rig, "--cameras", "all", *way)
    assert code == 0
    metrics = document["metrics"]
    assert metrics["frames_received"] == 2 * COUNT
    assert metrics["frames_used"] == 2 * COUNT
    assert document["drops"] == {} or not any(document["drops"].values())
    assert document["input"]["cameras"] == ["front", "side"]
    assert "A rig of 2 cameras, the first leads: front, side." in document["input"]["notes"]
    assert metrics["ate_m"] is not None
    placed = load_map(tmp_path / "out" / "map.g2map").world.keyframes
    assert len(placed) >= COUNT - 2
    for one in placed:
        assert [view.camera for view in one.keyframe.views] == ["front", "side"]
        assert one.keyframe.views[1].stamp_ns - one.keyframe.views[0].stamp_ns == 8_000_000
        np.testing.assert_allclose(one.keyframe.views[1].T_body_cam, TURN, atol=1e-6)


def test_cameras_of_unequal_rates_are_played_to_the_end(run: Run, tmp_path: Path) -> None:
    bag = write_rig(tmp_path / "bag", rear_hz=2)
    code, document = run(bag, "--cameras", "all", "--in-process")
    assert code == 0
    assert document["metrics"]["frames_received"] == COUNT + COUNT // 2
    assert document["metrics"]["scenes"] > 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--cameras", "/rig/front/image_raw/compressed"), "has 1 camera"),
        (("--cameras", "/rig/front/image_raw/compressed,/rig/rear/image_raw"),
         "image topic /rig/rear/image_raw is no image topic of the bag"),
        (("--cameras", "/a,/a"), "expected each topic once"),
        (("--cameras", "all", "--image-topic", "/a"), "leave them out"),
        ((), "play them as a rig (--cameras all)"),
    ],
    ids=["one", "unknown", "twice", "contradiction", "not said"],
)  # fmt: skip
def test_cameras_that_are_none_end_with_a_clear_error(
    rig: Path, run: Run, arguments: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(rig, *arguments, "--in-process") == (2, {})
    told = capsys.readouterr().err
    assert words in told
    assert "Traceback" not in told


def test_a_camera_whose_place_nobody_tells_ends_with_a_clear_error(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bag = write_rig(tmp_path / "bag", joined=False)
    assert run(bag, "--cameras", "all", "--in-process") == (2, {})
    told = capsys.readouterr().err
    assert "nobody tells where camera side sits on the rig" in told
    assert "TF does not join its frame side_optical to base_link" in told
    assert "--cameras" in told


def test_bags_and_folders_that_are_no_rigs(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="does not exist"):
        open_rig(tmp_path / "nothing")
    with BagWriter(tmp_path / "bag") as writer:
        scribe = Scribe(writer)
        scribe.image("/camera/image", 10 * NS, pattern(0), "rgb8")
        scribe.tf("/tf_static", 10 * NS, "base", "camera_optical", translation(0.1))
    with pytest.raises(RecordingError, match="has 1 camera"):
        open_rig(tmp_path / "bag")
    folder = tmp_path / "folder"
    folder.mkdir()
    cv2.imwrite(str(folder / "1.png"), pattern(0))
    with pytest.raises(RecordingError, match=r"has 0 cameras \(none\)"):
        open_rig(folder)
