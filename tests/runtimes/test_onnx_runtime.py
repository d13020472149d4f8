# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""An export run by ONNX Runtime, against torch; with torch's answers, and without torch."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from g2vlm_model.config import CHAT
from g2vlm_model.interface import (
    FrameWindow,
    GeometryPrediction,
    PixelMark,
    Scene,
    SpatialAnswer,
    SpatialQuery,
    SpatialRuntime,
    TokenScene,
)
from g2vlm_model.runtimes import load_runtime
from g2vlm_model.runtimes.export_folder import ExportFolder
from g2vlm_model.runtimes.geometry_engine import (
    Cancelled,
    GeometryArrays,
    GeometryEngine,
    StreamingEngine,
)
from g2vlm_model.runtimes.onnx.geometry import OnnxGeometry, open_geometry
from g2vlm_model.runtimes.onnx.runtime import OnnxExecutor, OnnxRuntime, open_runtime
from g2vlm_model.runtimes.onnx.sessions import Provider
from g2vlm_model.runtimes.torch.placement import choose_placement
from g2vlm_model.runtimes.torch.runtime import TorchRuntime

from ..exports import HALF, Exports
from ..helpers import REPO
from .model_folders import window
from .spies import model_of

HEIGHT, WIDTH = 240, 320
MARKS = (PixelMark(0, 100, 100, "A"), PixelMark(1, 250, 60, "B"))
QUESTIONS = (
    SpatialQuery("Which is closer, A or B?", MARKS),
    SpatialQuery("How far is A from the camera?", MARKS[:1]),
    SpatialQuery("How far is A from B?", MARKS),
    SpatialQuery("Is A left or right of B?", MARKS),
    SpatialQuery("How many chairs are there?"),
    SpatialQuery("How many times farther is A than B?", MARKS),
    SpatialQuery("Which way did the camera turn between frame 1 and frame 2?"),
    SpatialQuery("How many degrees did the camera turn between frame 1 and frame 2?"),
)


def pictures(*seeds: int) -> FrameWindow:
    return window(*seeds, height=HEIGHT, width=WIDTH)


def geometry_only(folder: Path) -> GeometryEngine:
    """The single graph, also of a folder that has it in two parts."""
    return OnnxGeometry(ExportFolder.open(folder), Provider("cpu"))


@pytest.fixture(scope="module")
def by_torch() -> Iterator[SpatialRuntime]:
    runtime = load_runtime("torch", "nano", "cpu")
    yield runtime
    runtime.close()


@pytest.fixture(scope="module", params=["onnx", "torch on streaming", "torch on one graph"])
def by_export(request: pytest.FixtureRequest, nano_export: Path) -> Iterator[SpatialRuntime]:
    """nano with an exported geometry; who answers differs."""
    runtime: SpatialRuntime
    if request.param == "onnx":
        runtime = load_runtime("onnx", "nano", "cpu", export=nano_export)
        assert isinstance(runtime, OnnxRuntime)
    else:
        streaming = request.param == "torch on streaming"
        folder = ExportFolder.open(nano_export)
        engine = open_geometry(folder, "cpu")[0] if streaming else geometry_only(nano_export)
        assert isinstance(engine, StreamingEngine) == streaming
        runtime = TorchRuntime("nano", choose_placement("cpu"), geometry=engine)
    yield runtime
    runtime.close()


def assert_same_geometry(got: GeometryPrediction, expected: GeometryPrediction) -> None:
    extent = np.ptp(expected.local_points)
    for name, tolerance in (
        *(("local_points", 1e-5 * extent), ("world_points", 1e-5 * extent)),
        *(("T_world_cam", 1e-4), ("confidence", 2e-3), ("K", 1e-2)),
    ):
        gap = np.abs(getattr(got, name) - getattr(expected, name))
        assert gap.max() < tolerance, f"{name}: max {gap.max():.2e}, mean {gap.mean():.2e}"
        assert getattr(got, name).dtype == getattr(expected, name).dtype
    assert (got.valid != expected.valid).mean() < 1e-3
    assert got.confidence_source == expected.confidence_source
    np.testing.assert_array_equal(got.colors, expected.colors)


