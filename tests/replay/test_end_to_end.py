"""The real node with the real embedded model on real messages, start to end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from g2vlm_replay import main
from g2vlm_replay.metrics import METRICS
from g2vlm_replay.node.bag_writer import BagWriter
from g2vlm_replay.question_file import load_questions
from rosbags.highlevel import AnyReader

from g2vlm_map.recordings.bag import BagRecording
from g2vlm_map.recordings.folder import FolderRecording
from tests.helpers import REPO
from tests.real_runtime import RealRuntime
from tests.replay.bags import NS, Scribe, pattern, png, write_plain_bag
from tests.replay.test_report import SECTIONS, Page
from tests.ros.scripted_runtime import ScriptedRuntime, create

DEMO = REPO / "demo" / "room.mcap"
QUESTIONS = REPO / "demo" / "questions.json"


def replay(source: Path, out: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    """Run the command in lock-step; its exit code and metrics.json."""
    code = main([str(source), "--out", str(out), "--rate", "0", "--quiet", *arguments])
    metrics = out / "metrics.json"
    return code, json.loads(metrics.read_text()) if metrics.exists() else {}


def test_demo_bag_is_small_and_whole() -> None:
    assert DEMO.stat().st_size <= 2_500_000
    source = BagRecording(DEMO)
    info = source.info
    assert len(info.stamps_ns) == 60
    assert info.size_hw == (240, 320)
    assert info.calibration is not None
    truth = source.true_poses()
    assert truth is not None
    assert len(truth.stamps_ns) == 60
    travelled = np.linalg.norm(np.diff(truth.T_world_cam_M44[:, :3, 3], axis=0), axis=1).sum()
    assert travelled > 1.0
    (depth,) = (depth for _, depth in source.true_depths(info.stamps_ns[30:31]))
    assert (depth > 0).all()
    questions = load_questions(QUESTIONS, info.stamps_ns)
    kinds = {question.kind for question in questions}
    assert kinds >= {"what", "colour", "distance_prediction_oc", "obj_spatial_relation_oo"}
    for question in questions:
        assert question.expected is not None
        for mark in question.marks:
            assert 0 <= mark.u < 320
            assert 0 <= mark.v < 240


def test_demo_distances_are_exact() -> None:
    """Expected lengths against the depth pictures of the bag."""
    source = BagRecording(DEMO)
    info = source.info
    assert info.calibration is not None
    checked = 0
    for question in load_questions(QUESTIONS, info.stamps_ns):
        if question.kind not in {"distance_prediction_oc", "distance_prediction_oo"}:
            continue
        assert question.frame is not None
        ((_, depth),) = source.true_depths([info.stamps_ns[question.frame]])
        points = []
        for mark in question.marks:
            z = float(depth[int(mark.v), int(mark.u)])
            ray = np.linalg.inv(info.calibration.K) @ [mark.u, mark.v, 1.0]
            points.append(z * ray)
        length = np.linalg.norm(points[0] - (points[1] if len(points) > 1 else 0.0))
        assert question.expected is not None
        assert question.expected.value == pytest.approx(float(length), abs=0.004)  # mm depth
        checked += 1
    assert checked >= 5


def test_the_demo_through_the_real_node(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], every_runtime: RealRuntime
) -> None:
    shipped = json.loads(QUESTIONS.read_text())
    first = next(item for item in shipped if item["kind"] == "distance_prediction_oc")
    assert first["at"]["frame"] < 14
    questions = [
        {**first, "max_tokens": 4},
        {"question": "How many chairs are visible?", "max_tokens": 4},
    ]
    (tmp_path / "q.json").write_text(json.dumps(questions))
    out = tmp_path / "out"
    code, document = replay(
        DEMO, out, "--limit", "14", "--questions", str(tmp_path / "q.json"),
        "--fail-if", "scenes<1", "--fail-if", "pictures>13", *every_runtime.options,
    )  # fmt: skip
    said = capsys.readouterr()
    assert code == 1
    assert said.err == "FAILED pictures>13: pictures is 14\n"
    assert str(out / "report.html") in said.out

    metrics = document["metrics"]
    assert set(metrics) == set(METRICS)
    assert metrics["pictures"] == metrics["frames_received"] == 14
    assert metrics["scenes"] >= 4
    assert metrics["frames_used"] + metrics["frames_dropped"] == 14
    assert document["drops"].get("superseded", 0) == 0  # lock-step: nothing is overtaken
    assert document["replay"]["stalled_pictures"] == 0
    assert document["node"]["model_id"].startswith("nano-")
    assert document["node"]["is_metric"] is False
    for name in ("abs_rel", "ate_m", "rpe_rot_deg", "latency_p50_ms", "answer_p50_ms"):
        assert metrics[name] > 0
    for name in ("abs_rel", "delta_125", "ate_m", "rpe_rot_deg"):
        assert document["baselines"][name]
    asked = document["answers"]
    assert [answer["status"] for answer in asked] == [asked[0]["status"]] * 2
    assert asked[0]["status"] in {"OK", "TRUNCATED"}
    assert asked[0]["scene_stamp_ns"] == BagRecording(DEMO).info.stamps_ns[first["at"]["frame"]]

    page = Page((out / "report.html").read_text())
    assert set(SECTIONS) <= page.ids
    with AnyReader([out / "recorded"]) as reader:
        counts = {item.topic: item.msgcount for item in reader.connections}
        (status,) = (item for item in reader.connections if item.topic == "/g2vlm/status")
        _, _, raw = next(reader.messages(connections=[status]))
        decoded: Any = reader.deserialize(raw, status.msgtype)
        assert decoded.runtime == document["node"]["runtime"]
    if every_runtime.name != "auto":
        assert document["node"]["runtime"] == every_runtime.name
    for topic in ("points", "depth/image", "depth/camera_info", "pose"):
        assert counts[f"/g2vlm/{topic}"] == metrics["scenes"]
    assert counts["/g2vlm/answers"] == 2
    lines = (out / "trajectory.tum").read_text().splitlines()
    assert len([line for line in lines if not line.startswith("#")]) == metrics["scenes"]
    assert (out / "cloud.ply").read_bytes().startswith(b"ply\n")


def test_real_time_replay(tmp_path: Path) -> None:
    out = tmp_path / "out"
    code = main([str(DEMO), "--out", str(out), "--limit", "10", "--rate", "2", "--quiet",
                 "--runtime", "tests.ros.scripted_runtime:create"])  # fmt: skip
    assert code == 0
    document = json.loads((out / "metrics.json").read_text())
    metrics = document["metrics"]
    assert metrics["frames_received"] == 10
    # Nine gaps of 0.2 s at double speed, and the wait until the node is done.
    assert 0.9 <= metrics["wall_s"] < 30
    assert metrics["scenes"] >= 1


def restless(**asked: str) -> ScriptedRuntime:
    """A runtime whose every third window contradicts the one before it."""
    runtime = create(**asked)
    runtime.scales = [1.0, 1.0, 9.0, 9.0, 9.0, 1.0] * 20
    return runtime


def test_short_segments_are_told_apart(tmp_path: Path) -> None:
    """Several segments within one period of the path and the status."""
    out = tmp_path / "out"
    code = main([str(DEMO), "--out", str(out), "--limit", "20", "--rate", "4", "--quiet",
                 "--param", "keyframe.min_motion=0.0", "--param", "status.period_s=5.0",
                 "--runtime", "tests.replay.test_end_to_end:restless"])  # fmt: skip
    assert code == 0
    document = json.loads((out / "metrics.json").read_text())
    scenes = document["metrics"]["scenes"]
    lengths = [segment["poses"] for segment in document["segments"]]
    assert scenes > 12
    assert sum(lengths) == scenes
    assert lengths[0] == 2
    assert set(lengths[1:-1]) == {3}, lengths


def test_a_stamp_that_comes_twice(tmp_path: Path) -> None:
    """The scene belongs to the first picture of a stamp, so does its latency."""
    with BagWriter(tmp_path / "bag") as writer:
        scribe = Scribe(writer)
        for i in range(8):
            scribe.image("/camera/image", (10 + i // 2) * NS, pattern(i), "rgb8")
    code, document = replay(
        tmp_path / "bag", tmp_path / "out", "--runtime", "tests.ros.scripted_runtime:create"
    )
    assert code == 0
    assert document["drops"]["out_of_order"] == 4
    assert document["metrics"]["scenes"] >= 1
    assert document["metrics"]["latency_p50_ms"] > 0


def test_a_replay_without_scenes_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with BagWriter(tmp_path / "bag") as writer:
        scribe = Scribe(writer)
        for i in range(3):
            scribe.image("/camera/image", 10 * NS + i * NS // 20, pattern(0), "rgb8")
    code, document = replay(
        tmp_path / "bag", tmp_path / "out", "--runtime", "tests.ros.scripted_runtime:create"
    )
    said = capsys.readouterr().out
    assert (code, document["metrics"]["scenes"]) == (0, 0)
    assert "Nothing came out: dropped 2 not_keyframe" in said
    assert not (tmp_path / "out" / "cloud.ply").exists()
    assert "cloud.ply" not in said


def test_a_corrupt_true_depth_costs_only_itself(tmp_path: Path) -> None:
    write_plain_bag(tmp_path / "bag", mcap=True, count=6)
    with BagWriter(tmp_path / "cut") as writer:
        scribe = Scribe(writer)
        for message in BagRecording(tmp_path / "bag").messages():
            writer.write(message.topic, message.msgtype, message.time_ns, message.data)
            if message.frame >= 0:
                depth = png(np.full((48, 64), 1000 + message.frame, np.uint16))
                cut = depth[:40] if message.frame % 2 else depth
                scribe.compressed("/depth/compressed", message.stamp_ns, cut, "16UC1; png")
    code, document = replay(
        tmp_path / "cut", tmp_path / "out", "--runtime", "tests.ros.scripted_runtime:create"
    )
    assert code == 0
    assert document["metrics"]["depth_frames"] >= 1
    assert document["metrics"]["depth_frames"] < document["metrics"]["scenes"]
    assert any("true depth maps cannot be read" in note for note in document["notes"])


def write_bag_of(source: FolderRecording, path: Path, count: int) -> None:
    """Real pictures, K, poses and depth of a 7-Scenes folder as a bag."""
    truth = source.true_poses()
    assert truth is not None
    poses = dict(zip(truth.stamps_ns.tolist(), truth.T_world_cam_M44, strict=True))
    depths = dict(source.true_depths(source.info.stamps_ns[:count]))
    calibration = source.info.calibration
    assert calibration is not None
    with BagWriter(path, mcap=False) as writer:
        scribe = Scribe(writer)
        for frame in source.frames(range(count)):
            stamp, recorded = frame.stamp_ns, frame.load()
            scribe.info("/camera/camera_info", stamp, source.info.size_hw, calibration.K)
            scribe.compressed("/camera/image_raw/compressed", stamp, recorded.data)
            scribe.pose("/ground_truth/pose", stamp, poses[stamp])
            scribe.image("/camera/depth/image", stamp, depths[stamp], "32FC1")


def test_7scenes_as_a_bag(tmp_path: Path, data_folder: Path, real_runtime: RealRuntime) -> None:
    folder = data_folder / "7scenes_redkitchen"
    if not folder.is_dir():
        pytest.skip(f"{folder} is missing")
    count = 24
    source = FolderRecording(folder, limit=count)
    write_bag_of(source, tmp_path / "bag", count)
    code, document = replay(tmp_path / "bag", tmp_path / "out", *real_runtime.options)
    assert code == 0
    metrics = document["metrics"]
    assert document["input"]["kind"] == "sqlite3 bag"
    assert metrics["frames_received"] == count
    assert metrics["frames_refused"] == 0
    assert metrics["scenes"] >= 5
    assert 0 < metrics["abs_rel"] < 2
    assert any("/ground_truth/pose" in note for note in document["notes"])
    # A baseline that does not depend on the model: the camera really moves.
    assert 0.01 < document["baselines"]["ate_m"]["identity"] < 1.0
    first_s = (source.info.stamps_ns[0]) / NS
    assert document["segments"][0]["first_stamp_ns"] / NS >= first_s


def test_arkitscenes_as_a_folder(
    tmp_path: Path, data_folder: Path, real_runtime: RealRuntime
) -> None:
    folder = data_folder / "arkitscenes"
    if not folder.is_dir():
        pytest.skip(f"{folder} is missing")
    code, document = replay(folder, tmp_path / "out", "--limit", "10", "--fail-if", "abs_rel>9",
                            *real_runtime.options)  # fmt: skip
    assert code == 1  # no depth to compare with: the guard must not pass
    metrics = document["metrics"]
    assert metrics["frames_received"] == 10
    assert metrics["scenes"] >= 3
    assert metrics["abs_rel"] is None
    assert "no CameraInfo" in " ".join(document["input"]["notes"]) or any(
        "K is unknown" in note for note in document["input"]["notes"]
    )
    assert set(SECTIONS) <= Page((tmp_path / "out" / "report.html").read_text()).ids


def test_large_raw_pictures_arrive(tmp_path: Path) -> None:
    """rgb8 Image messages of 2.8 MB, which the default transport loses between processes."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index in range(6):
        pixels = pattern(index, (720, 1280))
        cv2.imwrite(str(folder / f"{index}.bmp"), pixels)
    code, document = replay(
        folder, tmp_path / "out", "--runtime", "tests.ros.scripted_runtime:create",
        "--param", "keyframe.min_motion=0.0", "--fps", "5",
    )  # fmt: skip
    assert code == 0
    assert document["input"]["image_type"] == "sensor_msgs/msg/Image"
    assert document["metrics"]["frames_received"] == 6
    assert document["metrics"]["frames_used"] == 6
    assert document["metrics"]["scenes"] == 5  # the first one needs two pictures
