# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Questions to a model whose semantic expert reads the geometry (`geometry_feedback`)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from g2vlm_model.cache import KeyValueCache
from g2vlm_model.checkpoint import load_model
from g2vlm_model.extras.named_features import reference_features
from g2vlm_model.extras.references import find_references
from g2vlm_model.generate import (
    Sampler,
    decode,
    prefill_frames,
    prefill_ids,
    prefill_semantic,
    read_frames,
)
from g2vlm_model.interface import (
    AnswerStatus,
    FrameWindow,
    PixelMark,
    SpatialQuery,
    SpatialRuntime,
)
from g2vlm_model.interface.words import plain
from g2vlm_model.marks import question_with_marks
from g2vlm_model.preprocess import geometric_pixels, semantic_rows
from g2vlm_model.runtimes import load_runtime
from g2vlm_model.runtimes.answering import _looked_at
from g2vlm_model.runtimes.scene import EncodedScene
from g2vlm_model.runtimes.torch.context import TorchContext
from g2vlm_model.tokenizer import prompt_ids

from .model_folders import small_config, window, write_model
from .spies import around, model_of

QUESTION = "Did the camera turn from frame 1 to frame 2? Which is closer, A or B?"
MARKS = (PixelMark(0, 20, 20, "A"), PixelMark(1, 60, 40, "B"))
SIZES = [(60, 80)] * 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = small_config(geometry_feedback=True, reference_features=True, isolate_geometry=True)
    return write_model(tmp_path_factory.mktemp("fused") / "model", config)


@pytest.fixture
def runtime(folder: Path) -> Iterator[SpatialRuntime]:
    loaded = load_runtime(model=folder, device="cpu")
    yield loaded
    loaded.close()


def whole_sequence(folder: Path, frames: FrameWindow, tokens: int) -> tuple[str, float]:
    """The chat prefilled in one go, all frames at once: text and mean log probability."""
    model, tokenizer = load_model(folder)
    prompts = prompt_ids(tokenizer, model.config.tokens)
    text = question_with_marks(QUESTION, MARKS, SIZES)
    ids = prompts.question(tokenizer.encode(text))
    images = [frame.image for frame in frames.frames]
    cache = KeyValueCache(model.config, 2000)
    model.requires_grad_(False)
    prefill_ids(model, prompts.system, cache)
    hidden, grid = prefill_frames(model, geometric_pixels(model.config, images)[None], cache)
    reading = read_frames(model, hidden, grid)
    fused = prefill_semantic(model, semantic_rows(model.config, images), cache, reading)
    assert fused is not None
    references = find_references(tokenizer, text, MARKS, SIZES)
    added = reference_features(model, fused, [references], [len(ids)], len(ids) + 1).added_MTD
    named = {one.token for one in references}
    assert int((added[0] != 0).any(dim=-1).sum()) == len(named) + 1 >= 7  # and the start
    prefill_ids(model, ids, cache, added[:, :-1])
    steps = decode(model, cache, Sampler(), added_11D=added[:, -1:])
    chosen = [next(steps) for _ in range(tokens)]
    mean = float(np.mean([step.log_probability for step in chosen]))
    return tokenizer.decode([step.token for step in chosen]), mean


@pytest.mark.parametrize("mode", ["shared", "published"])
def test_an_answer_is_that_of_the_whole_sequence(folder: Path, mode: str) -> None:
    runtime = load_runtime(model=folder, device="cpu", prompt_mode=mode)
    scene = runtime.observe(window(1, 2))
    text, mean = whole_sequence(folder, window(1, 2), 6)
    query = SpatialQuery(QUESTION, MARKS, max_tokens=6)
    for _ in range(2):  # the second finds the frames in place
        answer = runtime.ask(scene, query)
        assert answer.text == plain(text)
        assert answer.confidence == pytest.approx(math.exp(mean), rel=1e-4)
    runtime.close()