def test_overlapping_windows_and_their_answers_are_torchs(
    by_torch: SpatialRuntime, by_export: SpatialRuntime, request: pytest.FixtureRequest
) -> None:
    """The same greedy tokens, from geometry that another library computed."""
    texts = set()
    for frames in (pictures(1, 2, 3), pictures(2, 3, 4)):
        expected, got = by_torch.observe(frames), by_export.observe(frames)
        assert_same_geometry(got.geometry, expected.geometry)
        assert got.overlap is not None
        assert expected.overlap is not None
        np.testing.assert_allclose(got.overlap, expected.overlap, atol=1e-4)
        assert isinstance(got, TokenScene)
        assert isinstance(expected, TokenScene)
        assert expected.tokens is not None
        if request.node.callspec.params["by_export"] == "torch on one graph":
            assert got.tokens is None, "pictures go in, nobody sees tokens"
        else:
            assert got.tokens is not None
            np.testing.assert_allclose(got.tokens, expected.tokens, atol=1e-4)
        for query in QUESTIONS:
            answer, other = by_torch.ask(expected, query), by_export.ask(got, query)
            assert (other.text, other.status, other.tokens) == (
                *(answer.text, answer.status, answer.tokens),
            ), query.question
            assert other.confidence == pytest.approx(answer.confidence, rel=1e-3)
            np.testing.assert_allclose(other.points, answer.points, atol=1e-3)
            texts.add(answer.text)
    assert len(texts) > 4, f"answers that are all alike show nothing: {texts}"


def test_what_runs_is_said(by_export: SpatialRuntime, by_torch: SpatialRuntime) -> None:
    info = by_export.info
    assert (info.runtime, info.precision, info.fallback_reason) == ("onnx", "fp32", "")
    assert info.device == "cpu (CPUExecutionProvider)"
    assert info.model_id == by_torch.info.model_id
    assert info.parameters > 3_000_000


def test_geometric_weights_are_not_loaded_beside_an_engine(
    by_torch: SpatialRuntime, nano_export: Path
) -> None:
    placement = choose_placement("cpu")
    runtime = TorchRuntime("nano", placement, geometry=geometry_only(nano_export))
    names = [name for name, _ in model_of(runtime).named_parameters()]
    assert not [name for name in names if name.startswith(("dino", "heads", "match"))]
    assert not [name for name in names if ".geometric" in name]
    held, everything = (
        sum(weight.numel() for weight in model_of(one).parameters()) for one in (runtime, by_torch)
    )
    assert held < 0.6 * everything
    assert all(weight.device.type == "cpu" for weight in model_of(runtime).parameters())
    runtime.close()
    with pytest.raises(RuntimeError, match="closed"):
        runtime.observe(pictures(1))


class WithoutKeys(OnnxGeometry):
    """An export without the part "kv"."""

    def run(
        self, pictures_NHW3: NDArray[np.uint8], cancelled: Cancelled = None, prompt: str = CHAT
    ) -> GeometryArrays:
        return replace(super().run(pictures_NHW3, cancelled, prompt), keys=None, values=None)


def test_a_geometry_without_keys_cannot_be_asked_about(nano_export: Path) -> None:
    engine = WithoutKeys(ExportFolder.open(nano_export), Provider("cpu"))
    runtime = TorchRuntime("nano", choose_placement("cpu"), geometry=engine)
    with pytest.raises(RuntimeError, match="export it with the part 'kv'"):
        runtime.observe(pictures(1, 2))
    runtime.close()


def test_an_export_without_keys_is_refused_when_it_is_loaded(nano_export: Path) -> None:
    folder = ExportFolder.open(nano_export)
    bare = ExportFolder(folder.path, replace(folder.manifest, parts=("geometry",)), folder.digest)
    with pytest.raises(ValueError, match=r"holds the parts geometry, .*--parts geometry,kv"):
        open_runtime(bare, "nano", "cpu")


def test_an_export_of_another_model_is_refused(half_export: Path) -> None:
    with pytest.raises(ValueError, match=r"was exported from small-.*export that one"):
        load_runtime("onnx", "nano", "cpu", export=half_export)
    engine = geometry_only(half_export)
    wrong = TorchRuntime("nano", choose_placement("cpu"), geometry=engine)
    with pytest.raises(RuntimeError, match=r"it is of another model|stand behind"):
        wrong.observe(pictures(1))
    wrong.close()


def test_half_precision_says_nearly_the_same(half_export: Path, exports: Exports) -> None:
    model = exports.tiny_model(HALF)
    runtime = load_runtime("onnx", model, "cpu", export=half_export)
    by_torch = load_runtime("torch", model, "cpu")
    assert runtime.info.precision == "fp16"
    got, expected = (one.observe(window(1, 2, 3)) for one in (runtime, by_torch))
    assert got.geometry.confidence_source == "head"
    points, reference = got.geometry.local_points, expected.geometry.local_points
    gap = np.abs(points - reference).max() / np.ptp(reference)
    assert 1e-6 < gap < 5e-3, f"{gap:.2e} of the range"
    confidence, by_head = got.geometry.confidence, expected.geometry.confidence
    same = (confidence > 0) == (by_head > 0)
    assert same.mean() > 0.998  # a logit of nearly 0 may fall on the side of what is invalid
    np.testing.assert_allclose(confidence[same], by_head[same], atol=5e-3)
    query = SpatialQuery("Which is closer?", max_tokens=1)
    said, reference_said = runtime.ask(got, query), by_torch.ask(expected, query)
    assert said.confidence == pytest.approx(reference_said.confidence, rel=0.05)
    runtime.close()
    by_torch.close()


