# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Answers of ONNX Runtime are those of torch: pictures, references, logits, words."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from g2vlm_map.recordings import open_recording
from g2vlm_model.config import ModelConfig
from g2vlm_model.interface import (
    Frame,
    FrameWindow,
    NamedPlace,
    PixelMark,
    SpatialQuery,
    SpatialRuntime,
)
from g2vlm_model.runtimes import load_runtime
from g2vlm_model.runtimes.answering import Answerer
from g2vlm_model.runtimes.export_folder import ExportFolder
from g2vlm_model.runtimes.onnx.context import OnnxContext
from g2vlm_model.runtimes.onnx.semantic import SemanticGraphs
from g2vlm_model.runtimes.onnx.sessions import Provider, ProviderError, Session
from g2vlm_model.runtimes.scene import EncodedScene
from g2vlm_model.runtimes.torch.context import TorchContext
from g2vlm_model.tokenizer import Tokenizer

from ..exports import PARTS, Exports
from ..helpers import REPO
from .model_folders import window

ROOM = REPO / "tests" / "data" / "room"
STEP = 3  # pictures between the frames of a window
MORE = (
    "How many chairs are there?",
    "How far is the chair from the table?",
    "Did the camera turn left or right from frame 1 to frame 3?",
    "How many degrees did the camera turn from frame 1 to frame 2?",
    "Which object is nearest to the camera in frame 2?",
)
LIMIT = 1e-4  # of the range of what is compared


@dataclass(frozen=True)
class Pair:
    """The same model in torch and in ONNX Runtime."""

    torch: SpatialRuntime
    onnx: SpatialRuntime

    def scenes(self, frames: FrameWindow) -> tuple[EncodedScene, EncodedScene]:
        scenes = self.torch.observe(frames), self.onnx.observe(frames)
        assert all(isinstance(scene, EncodedScene) for scene in scenes)
        return scenes  # type: ignore[return-value]


@pytest.fixture(scope="module")
def nano(nano_export: Path) -> Iterator[Pair]:
    pair = Pair(
        load_runtime("torch", model="nano", device="cpu"),
        load_runtime("onnx", model="nano", device="cpu", export=nano_export),
    )
    yield pair
    pair.torch.close()
    pair.onnx.close()


def close(got: Any, want: Any, what: str, limit: float = LIMIT) -> None:
    got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
    assert got.shape == want.shape, what
    error = np.abs(got - want) / max(float(np.ptp(want)), 1e-9)
    assert error.max() < limit, f"{what}: max {error.max():.1e}, mean {error.mean():.1e} of range"


def demo_questions() -> dict[int, list[SpatialQuery]]:
    """The demo's questions by picture; the picture is the last frame of its window."""
    asked: dict[int, list[SpatialQuery]] = {}
    for entry in json.loads((ROOM / "questions.json").read_text()):
        marks = tuple(
            PixelMark(2, one["u"], one["v"], one["label"]) for one in entry.get("marks", ())
        )
        query = SpatialQuery(entry["question"], marks, max_tokens=entry["max_tokens"])
        asked.setdefault(entry["at"]["frame"], []).append(query)
    return asked


def demo_window(pictures: dict[int, NDArray[np.uint8]], last: int) -> FrameWindow:
    shown = (last - 2 * STEP, last - STEP, last)
    return FrameWindow(tuple(Frame(pictures[i], i, "camera", "camera", f"demo-{i}") for i in shown))


def places(one: NamedPlace) -> list[float]:
    """Frame, column, row, share."""
    return [one.mark.frame_index, one.mark.u, one.mark.v, one.share]


def test_nano_answers_the_demo_as_torch_does(nano: Pair) -> None:
    asked = demo_questions()
    last = sorted(asked)[::2]
    wanted = {index - back for index in last for back in (0, STEP, 2 * STEP)}
    recording = open_recording(ROOM / "room.mcap")
    pictures = {frame.index: frame.rgb() for frame in recording.frames(sorted(wanted))}
    texts: Counter[str] = Counter()
    looked = 0
    for index in last:
        scenes = nano.scenes(demo_window(pictures, index))
        for query in (*asked[index], *(SpatialQuery(text, max_tokens=12) for text in MORE)):
            want, got = nano.torch.ask(scenes[0], query), nano.onnx.ask(scenes[1], query)
            assert (got.text, got.status, got.tokens) == (want.text, want.status, want.tokens)
            assert got.confidence == pytest.approx(want.confidence, abs=1e-4), query.question
            assert [places(one) for one in got.named] == [
                pytest.approx(places(one), abs=1e-2) for one in want.named
            ]
            looked += len(got.named)
            texts[got.text] += 1
    assert texts.total() == 42
    assert looked > 8
    assert len(texts) > 10, f"nearly all answers are the same: {texts}"


