# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The pipeline driven without ROS: the same numbers, every frame offered, every run alike."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from g2vlm_replay import main
from g2vlm_replay.errors import ReplayInputError
from g2vlm_replay.node.bag_writer import BagWriter
from g2vlm_replay.run_options import ModelOptions, parameters_of

from benchmarks.instant_runtime import InstantScene
from g2vlm_map.mapping.store import load_map
from g2vlm_map.recordings import open_recording
from g2vlm_map.recordings.folder import FolderRecording
from g2vlm_model.interface import BuildProgress, FrameWindow
from tests.helpers import REPO
from tests.real_runtime import RealRuntime
from tests.replay.bags import NS, Scribe, jpeg, pattern, png, write_places_bag, write_plain_bag
from tests.replay.test_report import SECTIONS, Page
from tests.ros.scripted_runtime import ScriptedRuntime

SCRIPTED = ("--runtime", "tests.ros.scripted_runtime:create")
ROS = (
    "rclpy",
    "g2vlm_interfaces",
    "sensor_msgs",
    "std_msgs",
    "builtin_interfaces",
    "rosgraph_msgs",
)


def run(source: Path, out: Path, *arguments: str, rate: str = "0") -> tuple[int, dict[str, Any]]:
    """Run the command without ROS; its exit code and metrics.json."""
    words = [str(source), "--out", str(out), "--rate", rate, "--quiet", "--in-process"]
    code = main([*words, *arguments])
    metrics = out / "metrics.json"
    return code, json.loads(metrics.read_text()) if metrics.exists() else {}


@pytest.fixture
def bag(tmp_path: Path) -> Path:
    write_plain_bag(tmp_path / "bag", mcap=True, count=6)
    return tmp_path / "bag"


