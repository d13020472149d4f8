# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Bad input over the wire: refused with a reason, counted, and the node keeps working."""

from __future__ import annotations

import array
import json
import os
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
import pytest
from builtin_interfaces.msg import Time
from sensor_msgs.msg import CompressedImage, Image

from g2vlm_interfaces.msg import PixelMark
from g2vlm_interfaces.msg import SpatialAnswer as Answer
from g2vlm_interfaces.srv import SpatialQuery
from tests.helpers import REPO, wait_for
from tests.ros.graph import NS, Graph, image_message, picture

Make = Callable[..., Any]


@pytest.fixture(scope="module")
def busy(ros: None) -> Iterator[Graph]:
    """One active node that takes all the bad input of this file in turn."""
    graph = Graph(
        {"query.queue": 4, "query.timeout_s": 2.0, "images.max_pixels": 2_000_000}, "/busy"
    )
    graph.listen("status")
    graph.start()
    graph.scene()
    yield graph
    graph.close()


def raw(**fields: Any) -> Any:
    """A good 160 x 120 rgb8 picture with some fields changed."""
    message = image_message(picture(0), 1)
    for name, value in fields.items():
        setattr(message, name, value)
    return message


def zeros(count: int) -> Any:
    return array.array("B", bytes(count))


BAD_IMAGES = {
    "no data": (dict(data=zeros(0)), "bad_data"),
    "one byte short": (dict(data=zeros(160 * 120 * 3 - 1)), "bad_data"),
    "one byte long": (dict(data=zeros(160 * 120 * 3 + 1)), "bad_data"),
    "step too small": (dict(step=10), "bad_size"),
    "step zero": (dict(step=0), "bad_size"),
    "step x height overflows": (dict(step=2**31, height=2), "bad_data"),
    "zero height": (dict(height=0), "bad_size"),
    "zero width": (dict(width=0), "bad_size"),
    "one row": (dict(height=1, data=zeros(480)), "bad_size"),
    "65537 rows": (dict(height=65537), "bad_size"),
    "65537 columns": (dict(width=65537, step=3 * 65537), "bad_size"),
    "65537 both": (dict(width=65537, height=65537, step=3 * 65537), "bad_size"),
    "largest numbers": (dict(width=2**32 - 1, height=2**32 - 1, step=2**32 - 1), "bad_size"),
    "more pixels than allowed": (dict(width=2000, height=2000, step=6000), "bad_size"),
    "no encoding": (dict(encoding=""), "bad_encoding"),
    "unknown encoding": (dict(encoding="rgb9"), "bad_encoding"),
    "1 MB encoding": (dict(encoding="x" * 1_000_000), "bad_encoding"),
    "odd yuv": (dict(encoding="yuv422", width=159, step=318, data=zeros(318 * 120)), "bad_size"),
    "depth as colour": (dict(encoding="32FC1", step=640, data=zeros(640 * 120)), "bad_encoding"),
}


@pytest.mark.parametrize("name", BAD_IMAGES)
def test_malformed_picture(busy: Graph, name: str) -> None:
    fields, reason = BAD_IMAGES[name]
    message = raw(**fields)
    busy.stamp_ns += NS // 10
    message.header.stamp = Time(sec=busy.stamp_ns // NS, nanosec=busy.stamp_ns % NS)
    before = busy.board.drops[reason]
    busy.publish(message)
    busy.wait(lambda: busy.board.drops[reason] == before + 1, reason)
    wanted = f"{reason} ({before + 1} frames so far): camera: "

    def told(status: Any) -> bool:
        texts = dict(zip(status.reason_codes, status.reason_texts, strict=True))
        return str(texts.get("BAD_IMAGES", "")).startswith(wanted)

    seen = len(busy.statuses)
    status = busy.wait(lambda: next(filter(told, busy.statuses[max(0, seen - 20) :]), None), wanted)
    assert reason in status.drop_reasons
    assert all(len(text) < 1000 for text in status.reason_texts)
    busy.scene()


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"stamp": Time()}, "bad_stamp"),
        ({"stamp": Time(sec=-5)}, "bad_stamp"),
        ({"frame_id": ""}, "bad_frame_id"),
        ({"frame_id": "two words"}, "bad_frame_id"),
        ({"frame_id": "f" * 100_000}, "bad_frame_id"),
    ],
)
def test_malformed_header(busy: Graph, fields: dict[str, Any], reason: str) -> None:
    busy.stamp_ns += NS // 10
    message = image_message(picture(0), busy.stamp_ns)
    for name, value in fields.items():
        setattr(message.header, name, value)
    before = busy.board.drops[reason]
    busy.publish(message)
    busy.wait(lambda: busy.board.drops[reason] == before + 1, reason)
    busy.scene()


