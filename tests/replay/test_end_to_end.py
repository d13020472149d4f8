# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The real node with the real embedded model on real messages, start to end."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from g2vlm_replay import main
from g2vlm_replay.files import PLY_DTYPE
from g2vlm_replay.metrics import METRICS
from g2vlm_replay.node.player import IDLE_SECONDS
from g2vlm_replay.question_file import load_questions
from rosbags.highlevel import AnyReader

from benchmarks.instant_runtime import InstantScene
from g2vlm_map.recordings.bag import BagRecording
from g2vlm_model.interface import FrameWindow
from tests.helpers import REPO
from tests.real_runtime import RealRuntime
from tests.replay.bags import pattern, write_places_bag, write_plain_bag
from tests.replay.test_report import SECTIONS, Page
from tests.ros.scripted_runtime import ScriptedRuntime

DEMO = REPO / "tests" / "data" / "room" / "room.mcap"
QUESTIONS = DEMO.with_name("questions.json")


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


def assert_same_cloud(a: Path, b: Path) -> None:
    """Point by point to rounding; a voxel may have kept the other of two equally good points."""
    points, others = (
        np.frombuffer(path.read_bytes().split(b"end_header\n", 1)[1], PLY_DTYPE) for path in (a, b)
    )
    assert len(points) == len(others)
    same = np.isclose(points["xyz"], others["xyz"], rtol=0, atol=1e-5).all(axis=1)
    same &= np.isclose(points["confidence"], others["confidence"], rtol=0, atol=1e-5)
    same &= (np.abs(points["rgb"].astype(int) - others["rgb"]) <= 1).all(axis=1)
    assert same.mean() > 0.999


def assert_alike(node: dict[str, Any], in_process: dict[str, Any]) -> None:
    """Node and pipeline alone give the same but for times, sizes of processes and float32."""
    timed = re.compile(r"(_ms|_s|_mib|_cores)$")
    for key in ("metrics", "baselines", "drops", "node", "segments", "input"):
        a, b = node[key], in_process[key]
        if key == "metrics":
            a, b = ({k: v for k, v in d.items() if not timed.search(k)} for d in (a, b))
            assert [k for k, v in a.items() if v is None] == [k for k, v in b.items() if v is None]
            a, b = ({k: v for k, v in d.items() if v is not None} for d in (a, b))
            assert a == pytest.approx(b, rel=1e-9), key
        elif key == "baselines":
            assert a.keys() == b.keys()
            for name in a:
                assert a[name] == pytest.approx(b[name], rel=1e-9), name
        else:
            assert a == b, key
    for one, other in zip(node["answers"], in_process["answers"], strict=True):
        assert one.keys() == other.keys()
        for key in one:
            if isinstance(one[key], float) and not timed.search(key):
                # Sums of other threads, as above; the confidence is sent as float32.
                assert one[key] == pytest.approx(other[key], rel=1e-6), key
            elif not timed.search(key):
                assert one[key] == other[key], key


def test_the_demo_through_the_real_node(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    real_runtime: RealRuntime,
) -> None:
    check_the_demo(tmp_path, capsys, monkeypatch, real_runtime)


@pytest.mark.slow
def test_the_demo_through_other_runtimes(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    other_runtime: RealRuntime,
) -> None:
    """Quickly, a window of each goes through the node in `tests/ros/test_process.py`."""
    check_the_demo(tmp_path, capsys, monkeypatch, other_runtime)


def check_the_demo(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    runtime: RealRuntime,
) -> None:
    """The first second and a half of the demo, through the node and without it."""
    # Sums in another order, by other threads, would tip the map's close decisions.
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
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
        "--fail-if", "scenes<1", "--fail-if", "pictures>13", *runtime.options,
    )  # fmt: skip
    said = capsys.readouterr()
    assert code == 1
    assert said.err == "FAILED pictures>13: pictures is 14\n"
    assert str(out / "report.html") in said.out

    check_the_numbers(document, BagRecording(DEMO).info.stamps_ns[first["at"]["frame"]])
    assert set(SECTIONS) <= Page((out / "report.html").read_text()).ids
    check_what_was_recorded(out, document)
    if runtime.name != "auto":
        assert document["node"]["runtime"] == runtime.name
    alone = tmp_path / "alone"
    subprocess.run(  # a process of its own: threads are counted when it starts
        [
            sys.executable, "-m", "g2vlm_model.cli", "replay", str(DEMO), "--out", str(alone),
            "--rate", "0", "--quiet", "--limit", "14", "--questions", str(tmp_path / "q.json"),
            "--in-process", *runtime.options,
        ],
        check=True,
        timeout=300,
    )  # fmt: skip
    assert_alike(document, json.loads((alone / "metrics.json").read_text()))
    assert_same_cloud(alone / "cloud.ply", out / "cloud.ply")
    lines = (out / "trajectory.tum").read_text().splitlines()
    poses = [line for line in lines if not line.startswith("#")]
    assert len(poses) == document["metrics"]["keyframes"]
    assert (out / "cloud.ply").read_bytes().startswith(b"ply\n")