def test_a_mark_says_what_no_word_says(runtime: SpatialRuntime) -> None:
    """Two neighbouring pixels of the model have the same words and other features."""
    scene = runtime.observe(window(1, 2))
    marks = [PixelMark(0, u, 20, "A") for u in (20.5, 21.0, 21.05)]
    assert len({question_with_marks("", (mark,), SIZES) for mark in marks}) == 1
    first, second, same = (
        runtime.ask(scene, SpatialQuery("How far is A?", (mark,), max_tokens=3)).confidence
        for mark in marks
    )
    assert first != second
    assert second == same


def test_questions_leave_the_scene_and_stop_between_frames(runtime: SpatialRuntime) -> None:
    """A question cut off behind the first frame leaves one that a later question goes on with."""
    query = SpatialQuery(QUESTION, MARKS, max_tokens=4)
    want = runtime.ask(runtime.observe(window(1, 2)), query)
    scene = runtime.observe(window(1, 2))
    assert isinstance(scene, EncodedScene)
    stopped = runtime.ask(scene, query, cancelled=lambda: len(scene.ends) == 2)
    assert stopped.status is AnswerStatus.CANCELLED
    assert isinstance(scene.context, TorchContext)
    assert len(scene.context.fused) == 1
    again = runtime.ask(scene, query)
    assert (again.text, again.confidence) == (want.text, want.confidence)


def test_a_scene_closed_meanwhile_still_ends_its_question(runtime: SpatialRuntime) -> None:
    want = runtime.ask(runtime.observe(window(1, 2)), SpatialQuery(QUESTION, MARKS, max_tokens=4))
    scene = runtime.observe(window(1, 2))
    around(model_of(runtime), "prefill_images", scene.close)
    answer = runtime.ask(scene, SpatialQuery(QUESTION, MARKS, max_tokens=4))
    assert (answer.text, answer.confidence) == (want.text, want.confidence)
    assert isinstance(scene, EncodedScene)
    assert scene.context is None


def test_words_alone_are_no_query(runtime: SpatialRuntime) -> None:
    scene = runtime.observe(window(1, 2))
    with pytest.raises(TypeError, match="query is a str, expected a SpatialQuery"):
        runtime.ask(scene, QUESTION)  # type: ignore[arg-type]


def test_where_a_thing_was_looked_for_is_a_place_of_the_picture(runtime: SpatialRuntime) -> None:
    frames = window(1, 2)
    query = SpatialQuery("How far is the chair from the chair in frame 2?", max_tokens=1)
    with_frame, anywhere = SpatialQuery("Where is the chair?", max_tokens=1), query
    scene = runtime.observe(frames)
    assert runtime.ask(scene, SpatialQuery("How far is A?", MARKS[:1], max_tokens=1)).named == ()
    (one,) = runtime.ask(scene, with_frame).named
    height, width = frames.frames[one.mark.frame_index].image.shape[:2]
    assert one.mark.label == "chair"
    assert -0.5 <= one.mark.u <= width - 0.5
    assert -0.5 <= one.mark.v <= height - 0.5
    assert 0.0 < one.share <= 1.0
    assert all(place.mark.frame_index == 1 for place in runtime.ask(scene, anywhere).named)


def test_a_place_is_the_middle_of_what_counts_most() -> None:
    weight = np.full((2, 4, 6), 0.001, np.float32)
    weight[1, 2, 3], weight[1, 2, 4] = 0.4, 0.4
    weight[0, 0, 0] = 0.1
    found = _looked_at("chair", weight, [(40, 60), (40, 60)])
    assert (found.mark.frame_index, found.mark.label) == (1, "chair")
    assert found.mark.u == pytest.approx(39.5, abs=0.2)  # between the columns of 10 pixels
    assert found.mark.v == pytest.approx(24.5, abs=0.2)
    assert found.share == pytest.approx(0.807)
    corner = np.zeros((1, 2, 2), np.float32)
    corner[0, 0, 0] = 1.0
    assert _looked_at("cup", corner, [(20, 20)]).mark == PixelMark(0, 4.5, 4.5, "cup")