def test_two_runs_are_the_same_and_offer_every_frame(bag: Path, tmp_path: Path) -> None:
    runs = []
    for name in ("a", "b"):
        code, document = run(bag, tmp_path / name, *SCRIPTED)
        assert code == 0
        runs.append(document["metrics"])
    timeless = [
        {
            key: value
            for key, value in run.items()
            if not key.endswith(("_ms", "_s", "mib", "cores"))
        }
        for run in runs
    ]
    assert timeless[0] == timeless[1]
    assert runs[0]["frames_received"] == runs[0]["pictures"] == 6
    assert runs[0]["scenes"] == 5  # the first one needs two frames
    assert runs[0]["abs_rel"] == pytest.approx(0.0, abs=1e-6)  # a wall, as the bag says
    for file in ("cloud.ply", "trajectory.tum"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    assert not {"node.log", "recorded"} & {path.name for path in (tmp_path / "a").iterdir()}


def test_it_needs_no_ros(tmp_path: Path) -> None:
    """A folder on a machine without rclpy, messages and rosbags: report, numbers, answers."""
    frames = tmp_path / "frames"
    frames.mkdir()
    for index in range(4):
        (frames / f"{index}.jpg").write_bytes(jpeg(pattern(index)))
    (tmp_path / "q.json").write_text('[{"question": "How far is the wall?", "at": {"frame": 2}}]')
    out = tmp_path / "out"
    words = [str(frames), "--out", str(out), "--rate", "0", "--in-process", "--quiet", *SCRIPTED]
    words += ["--questions", str(tmp_path / "q.json")]
    code = (
        "import sys\n"
        f"for name in {(*ROS, 'rosbags')!r}: sys.modules[name] = None\n"
        "from g2vlm_replay import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, cwd=REPO
    )
    assert done.returncode == 0, done.stderr
    document = json.loads((out / "metrics.json").read_text())
    assert document["metrics"]["scenes"] == 3
    assert document["answers"][0]["status"] == "OK"
    page = Page((out / "report.html").read_text())
    assert set(SECTIONS) <= page.ids


def test_without_ros_the_nodes_way_names_the_other_one(
    bag: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("g2vlm_replay.node")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "rclpy", None)
    assert main([str(bag), "--out", str(tmp_path / "out"), "--quiet"]) == 2
    assert "give --in-process, which needs no ROS" in capsys.readouterr().err


def test_a_missing_library_is_named(
    bag: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("run", "report", "charts", "scoring", "pose_metrics"):
        monkeypatch.delitem(sys.modules, f"g2vlm_replay.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "evo.core", None)
    assert main([str(bag), "--out", str(tmp_path / "out"), "--in-process", "--quiet"]) == 2
    said = capsys.readouterr().err
    assert "evo" in said
    assert "pip install 'g2vlm_ros[replay]'" in said


def test_in_the_recorded_rhythm(bag: Path, tmp_path: Path) -> None:
    code, document = run(bag, tmp_path / "out", *SCRIPTED, rate="5")
    assert code == 0
    assert document["metrics"]["frames_received"] == 6
    assert document["metrics"]["scenes"] >= 1
    assert document["metrics"]["wall_s"] >= 0.1  # five gaps of 0.1 s at five times the speed
    assert document["replay"]["late_ms_max"] is not None


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--param", "window.size=1"], 2, "window.size is 1, expected 2..64"),
        (["--param", "window.sise=6"], 2, "window.sise is no parameter of this node"),
        (["--param", "backend=torch"], 2, "backend is called runtime now"),
        (["--param", "tf.publish=false"], 2, "tf.publish says nothing here: only the node goes by"),
        (["--params", "missing.yaml"], 2, "missing.yaml: there is nothing of that name"),
        (["--model", "no_model"], 2, "the model cannot be loaded: "),
        (["--device", "cuda:64"], 2, "the model cannot be loaded: device is 'cuda:64', but "),
        (["--runtime", "tests.replay.test_in_process:broken"], 3, "cannot be loaded: out of order"),
    ],
)
def test_what_is_wrong_is_one_line(
    bag: Path, tmp_path: Path, arguments: list[str], code: int, says: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert run(bag, tmp_path / "out", *arguments)[0] == code
    said = capsys.readouterr().err.strip()
    assert says in said
    assert len(said.splitlines()) == 1


def test_a_cameras_place_is_that_of_the_parameter(bag: Path, tmp_path: Path) -> None:
    place = (1.0, 2.0, 3.0, -0.5, 0.5, -0.5, 0.5)
    words = ["--param", f"camera.extrinsics={' '.join(map(str, place))}"]
    assert run(bag, tmp_path / "out", *SCRIPTED, *words)[0] == 0
    world = load_map(tmp_path / "out" / "map.g2map").world
    assert world.T_base_body is not None
    np.testing.assert_allclose(world.T_base_body[:3, 3], place[:3])


def broken(**asked: str) -> ScriptedRuntime:
    """A runtime that cannot be loaded."""
    raise RuntimeError("out of\n order")


def test_parameter_files_are_read_as_ros_reads_them(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(
        "/**:\n  ros__parameters:\n    window: {size: 3, overlap: 1}\n    runtime: onnx\n"
        "    use_sim_time: true\n"
        "g2vlm:\n  ros__parameters:\n    window.size: 4\n"
        "other:\n  ros__parameters:\n    window.size: 9\n"
    )
    params = parameters_of(ModelOptions(params_file=file, parameters={"window.overlap": 2}))
    assert (params.window.size, params.window.overlap, params.runtime) == (4, 2, "onnx")
    assert parameters_of(ModelOptions()).runtime == "torch"
    assert parameters_of(ModelOptions(lockstep=True)).images.timeout_s == 3600.0


def test_names_for_all_nodes_that_this_one_lacks_are_left_out_as_the_node_does(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(
        "/**:\n  ros__parameters: {lidar.range: 5.0, depth.source: fused, left.depth_topic: /d}\n"
        "robot1: {other: {ros__parameters: {window.size: 9}}}\n"
    )
    options = ModelOptions(params_file=file)
    assert parameters_of(options).depth.source == "fused"
    assert "meant for other nodes: left.depth_topic, lidar.range" in caplog.text
    assert parameters_of(options, ("left",)).topics[0].depth_topic == "/d"
    file.write_text("g2vlm:\n  ros__parameters: {lidar.range: 5.0}\n")
    with pytest.raises(ReplayInputError, match=r"lidar\.range is no parameter"):
        parameters_of(ModelOptions(params_file=file))


def test_a_file_that_holds_no_parameters(
    bag: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, text in enumerate(("[1]", "a: 1", "a: {", "\xff")):
        file = tmp_path / f"{number}.yaml"
        file.write_text(text, encoding="latin-1")
        assert run(bag, tmp_path / "out", "--params", str(file))[0] == 2
        assert "is no ROS parameter file" in capsys.readouterr().err


class Building(ScriptedRuntime):
    """A runtime that is built when it was asked eight times how far that is."""

    asked = 0

    def __getattribute__(self, name: str) -> Any:
        value = super().__getattribute__(name)
        if name != "info" or self.asked >= 8:
            return value
        self.asked += 1
        return replace(value, building=BuildProgress("wall", "compiling", self.asked / 9))

    def observe(
        self, window: FrameWindow, *, cancelled: Callable[[], bool] | None = None
    ) -> InstantScene:
        assert self.asked == 8, "a frame came before the build was over"
        return super().observe(window, cancelled=cancelled)


def building(**asked: str) -> ScriptedRuntime:
    """For --runtime."""
    return Building()


def test_frames_wait_for_the_build(bag: Path, tmp_path: Path) -> None:
    runtime = "tests.replay.test_in_process:building"
    code, document = run(bag, tmp_path / "out", "--runtime", runtime)
    assert code == 0
    assert document["metrics"]["scenes"] == 5
    assert document["metrics"]["frames_received"] == 6


def test_short_segments_are_told_apart(tmp_path: Path) -> None:
    write_places_bag(tmp_path / "bag")
    code, document = run(tmp_path / "bag", tmp_path / "out")
    assert code == 0
    lengths = [segment["poses"] for segment in document["segments"]]
    assert len(lengths) == 5, lengths
    assert document["metrics"]["scenes"] <= sum(lengths) <= 20
    assert set(lengths) <= {3, 4}, lengths


def test_a_stamp_that_comes_twice(tmp_path: Path) -> None:
    """The scene belongs to the first frame of a stamp, so does its latency."""
    with BagWriter(tmp_path / "bag") as writer:
        scribe = Scribe(writer)
        for i in range(8):
            scribe.image("/camera/image", (10 + i // 2) * NS, pattern(i), "rgb8")
    code, document = run(tmp_path / "bag", tmp_path / "out", *SCRIPTED)
    assert code == 0
    assert document["drops"]["out_of_order"] == 3  # the last one may be the start of a new round
    assert document["metrics"]["scenes"] >= 1
    assert document["metrics"]["latency_p50_ms"] > 0


def test_a_replay_without_scenes_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with BagWriter(tmp_path / "bag") as writer:
        scribe = Scribe(writer)
        for i in range(3):
            scribe.image("/camera/image", 10 * NS + i * NS // 20, pattern(0), "rgb8")
    code, document = run(tmp_path / "bag", tmp_path / "out", *SCRIPTED)
    said = capsys.readouterr().out
    assert (code, document["metrics"]["scenes"]) == (2, 0)
    assert "Nothing came out: dropped 2 not_keyframe" in said
    assert not (tmp_path / "out" / "cloud.ply").exists()
    assert "cloud.ply" not in said


def test_what_is_left_out_is_counted_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(6):
        (folder / f"IMG_{i}.JPG").write_bytes(jpeg(pattern(i)))
        (folder / f"IMG_{i}b.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    (folder / "IMG_9.JPG").symlink_to(tmp_path / "gone")
    code, document = run(folder, tmp_path / "out", *SCRIPTED)
    said = capsys.readouterr().out
    assert code == 0
    assert "Left out of the recording: 7\n    IMG_0b.HEIC: is HEIC, which is not read" in said
    assert "... 2 more in metrics.json" in said
    left_out = document["input"]["left_out"]
    assert len(left_out) == 7
    assert left_out[-1] == "IMG_9.JPG: is no file: a broken link, a pipe or a socket"


def test_a_corrupt_frame_is_refused_and_counted(bag: Path, tmp_path: Path) -> None:
    with BagWriter(tmp_path / "cut") as writer:
        scribe = Scribe(writer)
        for frame in open_recording(bag).frames():
            payload = bytes(frame.load().data)
            scribe.compressed(
                "/image", frame.stamp_ns, payload[:40] if frame.index == 3 else payload
            )
    code, document = run(tmp_path / "cut", tmp_path / "out", *SCRIPTED)
    assert code == 0
    assert document["metrics"]["frames_refused"] == 1
    assert document["metrics"]["frames_received"] == 6


def test_a_corrupt_true_depth_costs_only_itself(bag: Path, tmp_path: Path) -> None:
    with BagWriter(tmp_path / "cut") as writer:
        scribe = Scribe(writer)
        for frame in open_recording(bag).frames():
            scribe.compressed("/image", frame.stamp_ns, bytes(frame.load().data))
            depth = png(np.full((48, 64), 1000 + frame.index, np.uint16))
            cut = depth[:40] if frame.index % 2 else depth
            scribe.compressed("/depth/compressed", frame.stamp_ns, cut, "16UC1; png")
    code, document = run(tmp_path / "cut", tmp_path / "out", *SCRIPTED)
    assert code == 0
    assert document["metrics"]["depth_frames"] >= 1
    assert document["metrics"]["depth_frames"] < document["metrics"]["scenes"]
    assert any("true depth maps cannot be read" in note for note in document["notes"])


def test_arkitscenes_as_a_folder(
    tmp_path: Path, data_folder: Path, real_runtime: RealRuntime
) -> None:
    folder = data_folder / "arkitscenes"
    if not folder.is_dir():
        pytest.skip(f"{folder} is missing")
    code, document = run(folder, tmp_path / "out", "--limit", "10", "--fail-if", "abs_rel>9",
                            *real_runtime.options)  # fmt: skip
    assert code == 1  # no depth to compare with: the guard must not pass
    metrics = document["metrics"]
    assert metrics["frames_received"] == 10
    assert metrics["scenes"] >= 3
    assert metrics["abs_rel"] is None
    assert any("K is unknown" in note for note in document["input"]["notes"])
    assert set(SECTIONS) <= Page((tmp_path / "out" / "report.html").read_text()).ids


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
    code, document = run(tmp_path / "bag", tmp_path / "out", *real_runtime.options)
    assert code == 0
    metrics = document["metrics"]
    assert document["input"]["kind"] == "sqlite3 bag"
    assert metrics["frames_received"] == count
    assert metrics["frames_refused"] == 0
    assert metrics["scenes"] >= 5
    assert 0 < metrics["abs_rel"] < 2
    scored = [row["abs_rel"] for row in document["scenes"] if "abs_rel" in row]
    assert np.mean(scored) == pytest.approx(metrics["abs_rel"])
    off = np.array([r["position_error_m"] for r in document["scenes"] if "position_error_m" in r])
    assert np.sqrt(np.mean(off**2)) == pytest.approx(metrics["ate_m"])
    assert any("/ground_truth/pose" in note for note in document["notes"])
    # A baseline that does not depend on the model: the camera really moves.
    assert 0.01 < document["baselines"]["ate_m"]["identity"] < 1.0
    first_s = (source.info.stamps_ns[0]) / NS
    assert document["segments"][0]["first_stamp_ns"] / NS >= first_s