def check_the_numbers(document: dict[str, Any], asked_ns: int) -> None:
    """What metrics.json tells of fourteen frames, and of two questions about one of them."""
    metrics = document["metrics"]
    assert set(metrics) == set(METRICS)
    assert metrics["pictures"] == metrics["frames_received"] == 14
    assert metrics["scenes"] >= 4
    assert metrics["frames_used"] + metrics["frames_dropped"] == 14
    assert document["drops"].get("superseded", 0) == 0  # lock-step: nothing is overtaken
    assert document["replay"]["stalled_pictures"] == 0
    assert document["node"]["model_id"].startswith("nano@")
    assert document["node"]["is_metric"] is False
    for name in ("abs_rel", "ate_m", "rpe_rot_deg", "latency_p50_ms", "answer_p50_ms"):
        assert metrics[name] > 0
    for name in ("abs_rel", "delta_125", "ate_m", "rpe_rot_deg"):
        assert document["baselines"][name]
    asked = document["answers"]
    assert [answer["status"] for answer in asked] == [asked[0]["status"]] * 2
    assert asked[0]["status"] in {"OK", "TRUNCATED"}
    assert asked[0]["scene_stamp_ns"] == asked_ns


def check_what_was_recorded(out: Path, document: dict[str, Any]) -> None:
    """The node's topics in the bag are those that its numbers tell of."""
    with AnyReader([out / "recorded"]) as reader:
        counts = {item.topic: item.msgcount for item in reader.connections}
        (status,) = (item for item in reader.connections if item.topic == "/g2vlm/status")
        _, _, raw = next(reader.messages(connections=[status]))
        decoded: Any = reader.deserialize(raw, status.msgtype)
        assert decoded.runtime == document["node"]["runtime"]
    for topic in ("points", "depth/image", "depth/camera_info", "pose"):
        published = [counts.get(f"/g2vlm/{prefix}{topic}", 0) for prefix in ("", "up_to_scale/")]
        assert sum(published) == document["metrics"]["scenes"]
    assert counts["/g2vlm/answers"] == 2


@pytest.mark.slow
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


class Slow(ScriptedRuntime):
    """A runtime whose pass takes longer than any pause in the node's words."""

    def observe(
        self, window: FrameWindow, *, cancelled: Callable[[], bool] | None = None
    ) -> InstantScene:
        time.sleep(1.5 * IDLE_SECONDS)
        return super().observe(window, cancelled=cancelled)


def slow(**asked: str) -> ScriptedRuntime:
    """For --runtime."""
    return Slow()


@pytest.mark.slow
def test_lockstep_waits_for_a_slow_pass(tmp_path: Path) -> None:
    write_plain_bag(tmp_path / "bag", mcap=True, count=5)
    code, document = replay(
        tmp_path / "bag", tmp_path / "out", "--param", "keyframe.min_motion=0.0",
        "--runtime", "tests.replay.test_end_to_end:slow",
    )  # fmt: skip
    assert code == 0
    assert document["metrics"]["scenes"] == 4  # the first one needs two frames
    assert document["metrics"]["latency_p50_ms"] < 2 * 1.5e3 * IDLE_SECONDS  # none has waited


@pytest.mark.slow
def test_short_segments_are_told_apart(tmp_path: Path) -> None:
    """Several segments within one period of the path and the status.

    Quickly: `test_in_process.py` counts the same ones, and `tests/ros/test_outputs.py` ties the
    poses that a node publishes to their segments.
    """
    write_places_bag(tmp_path / "bag")
    out = tmp_path / "out"
    code = main([str(tmp_path / "bag"), "--out", str(out), "--rate", "0", "--quiet",
                 "--param", "status.period_s=5.0",
                 "--runtime", "tests.ros.scripted_runtime:create"])  # fmt: skip
    assert code == 0
    document = json.loads((out / "metrics.json").read_text())
    lengths = [segment["poses"] for segment in document["segments"]]
    assert len(lengths) == 5, lengths
    assert set(lengths) <= {3, 4}, lengths


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