def test_everything_on_the_way_to_an_answer_is_what_torch_computes(nano: Pair) -> None:
    """Semantic tokens, fused tokens, what references add, and logits, on one scene."""
    marks = (PixelMark(0, 40, 20, "A"), PixelMark(2, 30, 50, "B"), PixelMark(1, 9, 9, "C"))
    text = "Is A nearer than the chair? The camera moved from frame 1 to frame 3, how far is B?"
    query = SpatialQuery(text, marks, max_tokens=2)
    scenes = nano.scenes(window(1, 2, 3))
    for runtime, scene in zip((nano.torch, nano.onnx), scenes, strict=True):
        runtime.ask(scene, query)
    theirs, ours = scenes[0].context, scenes[1].context
    assert isinstance(theirs, TorchContext)
    assert isinstance(ours, OnnxContext)
    assert theirs.mark() == ours.mark()
    for index in range(3):
        found, said = theirs.fused[index], ours.fused[index]
        features = scenes[0].features[index].semantic_SD, scenes[1].features[index].semantic_SD
        assert features[0] is not None
        close(features[1], features[0], f"semantic tokens of frame {index}")
        close(said["fused"][0], found.tokens_BNSD[0, 0], f"tokens of frame {index}")
        close(said["cameras"][0], found.cameras_BND[0, 0], f"camera {index}")
        close(said["pooled"][0], found.hidden_BNSD[0, 0], f"hidden states of frame {index}")
        close(said["centres"][0], found.centres_BNS3[0, 0], f"centres of frame {index}")
    answerer = nano.onnx._answerer  # type: ignore[attr-defined]
    assert isinstance(answerer, Answerer)
    question = answerer.read(scenes[1], query)
    kinds = {(one.share is not None, bool(one.words)) for one in question.references}
    assert len(kinds) == 3, "a mark, a thing and a frame are named"
    with torch.inference_mode():
        for context in (theirs, ours):
            context.name(question.references, len(question.ids) - 1)
        assert theirs._added_TD is not None
        close(ours._added_TD, theirs._added_TD, "what references add")
        for context in (theirs, ours):
            for first in range(0, len(question.ids), 50):
                context.read(question.ids[first : first + 50], 100)
        steps: list[Iterator[Any]] = [theirs.decode(query), ours.decode(query)]
        for number in range(4):
            want, got = (next(step) for step in steps)
            assert got.token == want.token
            close(got.logits_V, want.logits_V, f"logits of token {number}")


def test_the_published_structure_answers_with_drawn_marks(
    exports: Exports, whole_export: Path
) -> None:
    """Shared key heads, merged patches, no fusion; a drawn mark forks the scene."""
    model = exports.tiny_model({"mark_style": "drawn"})  # no graph knows how marks are shown
    folder = exports.derived(whole_export, ("geometry", "kv", "semantic"), model)
    pair = Pair(
        load_runtime("torch", model=model, device="cpu"),
        load_runtime("onnx", model=model, device="cpu", export=folder),
    )
    scenes = pair.scenes(window(1, 2, 3))
    questions = [SpatialQuery(f"Which is closer? {'A' * n}", max_tokens=5) for n in range(4)]
    for place in ((0, 20, 20), (1, 60, 40), (2, 5, 50)):
        marks = (PixelMark(*place, "A"), PixelMark(2, 40, 30, "B"))
        questions += [SpatialQuery("Which is closer, A or B?", marks, max_tokens=5)]
    questions += questions[:2]
    answers = []
    for query in questions:
        want, got = pair.torch.ask(scenes[0], query), pair.onnx.ask(scenes[1], query)
        assert got.text == want.text
        assert got.confidence == pytest.approx(want.confidence, rel=1e-4)
        answers.append((got.text, got.confidence))
    assert answers[:2] == answers[-2:]
    assert len(set(answers)) == len(answers) - 2, "marks and words make no difference"


def test_samples_repeat_with_their_seed_and_differ_between_seeds(nano: Pair) -> None:
    scene = nano.onnx.observe(window(1, 2))

    def answer(seed: int) -> str:
        query = SpatialQuery("How far is A?", max_tokens=6, temperature=2.0, seed=seed)
        return nano.onnx.ask(scene, query).text

    texts = [answer(seed) for seed in (0, 1, 2, 3, -1)]
    assert texts == [answer(seed) for seed in (0, 1, 2, 3, -1)]
    assert len(set(texts)) > 2


class OffByALittle(Session):
    """A graph on a device that computes one output wrong."""

    def run(self, *args: Any, **keywords: Any) -> dict[str, NDArray[Any]]:
        said = super().run(*args, **keywords)
        return {**said, "keys": said["keys"] * 1.001} if "keys" in said else said


def test_a_device_that_computes_wrong_keys_is_refused(
    nano_export: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = ExportFolder.open(nano_export)
    config, tokenizer = ModelConfig.from_folder(folder.path), Tokenizer.from_folder(folder.path)
    checked = {golden.graph for golden in folder.goldens()}
    assert {name for name in folder.manifest.graphs if name.startswith("semantic")} <= checked
    SemanticGraphs(folder, config, tokenizer, Provider("cpu")).close()
    monkeypatch.setattr("g2vlm_model.runtimes.onnx.semantic.Session", OffByALittle)
    with pytest.raises(ProviderError, match=r"semantic_expert\.onnx gives wrong numbers"):
        SemanticGraphs(folder, config, tokenizer, Provider("cpu"))


def test_a_folder_without_the_part_says_how_to_get_it(
    tiny_export: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The small model's other export has keys and values only: torch has to answer on it."""
    folder = ExportFolder.open(tiny_export)
    assert set(folder.manifest.parts) < set(PARTS)

    def refuse(path: Path, provider: Provider) -> Any:
        raise AssertionError(f"{path} was opened")

    monkeypatch.setattr("g2vlm_model.runtimes.onnx.semantic.Session", refuse)
    config, tokenizer = ModelConfig.from_folder(folder.path), Tokenizer.from_folder(folder.path)
    with pytest.raises(ValueError, match="--parts geometry,kv,semantic"):
        SemanticGraphs(folder, config, tokenizer, Provider("cpu"))