def jpeg(quality: int = 90) -> bytes:
    return cv2.imencode(".jpg", picture(0), [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def png(width: int = 160, height: int = 120) -> bytes:
    return cv2.imencode(".png", picture(0, height, width))[1].tobytes()


def huge_png() -> bytes:
    """A PNG whose header was made to claim 65537 x 65537 pixels; its check sum is the old one."""
    data = bytearray(png())
    data[16:24] = (65537).to_bytes(4, "big") * 2
    return bytes(data)


BAD_FILES = {
    "nothing": (b"", "bad_data"),
    "noise": (bytes(range(256)) * 8, "bad_encoding"),
    "jpeg cut in half": (jpeg()[: len(jpeg()) // 2], "bad_data"),
    "jpeg without its end": (jpeg()[:-2], "bad_data"),
    "jpeg magic only": (b"\xff\xd8\xff\xd9", "bad_data"),
    "jpeg without a frame": (b"\xff\xd8\xff\xe0\x00\x04ab\xff\xd9", "bad_data"),
    "png cut in half": (png()[: len(png()) // 2], "bad_data"),
    "png of 65537 x 65537": (huge_png(), "bad_data"),
    "gif": (b"GIF89a" + bytes(100), "bad_data"),
    "h264": (bytes.fromhex("000000016742001f") + bytes(100), "bad_encoding"),
}


def compressed(data: bytes, stamp_ns: int, format_: str = "jpeg") -> Any:
    message = CompressedImage(format=format_, data=array.array("B", data))
    message.header.stamp = Time(sec=stamp_ns // NS, nanosec=stamp_ns % NS)
    message.header.frame_id = "camera_optical"
    return message


def test_malformed_files(make_graph: Make) -> None:
    graph = make_graph(camera__image_transport="compressed")
    graph.listen("status")
    graph.start()

    def good() -> None:
        graph.stamp_ns += NS // 10
        graph.shift += 12
        rgb = picture(graph.shift)
        kind = ".png" if graph.shift % 24 else ".jpg"
        data = cv2.imencode(kind, rgb[..., ::-1])[1].tobytes()
        graph.publish(compressed(data, graph.stamp_ns))

    good()
    for name, (data, reason) in BAD_FILES.items():
        before, scenes = graph.board.drops[reason], graph.board.scenes
        graph.stamp_ns += NS // 10
        graph.publish(compressed(data, graph.stamp_ns))
        assert graph.board.drops[reason] == before + 1, name
        good()
        graph.wait(lambda scenes=scenes: graph.board.scenes > scenes, f"a scene after {name}")
    # A jpeg and a png show what was painted: a good picture comes through unharmed.
    frames = graph.runtime.windows[-1].frames[-2:]
    for frame, shift in zip(frames, (graph.shift - 12, graph.shift), strict=True):
        difference = np.abs(frame.image.astype(int) - picture(shift)).mean()
        assert difference < 3.0
    depth = compressed(png(), graph.stamp_ns + NS, "16UC1; compressedDepth png")
    graph.publish(depth)
    assert graph.board.drops["bad_encoding"] > 0


def test_two_cameras_of_different_sizes_and_one_stops(make_graph: Make) -> None:
    graph = make_graph(cameras=["left", "right"], images__timeout_s=0.5)
    graph.listen("status", "pose")
    graph.start()
    stamp_ns = 5 * NS

    def both(count: int, right: bool = True) -> None:
        nonlocal stamp_ns
        for _ in range(count):
            stamp_ns += NS // 10
            graph.shift += 12
            left = image_message(picture(graph.shift), stamp_ns, "left_optical")
            graph.publish(left, "/left/image_raw")
            if right:
                rgb = picture(graph.shift, 240, 320)
                message = image_message(rgb, stamp_ns + 5_000_000, "right_optical")
                graph.publish(message, "/right/image_raw")

    both(3)
    graph.wait(lambda: graph.board.scenes >= 2, "scenes of both")
    frames = graph.runtime.windows[-1].frames
    assert [f.camera for f in frames[:2]] == ["left", "right"]
    assert [f.image.shape for f in frames[:2]] == [(120, 160, 3), (240, 320, 3)]
    scenes = graph.board.scenes
    both(2, right=False)
    assert graph.board.scenes == scenes  # within the timeout the other is waited for
    status = graph.codes("NO_IMAGES")
    assert any("right: " in text for text in status.reason_texts)
    both(2, right=False)
    graph.wait(lambda: graph.board.scenes > scenes, "scenes of the remaining camera")
    both(2)
    status = graph.status(lambda s: "NO_IMAGES" not in s.reason_codes)
    assert status.segment == 1


QUESTIONS = {
    "empty": "",
    "blank": " \n\t ",
    "1 MB": "why " * 250_000,
    "control characters": "how far\x01\x02?",
    "not from UTF-8": "how far \x80\x81\xfe?",
    "private use": "\ue000",
    "right-to-left override": "how \u202e far",
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_bad_question(busy: Graph, name: str) -> None:
    before = len(busy.runtime.queries)
    answer = busy.ask(QUESTIONS[name])
    assert answer.status == Answer.REJECTED, answer
    assert 0 < len(answer.message) < 300
    assert len(busy.runtime.queries) == before  # the model never saw it
    busy.codes("QUERY_REJECTED")
    assert busy.ask().status == Answer.OK


def mark(u: float = 10.0, v: float = 10.0, **fields: Any) -> Any:
    return PixelMark(u=u, v=v, **fields)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"marks": [mark(u=160.0)]}, "outside of the 160 x 120 frame"),
        ({"marks": [mark(v=-1.0)]}, "outside of the 160 x 120 frame"),
        ({"marks": [mark(u=float("nan"))]}, "expected finite pixels"),
        ({"marks": [mark(u=float("inf"))]}, "expected finite pixels"),
        ({"marks": [mark(camera="rear")]}, "mark names camera 'rear'"),
        ({"marks": [mark(stamp=Time(sec=3))]}, "mark's stamp is 3000000000 ns"),
        ({"marks": [mark(label="L" * 1000)]}, "mark's label is"),
        ({"marks": [mark()] * 17}, "17 marks, at most 16"),
        ({"cameras": ["rear"]}, "cameras names ['rear']"),
        ({"stamp": Time(sec=3)}, "no scene has stamp 3000000000 ns"),
        ({"timeout_s": -1.0}, "timeout_s is -1"),
        ({"timeout_s": float("nan")}, "timeout_s is nan"),
        ({"max_tokens": 2**31}, "max_tokens is 2147483648"),
        ({"reason": "deep"}, "reason is 'deep', expected one of"),
    ],
)
def test_bad_query_fields(busy: Graph, fields: dict[str, Any], said: str) -> None:
    answer = busy.ask(**fields)
    assert answer.status == Answer.REJECTED
    assert said in answer.message
    assert len(answer.message) < 300


def test_query_before_any_scene(make_graph: Make) -> None:
    graph = make_graph()
    graph.listen("status")
    assert graph.configure()
    answer = graph.ask()
    assert answer.status == Answer.NO_SCENE
    assert "inactive" in answer.message
    assert graph.activate()
    assert graph.ask().status == Answer.NO_SCENE
    graph.scene()
    assert graph.ask().status == Answer.OK


def test_queries_at_100_hz(busy: Graph) -> None:
    """Every one of 200 questions is answered; the model is slow, so most are turned away."""
    runtime = busy.runtime
    runtime.ask_gate.clear()
    futures = []
    busy.received["status"].clear()
    for index in range(200):
        request = SpatialQuery.Request(question="How far is the wall?", timeout_s=60.0)
        futures.append(busy.send(SpatialQuery, "/g2vlm/query", request))
        busy.spin_for(0.01)
        if index == 150:
            runtime.ask_gate.set()
    busy.wait(lambda: all(f.done() for f in futures), "200 answers", 60.0)
    answers = [future.result().answer.status for future in futures]
    assert set(answers) == {Answer.OK, Answer.OVERLOADED}
    assert answers.count(Answer.OVERLOADED) >= 100
    assert any("OVERLOADED" in status.reason_codes for status in busy.received["status"])
    busy.scene()  # pictures went on being reconstructed
    assert busy.ask().status == Answer.OK
    busy.codes("OVERLOADED", present=False)


@pytest.mark.slow
def test_memory_is_flat_under_bad_input(busy: Graph) -> None:
    """A thousand refused pictures and questions leave no memory behind."""
    process = psutil.Process()
    bad = [raw(**BAD_IMAGES[name][0]) for name in ("no data", "one byte short", "65537 both")]
    publisher = busy.publisher("/camera/image_raw", Image)
    request = SpatialQuery.Request(question="x" * 5000)

    def arrived(before: int) -> bool:
        return bool(busy.board.received > before)

    def round_of(count: int) -> None:
        for index in range(count):
            before = busy.board.received
            publisher.publish(bad[index % len(bad)])
            wait_for(partial(arrived, before), 10.0, interval_s=0.001)
            if index % 10 == 0:
                busy.call(SpatialQuery, "/g2vlm/query", request)
        busy.scene()

    round_of(200)
    start = process.memory_info().rss
    round_of(1000)
    grown = process.memory_info().rss - start
    assert grown < 8e6, f"{grown / 1e6:.1f} MB more after 1000 bad pictures and 100 questions"


NANO = REPO / "g2vlm_model" / "weights" / "nano"


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("missing", "dino_config.json"),
        ("shape", "the configs say"),
        ("pickle", "safetensors"),
        ("unknown_key", "flux_capacitor"),
        ("no_folder", "nowhere"),
    ],
)
def test_damaged_model_folder(
    make_graph: Make, capfd: pytest.CaptureFixture[str], tmp_path: Path, damage: str, said: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(NANO, folder)
    if damage == "missing":
        (folder / "dino_config.json").unlink()
    elif damage == "shape":
        from safetensors.numpy import load_file, save_file

        tensors = load_file(folder / "model.safetensors")
        name = max(tensors, key=lambda key: tensors[key].size)
        tensors[name] = tensors[name][:-1]
        save_file(tensors, folder / "model.safetensors")
    elif damage == "pickle":
        import torch

        (folder / "model.safetensors").unlink()
        torch.save({"a": torch.zeros(3)}, folder / "model.safetensors")
    elif damage == "unknown_key":
        path = folder / "g2vlm_config.json"
        config = json.loads(path.read_text()) if path.is_file() else {}
        path.write_text(json.dumps({**config, "flux_capacitor": 1.21}))
    else:
        folder = tmp_path / "nowhere"
    graph = make_graph(runtime="torch", model=os.fspath(folder), device="cpu")
    assert not graph.configure()
    assert graph.state == "unconfigured"
    log = capfd.readouterr().err
    assert "cannot configure: " in log
    assert said in log
    assert "Traceback" not in log
