# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Compares the answers of an exported model with those of torch, token by token.

Both runtimes observe the same windows and are asked the same questions, one after the other. The
answer's text is compared first; then both read each question once more and write a fixed number of
tokens, of which choice and probability are compared: prefill and decoding steps of the semantic
graphs, or torch on the keys and values that the geometry's graph gave.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from g2vlm_model.config import ModelConfig
from g2vlm_model.interface import Frame, FrameWindow, SpatialQuery, SpatialRuntime
from g2vlm_model.runtimes.answering import Answerer
from g2vlm_model.runtimes.export_folder import ExportFolder
from g2vlm_model.runtimes.gate import DeviceGate
from g2vlm_model.runtimes.golden_check import OutputError
from g2vlm_model.runtimes.onnx.runtime import open_runtime
from g2vlm_model.runtimes.scene import EncodedScene
from g2vlm_model.tokenizer import Tokenizer

from .parity import Row
from .pictures import Case

__all__ = ["QUESTIONS", "Answers", "answered", "check_answers"]

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


class Answers(NamedTuple):
    """What one question got.

    Args:
        text: The answer.
        steps: Its first tokens, whatever they are.
    """

    text: str
    steps: Steps


def answered(runtime: SpatialRuntime, model: Path, case: Case) -> tuple[Answers, ...]:
    """Observe a window and ask `QUESTIONS` about it.

    Args:
        runtime: Of the model.
        model: Its folder.
        case: The window.
    """
    reader = Answerer(ModelConfig.from_folder(model), Tokenizer.from_folder(model), DeviceGate())
    scene = _observed(runtime, window_of(case))
    found = []
    for question in QUESTIONS:
        query = SpatialQuery(question, max_tokens=MAX_TOKENS)
        text = runtime.ask(scene, query).text
        found.append(Answers(text, _steps(reader, scene, query)))
    scene.close()
    return tuple(found)


def check_answers(
    export: str,
    folder: ExportFolder,
    model: Path,
    cases: Sequence[Case],
    device: str,
    truth: Callable[[Case], tuple[Answers, ...]],
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
        truth: What torch answers about a window.
    """
    exact = folder.manifest.precision != "fp16"
    with closing(open_runtime(folder, model, device)) as exported:
        for case in cases:
            pairs = zip(truth(case), answered(exported, model, case), strict=True)
            for number, (wanted, found) in enumerate(pairs, 1):
                name = f"{case.name}, question {number}"
                same = wanted.text == found.text
                for error in _errors(same, wanted.steps, found.steps, folder, exact):
                    yield Row(export, "answers", name, error)


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
