# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The command: exit codes and words for everything that can be wrong with its input."""

from __future__ import annotations

import fcntl
import os
import re
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import rclpy
from g2vlm_replay import main
from g2vlm_replay.domain import ReservedDomain
from g2vlm_replay.errors import NodeFailedError, ReplayInputError
from g2vlm_replay.node.bag_writer import BagWriter
from g2vlm_replay.node.conversions import messages_of, topics_of
from g2vlm_replay.node.process import (
    NodeProcess,
    node_command,
    node_environment,
)
from g2vlm_replay.run import RECORDED, _clean, long_pause
from g2vlm_replay.run_options import ModelOptions, parameters_of, parse_parameter
from rosbags.highlevel import AnyReader

from g2vlm_map.recordings import RecordingInfo, open_recording
from g2vlm_map.recordings.source import CAMERA_INFO, COMPRESSED
from g2vlm_ros.shipped import PROFILE_FILE, shipped_file
from tests.helpers import wait_for
from tests.replay.bags import NS, jpeg, pattern, write_plain_bag

INFO = RecordingInfo(
    Path("x"), "bag", "/cam/image", COMPRESSED, "/cam/info", "optical", (1, 2), (1, 2), (48, 64)
)


@pytest.fixture
def bag(tmp_path: Path) -> Path:
    write_plain_bag(tmp_path / "bag", mcap=True)
    return tmp_path / "bag"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--fail-if", "absrel>1"], "did you mean abs_rel"),
        (["--fail-if", "abs_rel"], "is no condition"),
        (["--rate", "-1"], "--rate is -1"),
        (["--rate", "nan"], "--rate is nan"),
        (["--rate", "inf"], "--rate is inf"),
        (["--start-timeout", "nan"], "--start-timeout is nan"),
        (["--question-timeout", "-5"], "--question-timeout is -5"),
        (["--cloud-confidence", "2"], "--cloud-confidence is 2"),
        (["--param", "novalue"], "expected NAME=VALUE"),
        (["--params", "missing.yaml"], "--params missing.yaml: there is nothing of that name"),
        (["--questions", "missing.json"], "missing.json: there is nothing of that name"),
        (["--image-topic", "/nope"], "no image topic"),
        (["--truth-pose-topic", "/nope"], "carries no poses"),
    ],
)
def test_wrong_arguments(
    bag: Path,
    tmp_path: Path,
    arguments: list[str],
    says: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([str(bag), "--out", str(tmp_path / "out"), "--quiet", *arguments]) == 2
    assert says in capsys.readouterr().err


def test_wrong_sources(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.txt").write_text("text")
    (tmp_path / "a.bag").write_text("ROS 1")
    for name, says in (
        ("missing", "does not exist"),
        ("empty", "holds no frame"),
        ("a.txt", "is no bag"),
        ("a.bag", "rosbag reindex"),
    ):
        assert main([str(tmp_path / name), "--out", str(tmp_path / "out")]) == 2
        assert says in capsys.readouterr().err


def test_out_that_cannot_be_written(
    bag: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("here already")
    assert main([str(bag), "--out", str(tmp_path / "file"), "--quiet"]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_out_that_takes_no_file(bag: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A place that forbids new files even to root, as a read-only mount does."""
    assert main([str(bag), "--out", "/proc/self", "--quiet"]) == 2
    assert "--out /proc/self cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize("part", ["", "recorded.mcap"])
def test_a_recording_is_not_replayed_onto_itself(
    part: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded = tmp_path / "recorded"
    write_plain_bag(recorded, mcap=True)
    before = {file.name: file.read_bytes() for file in recorded.iterdir()}
    assert main([str(recorded / part), "--out", str(tmp_path), "--quiet"]) == 2
    assert "would delete" in capsys.readouterr().err
    assert {file.name: file.read_bytes() for file in recorded.iterdir()} == before


@pytest.mark.parametrize(
    ("mine", "says"),
    [
        ("recorded/ride_0.mcap", "recorded holds ride_0.mcap"),
        ("report.html/page.html", "report.html is a folder"),
        ("cloud.ply/cloud.ply", "cloud.ply is a folder"),
        ("recorded", "recorded is a file"),
    ],
)
def test_files_of_others_in_out_stay(
    mine: str, says: str, bag: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [tmp_path / "out" / name for name in ("node.log", "metrics.json", mine)]
    for file in files:  # the first two are a replay's, and stay as long as the third does
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"here already")
    assert main([str(bag), "--out", str(tmp_path / "out"), "--quiet"]) == 2
    assert f"{says}, which no replay wrote" in capsys.readouterr().err
    assert [file.read_bytes() for file in files] == [b"here already"] * 3


def test_what_a_replay_leaves_that_was_killed_is_cleaned(bag: Path, tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    def killed(self: Path, target: object) -> None:
        raise Killed

    out = tmp_path / "out"
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Path, "replace", killed)
        with BagWriter(out / RECORDED):
            pass
    left = [file.name for file in (out / RECORDED).iterdir()]
    assert "metadata.yaml" not in left
    assert len(left) > 1
    _clean(out, bag)
    assert list(out.iterdir()) == []


def test_a_long_pause_is_announced() -> None:
    times_ns = (0, NS, 3601 * NS, 3602 * NS)
    assert "pauses for 3600 s after frame 1," in long_pause(times_ns, 1.0)
    assert long_pause(times_ns, 0.0) == long_pause(times_ns, 200.0) == long_pause((5,), 1.0) == ""


def test_two_replays_do_not_share_a_folder(
    bag: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(bag), "--out", str(tmp_path), "--quiet", "--params", "missing.yaml"]
    folder = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)  # as another replay holds it
    (tmp_path / "metrics.json").write_text("the other's")
    assert main(arguments) == 2
    assert "another replay writes there" in capsys.readouterr().err
    assert (tmp_path / "metrics.json").read_text() == "the other's"
    os.close(folder)
    assert main(arguments) == 2
    assert "missing.yaml: there is nothing of that name" in capsys.readouterr().err


def test_missing_interfaces_are_named(
    bag: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in [name for name in sys.modules if name.startswith("g2vlm_replay.node")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "g2vlm_interfaces.msg", None)
    assert main([str(bag), "--out", str(tmp_path / "out"), "--quiet"]) == 2
    assert "g2vlm_interfaces of ROS 2 is missing: source an installation" in capsys.readouterr().err


def test_usage_error_is_two(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main([])
    assert exit_info.value.code == 2
    assert "--out" in capsys.readouterr().err


def test_what_the_node_refuses_is_its_line(
    bag: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main([str(bag), "--out", str(out), "--quiet", "--device", "cuda:64"]) == 2
    said = capsys.readouterr().err.strip()
    assert said.startswith("g2vlm replay: the node cannot configure: device is 'cuda:64', but ")
    assert len(said.splitlines()) == 1
    assert not (out / "report.html").exists()


def test_a_node_that_never_becomes_active(
    bag: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--param", "autostart=false", "--start-timeout", "6"]
    code = main([str(bag), "--out", str(tmp_path / "out"), "--quiet", *arguments])
    said = capsys.readouterr().err
    assert code == 3
    # "not answering": on a loaded machine its process may still be starting.
    assert re.search(r"was not ready after 6 s; its state: (unconfigured|not answering)\.", said)


def test_texts_reach_the_node_as_they_are() -> None:
    """Read back by rcl's own parser: quotes and backslashes in a folder's name are ordinary."""
    text = r"/data/it's \ new: #1"
    (shown,) = (
        word.split(":model:=", 1)[1]
        for word in node_command(ModelOptions(model=text), INFO)
        if ":model:=" in word
    )
    context = rclpy.Context()
    rclpy.init(context=context, args=["--ros-args", "-p", f"model:={shown}"])
    node = rclpy.create_node("reader", context=context)
    try:
        assert node.declare_parameter("model", "").value == text
    finally:
        node.destroy_node()
        rclpy.shutdown(context=context)


def test_what_is_reported_does_not_depend_on_a_measurement(tmp_path: Path) -> None:
    def runtime(options: ModelOptions) -> list[str]:
        words = node_command(options, INFO)
        return [word for word in words if word.startswith("g2vlm:runtime:=")]

    says, silent = tmp_path / "says.yaml", tmp_path / "silent.yaml"
    says.write_text("/**:\n  ros__parameters:\n    runtime: onnx\n")
    silent.write_text("g2vlm:\n  ros__parameters:\n    frames: {base: base_link}\n")
    assert runtime(ModelOptions()) == ["g2vlm:runtime:='torch'"]
    assert runtime(ModelOptions(params_file=says)) == []  # as the file says
    assert runtime(ModelOptions(params_file=silent)) == ["g2vlm:runtime:='torch'"]
    for file in (says, silent):  # and the same without the node
        command = runtime(ModelOptions(params_file=file))
        expected = "torch" if command else "onnx"
        assert parameters_of(ModelOptions(params_file=file)).runtime == expected
    assert runtime(ModelOptions(runtime="onnx")) == ["g2vlm:runtime:='onnx'"]
    assert runtime(ModelOptions(runtime="auto", params_file=says)) == ["g2vlm:runtime:='auto'"]
    assert runtime(ModelOptions(parameters={"runtime": "auto"})) == ["g2vlm:runtime:='auto'"]


def test_parameters_of_the_node(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text("g2vlm:\n  ros__parameters:\n    points.decimation: 3\n")
    options = ModelOptions(
        model="nano", params_file=file, parameters={"window.size": 6}, lockstep=True
    )
    command = node_command(options, INFO)
    words = " ".join(command)
    assert "-m g2vlm_ros.node --ros-args" in words
    assert f"--params-file {file}" in words
    for expected in (
        "use_sim_time:=true",
        "autostart:=true",
        "camera.image_topic:='/cam/image'",
        "camera.camera_info_topic:='/cam/info'",
        "camera.image_transport:='compressed'",
        "model:='nano'",
        "window.size:=6",
        "status.period_s:=0.1",
    ):
        assert f"g2vlm:{expected}" in command
    assert "/cam/image/compressed:=/cam/image" in command  # a recording may name it as it likes


@pytest.mark.parametrize(
    ("text", "value"),
    [("a=1", 1), ("a.b=0.5", 0.5), ("a=true", True), ("a=text", "text"), ("a='1'", "1")],
)
def test_parameter_values(text: str, value: object) -> None:
    name, parsed = parse_parameter(text)
    assert parsed == value
    assert type(parsed) is type(value)
    assert name in {"a", "a.b"}


@pytest.mark.parametrize("text", ["", "a", "=1", "a=[1", "a={}", "a=[1]"])
def test_bad_parameters(text: str) -> None:
    with pytest.raises(ReplayInputError, match="NAME=VALUE"):
        parse_parameter(text)


def test_environment_of_the_node() -> None:
    environment = node_environment(42)
    assert environment["ROS_DOMAIN_ID"] == "42"
    assert environment["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST"
    assert environment["MALLOC_MMAP_THRESHOLD_"] == "1073741824"
    profile = shipped_file(PROFILE_FILE)
    assert profile is not None
    assert environment["FASTDDS_DEFAULT_PROFILES_FILE"] == str(profile)


@pytest.mark.parametrize(("old", "new"), [("backend", "runtime"), ("engines", "export")])
def test_an_option_of_an_earlier_version_is_refused_with_its_new_name(
    bag: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], old: str, new: str
) -> None:
    assert main([str(bag), "--out", str(tmp_path / "out"), f"--{old}", "given"]) == 2
    assert f"--{old} is called --{new} now; give --{new} given" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_param_wins_over_the_file(bag: Path, tmp_path: Path) -> None:
    """A section with the node's own name is the most specific that a file can have."""
    file = tmp_path / "p.yaml"
    file.write_text(
        "g2vlm:\n  ros__parameters:\n    autostart: false\n    window.size: 3\n"
        "    points.decimation: 3\n"
    )
    arguments = ["--params", str(file), "--param", "window.size=4", "--rate", "0", "--quiet"]
    arguments += ["--runtime", "tests.replay.test_cli:scripted"]
    assert main([str(bag), "--out", str(tmp_path / "out"), *arguments]) == 0
    with AnyReader([tmp_path / "out" / "recorded"]) as reader:
        largest = 0
        for connection, _, raw in reader.messages():
            message: Any = reader.deserialize(raw, connection.msgtype)
            if connection.topic == "/g2vlm/status":
                largest = max(largest, message.keyframes)
            if connection.topic == "/g2vlm/up_to_scale/points":
                assert message.width < 24 * 32 / 4  # decimation by 3 from the file
    assert largest == 4


def scripted(**asked: str) -> Any:
    """A third-party runtime, loaded by name in the node."""
    from tests.ros.scripted_runtime import create

    return create(**asked)


def test_a_killed_process_is_reported_and_stop_is_final(tmp_path: Path) -> None:
    options = ModelOptions(runtime="tests.ros.scripted_runtime:create")
    with (
        ReservedDomain() as domain,
        NodeProcess(options, INFO, domain.number, tmp_path / "log") as process,
    ):
        process.check_alive()
        os.kill(process.pid, 9)
        wait_for(lambda: not Path(f"/proc/{process.pid}/exe").exists(), 10.0, what="its end")
        with pytest.raises(NodeFailedError, match="by signal SIGKILL"):
            wait_for(lambda: process.check_alive(), 5.0)
    process.stop()


def test_a_limit_cuts_a_bag(bag: Path) -> None:
    limited = open_recording(bag, limit=2)
    assert len(limited.info.stamps_ns) == 2
    assert [message.frame for message in messages_of(limited) if message.frame >= 0] == [0, 1]


def test_a_folder_becomes_messages(tmp_path: Path) -> None:
    """Files travel as they are, each with the CameraInfo that the folder knows."""
    (tmp_path / "1.jpg").write_bytes(jpeg(pattern(1)))
    (tmp_path / "2.jpg").write_bytes(jpeg(pattern(2)))
    np.savetxt(tmp_path / "camera-intrinsics.txt", [[50, 0, 32], [0, 50, 24], [0, 0, 1]])
    recording = open_recording(tmp_path, fps=5.0)
    assert topics_of(recording) == {
        "/camera/image_raw": COMPRESSED,
        "/camera/camera_info": CAMERA_INFO,
    }
    info, first, _, second = (item.content for item in messages_of(recording))
    assert (info.width, info.height, info.k[0], info.p[2]) == (64, 48, 50.0, 32.0)
    assert (first.format, bytes(first.data)) == ("jpeg", jpeg(pattern(1)))
    assert second.header.stamp.sec * NS + second.header.stamp.nanosec == NS + NS // 5
    assert second.header.frame_id == info.header.frame_id == recording.info.frame_id


def test_other_formats_travel_as_rgb8(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.bmp"), pattern(3)[..., ::-1])
    (message,) = messages_of(open_recording(tmp_path))
    image = message.content
    assert (image.encoding, image.height, image.width, image.step) == ("rgb8", 48, 64, 64 * 3)
    np.testing.assert_array_equal(np.array(image.data).reshape(48, 64, 3), pattern(3))
