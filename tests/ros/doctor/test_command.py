# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""`g2vlm doctor` on bags: what it prints, and with which exit code."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from g2vlm_replay.node.bag_writer import BagWriter
from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from g2vlm_ros.doctor.command import main
from tests.helpers import REPO
from tests.replay.bags import NS, Scribe, pattern, translation

DRIVE = str(REPO / "demo" / "drive.mcap")
ROBOT = ("--params", str(REPO / "launch" / "simulated.yaml"))
START = 1_000 * NS
Write = Callable[[Scribe], object]


def bag(path: Path, write: Write) -> str:
    with BagWriter(path) as writer:
        write(Scribe(writer))
    return str(path)


def camera(scribe: Scribe, steps: tuple[int, ...] = tuple(range(12)), info: bool = True) -> None:
    for number, step in enumerate(steps):
        time_ns = START + number * NS // 10
        stamp = START + step * NS // 10
        scribe.image("/camera/image_raw", stamp, pattern(number), "rgb8")
        if info:
            scribe.info("/camera/camera_info", time_ns, (48, 64))


def slashes(scribe: Scribe) -> None:
    camera(scribe)
    scribe.tf("/tf_static", START, "/base", "camera_optical", translation(0.1))


def escape(scribe: Scribe) -> None:
    camera(scribe)
    for number in range(12):
        scribe.scan("/scan", START + number * NS // 10, "las\x1b[31mer", np.ones(3))


def junk(scribe: Scribe) -> None:
    """Bytes that are no messages of the types that they claim to be."""
    for number in range(6):
        time_ns = START + number * NS // 10
        scribe.writer.write("/camera/image_raw", "sensor_msgs/msg/Image", time_ns, b"\0\1\0\0")
        scribe.writer.write("/tf", "tf2_msgs/msg/TFMessage", time_ns, b"\0\1\0\0\xff\xff\xff")


def test_bytes_that_are_no_messages_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([bag(tmp_path / "bag", junk), "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    (item,) = document["findings"]
    assert item["code"] == "SILENT_TOPIC"
    assert "message of 4 bytes is too short for a header" in item["text"]
    assert document["source"].endswith("(6 messages of TF cannot be read)")


def test_the_shipped_drive_is_healthy(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([DRIVE, *ROBOT, "--param", "camera.image_transport=compressed"]) == 0
    out = capsys.readouterr().out
    assert "heard /camera/image_raw/compressed (CompressedImage), 5.0 Hz" in out
    assert out.rstrip().endswith("checks")


def test_findings_and_the_document(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([DRIVE, *ROBOT, "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    (item,) = document["findings"]
    assert item["code"] == "WRONG_TRANSPORT"
    assert item["mend"] == "camera.image_transport: compressed"
    assert document["healthy"] is False
    assert document["node"] is None
    assert {"published", "qos", "transforms", "rig", "runtime"} <= set(document["checks"])


@pytest.mark.parametrize(
    ("write", "words", "code"),
    [
        (camera, (), ""),
        (lambda scribe: camera(scribe, info=False), (), "NO_CAMERA_INFO"),
        (lambda scribe: camera(scribe, (0, 1, 2, 3, 4, 2, 3, 4)), (), "TIME_JUMP"),
        (slashes, ("--param", "frames.base=base"), "SLASH_FRAME"),
        (camera, ("--param", "frames.base=base"), "TF_MISSING"),
        (camera, ("--param", "camera.depth_topic=/depth"), "NOBODY_PUBLISHES"),
        (camera, ("--param", "window.sise=4"), "PARAMETERS"),
    ],
)
def test_faults_of_a_bag(
    write: Write, words: tuple[str, ...], code: str, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert main([bag(tmp_path / "bag", write), *words, "--json"]) == bool(code)
    found = json.loads(capsys.readouterr().out)["findings"]
    assert [item["code"] for item in found] == [code] * bool(code)


def test_a_bag_that_was_recorded_from_best_effort(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = get_typestore(Stores.ROS2_KILTED)
    qos = Qos(
        QosHistory.KEEP_LAST, 5, QosReliability.BEST_EFFORT, QosDurability.VOLATILE,
        QosTime(0, 0), QosTime(0, 0), QosLiveliness.AUTOMATIC, QosTime(0, 0), False,
    )  # fmt: skip
    whole = bag(tmp_path / "whole", lambda scribe: camera(scribe, info=False))
    path, kind = tmp_path / "offered", "sensor_msgs/msg/Image"
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection(
            "/camera/image_raw", kind, typestore=store, offered_qos_profiles=[qos]
        )
        for time_ns, data in _messages(whole):
            writer.write(connection, time_ns, data)
    words = (str(path), "--param", "camera.camera_info_topic=''")
    assert main([*words]) == 0
    capsys.readouterr()
    assert main([*words, "--param", "images.reliability=reliable", "--json"]) == 1
    (item,) = json.loads(capsys.readouterr().out)["findings"]
    assert item["code"] == "INCOMPATIBLE_QOS"
    assert item["mend"] == "images.reliability: best_effort"


def _messages(path: str) -> list[tuple[int, bytes]]:
    from rosbags.rosbag2 import Reader

    with Reader(path) as reader:
        return [(time_ns, bytes(data)) for _, time_ns, data in reader.messages()]


def test_names_out_of_a_bag_reach_no_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--param", "frames.base=camera_optical", "--param", "sensors.scan_topics=/scan")
    assert main([bag(tmp_path / "bag", escape), *words]) == 1
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "las\\x1b[31mer" in out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["/nowhere.mcap"], "/nowhere.mcap does not exist"),
        ([str(REPO / "setup.py")], "is no bag; expected a folder with metadata.yaml"),
        ([DRIVE, "--params", str(REPO / "setup.py")], "is no ROS parameter file"),
        ([DRIVE, "--params", "/nowhere.yaml"], "there is nothing of that name"),
        ([DRIVE, "--param", "runtime"], "expected NAME=VALUE"),
        (["--seconds", "nan"], "--seconds is nan, expected 0.1..3600"),
        (["--params", "/nowhere.yaml"], "there is nothing of that name"),
    ],
)
def test_where_it_cannot_look_it_says_so(
    words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("g2vlm doctor cannot look: ")
    assert says in captured.err
    assert captured.out == ""


def test_without_ros_bags_are_still_looked_at() -> None:
    program = (
        "import sys\n"
        "for name in ('rclpy', 'g2vlm_interfaces'): sys.modules[name] = None\n"
        "from g2vlm_ros.doctor.command import main\n"
        f"print(main([{DRIVE!r}, '--params', {ROBOT[1]!r}]), main([]))\n"
    )
    done: Any = subprocess.run(
        [sys.executable, "-c", program], cwd=REPO, capture_output=True, text=True, timeout=120
    )
    assert done.stdout.splitlines()[-1] == "1 2", done.stderr
    assert "g2vlm doctor cannot look: " in done.stderr


def test_every_code_is_documented() -> None:
    checks = "".join(
        path.read_text(encoding="utf-8")
        for path in (REPO / "g2vlm_ros" / "doctor").glob("check_*.py")
    )
    given = set(re.findall(r'"([A-Z]+_[A-Z_]+|PARAMETERS)"', checks))
    page = (REPO / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    assert len(given) > 20
    assert given <= set(re.findall(r"^#+ ([A-Z_]+)$", page, re.MULTILINE))
