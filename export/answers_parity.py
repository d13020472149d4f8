# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Compares the answers of an exported model with those of torch, token by token.

Both runtimes observe the same windows and are asked the same questions. The answer's text is
compared first; then both read each question once more and write a fixed number of tokens, of
which choice and probability are compared: prefill and decoding steps of the semantic graphs, or
torch on the keys and values that the geometry's graph gave.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from g2vlm_model.config import ModelConfig
from g2vlm_model.interface import Frame, FrameWindow, SpatialQuery, SpatialRuntime
from g2vlm_model.runtimes import load_runtime
from g2vlm_model.runtimes.answering import Answerer
from g2vlm_model.runtimes.export_folder import FLOATS, ExportFolder
from g2vlm_model.runtimes.gate import DeviceGate
from g2vlm_model.runtimes.golden_check import OutputError
from g2vlm_model.runtimes.onnx.runtime import open_runtime
from g2vlm_model.runtimes.scene import EncodedScene
from g2vlm_model.tokenizer import Tokenizer

from .parity import Row
from .pictures import Case

__all__ = ["QUESTIONS", "check_answers"]

QUESTIONS = (
    "How far is the table from the camera?",
    "Which is closer to the camera, the chair or the shelf?",
    "How many degrees did the camera turn from frame 1 to frame 2?",
)
STEPS = 8
MAX_TOKENS = 32


class Steps(NamedTuple):
    """The first tokens of an answer and their probabilities."""

    tokens: NDArray[np.int64]
    probabilities: NDArray[np.float64]


def check_answers(
    export: str, folder: ExportFolder, model: Path, cases: Sequence[Case], device: str
) -> Iterator[Row]:
    """Yield what answers about windows differ by.

    Beside torch in float32, or with the same weights of few bits, texts and tokens have to be the
    same. Half precision may prefer another token
    where two are equally likely; there the probabilities are compared up to that point.

    Args:
        export: Named in the rows.
        folder: With the part "kv".
        model: Folder of the model that was exported.
        cases: Windows.
        device: Of the export.
    """
    exact = folder.manifest.precision != "fp16"
    tokenizer = Tokenizer.from_folder(model)
    reader = Answerer(ModelConfig.from_folder(model), tokenizer, DeviceGate())
    precision = folder.manifest.precision
    torch = load_runtime("torch", model, "cpu", "fp32" if precision in FLOATS else precision)
    exported = open_runtime(folder, model, device)
    try:
        for case in cases:
            window = window_of(case)
            scenes = (_observed(torch, window), _observed(exported, window))
            for number, question in enumerate(QUESTIONS, 1):
                query = SpatialQuery(question, max_tokens=MAX_TOKENS)
                texts = [
                    runtime.ask(scene, query).text
                    for runtime, scene in zip((torch, exported), scenes, strict=True)
                ]
                truth, found = (_steps(reader, scene, query) for scene in scenes)
                name = f"{case.name}, question {number}"
                for error in _errors(texts[0] == texts[1], truth, found, folder, exact):
                    yield Row(export, "answers", name, error)
            for scene in scenes:
                scene.close()
    finally:
        torch.close()
        exported.close()


def window_of(case: Case) -> FrameWindow:
    """The window of a case, whose pictures have the model's size already."""
    frames = [
        Frame(picture, index, "camera", "camera", f"{case.name}/{index}")
        for index, picture in enumerate(case.pictures_NHW3)
    ]
    return FrameWindow(tuple(frames))


def _observed(runtime: SpatialRuntime, window: FrameWindow) -> EncodedScene:
    scene = runtime.observe(window)
    assert isinstance(scene, EncodedScene), type(scene)
    return scene


def _steps(reader: Answerer, scene: EncodedScene, query: SpatialQuery) -> Steps:
    """Read a question and decode `STEPS` tokens, whatever they are; the scene is as before."""
    context = scene.context
    assert context is not None, "the scene was closed"
    mark = context.mark()
    context.read(reader.read(scene, query).ids, STEPS + 1)
    steps = list(islice(context.decode(query), STEPS))
    context.truncate(mark)
    tokens = np.array([step.token for step in steps])
    return Steps(tokens, np.exp([step.log_probability for step in steps]))


def _errors(
    same_text: bool, truth: Steps, found: Steps, folder: ExportFolder, exact: bool
) -> Iterator[OutputError]:
    wrong = truth.tokens != found.tokens
    if exact:
        different = float(not same_text)
        yield OutputError("text", "wrong", different, different, 0.0)
        yield OutputError("tokens", "wrong", float(wrong.max()), float(wrong.mean()), 0.0)
    # Behind another token the answers are no longer about the same thing.
    alike = slice(0, int(wrong.argmax()) if wrong.any() else len(wrong))
    gap = np.abs(truth.probabilities[alike] - found.probabilities[alike])
    if gap.size:
        allowed = folder.manifest.tolerances.share_of_range
        yield OutputError("probabilities", "of 1", float(gap.max()), float(gap.mean()), allowed)