@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        ({"precision": "bf16"}, "graphs are exported in fp32 or fp16"),
        ({"precision": "fp16"}, "was exported in fp32"),
        ({"device": "tpu"}, "device is 'tpu', expected auto, cpu, cuda"),
    ],
)
def test_what_an_export_cannot_do(
    small_export: Path, model_folder: Path, keywords: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        load_runtime("onnx", model_folder, **{"device": "cpu", **keywords}, export=small_export)


def test_a_size_that_a_static_export_does_not_serve(static_export: Path) -> None:
    engine, _ = open_geometry(ExportFolder.open(static_export), "cpu")
    assert engine.run(np.zeros((2, 42, 56, 3), np.uint8)).local_points.shape == (2, 42, 56, 3)
    with pytest.raises(ValueError, match="the window has 3 frames, the runtime takes 2 only"):
        engine.run(np.zeros((3, 42, 56, 3), np.uint8))
    engine.close()
    engine.close()


def test_two_threads_observe_and_ask(by_torch: SpatialRuntime, nano_export: Path) -> None:
    runtime = load_runtime("onnx", "nano", "cpu", export=nano_export)
    scenes: dict[int, Scene] = {}
    answers: dict[int, list[SpatialAnswer]] = {0: [], 1: []}
    problems: list[BaseException] = []

    def work(index: int) -> None:
        try:
            for step in range(3):
                first = 10 * index + step
                scenes[index] = runtime.observe(pictures(first, first + 1))
                answers[index].append(runtime.ask(scenes[index], QUESTIONS[4]))
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=work, args=(index,)) for index in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not problems
    for index in (0, 1):
        alone = by_torch.observe(pictures(10 * index + 2, 10 * index + 3))
        assert_same_geometry(scenes[index].geometry, alone.geometry)
        assert answers[index][2].text == by_torch.ask(alone, QUESTIONS[4]).text
    runtime.close()


def test_closing_gives_the_graphs_back(small_export: Path, model_folder: Path) -> None:
    runtime = load_runtime("onnx", model_folder, "cpu", export=small_export)
    assert isinstance(runtime, OnnxRuntime)
    executor = runtime._executor
    assert isinstance(executor, OnnxExecutor)
    scene = runtime.observe(window(1, 2))
    runtime.ask(scene, SpatialQuery("Which is closer?", max_tokens=2))
    graphs, engine = weakref.ref(executor._semantic), executor._engine
    assert isinstance(engine, StreamingEngine)
    del executor
    runtime.close()
    gc.collect()
    assert graphs() is None  # although the scene is alive
    assert scene.geometry.valid.shape[0] == 2
    with pytest.raises(RuntimeError, match="is closed"):
        engine.encode(np.zeros((1, 42, 56, 3), np.uint8))


WITHOUT_TORCH = """
import json, sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torch":
            raise ImportError("torch is not installed here")
sys.meta_path.insert(0, Refuse())
import numpy as np
from g2vlm_model.interface import Frame, FrameWindow, PixelMark, SpatialQuery
from g2vlm_model.runtimes import load_runtime
runtime = load_runtime("onnx", "no-such-model", "cpu", export=sys.argv[1])
images = np.load(sys.argv[2])
frames = tuple(Frame(image, 1, "c", "c", str(i)) for i, image in enumerate(images))
scene = runtime.observe(FrameWindow(frames))
marks = (PixelMark(0, 100, 100, "A"), PixelMark(1, 250, 60, "B"))
answer = runtime.ask(scene, SpatialQuery("Which is closer, A or B?", marks))
runtime.close()
mean = float(scene.geometry.local_points.mean())
print(json.dumps({"text": answer.text, "mean": mean, "torch": "torch" in sys.modules}))
"""


def test_a_robot_without_torch_observes_and_answers(
    by_torch: SpatialRuntime, nano_export: Path, tmp_path: Path
) -> None:
    frames = pictures(1, 2)
    np.save(tmp_path / "images.npy", np.stack([frame.image for frame in frames.frames]))
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, str(nano_export), str(tmp_path / "images.npy")],
        cwd=REPO,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    expected = by_torch.observe(frames)
    assert not said["torch"]
    assert said["mean"] == pytest.approx(expected.geometry.local_points.mean(), rel=1e-4)
    assert said["text"] == by_torch.ask(expected, QUESTIONS[0]).text != ""
