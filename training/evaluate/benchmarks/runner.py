# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Asks a model the questions of a benchmark: each scene is encoded once, then asked about."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from g2vlm_model.interface import (
    AnswerStatus,
    Frame,
    FrameWindow,
    Scene,
    SpatialQuery,
    SpatialRuntime,
)
from g2vlm_model.interface.progress import progress

from ...datasets.pictures import even_indices, load_picture, picture_key, video_frames
from .base import Benchmark, BenchmarkItem, Refusals
from .store import AnswerStore

__all__ = ["AskOptions", "ask_items"]

MOST_SHOWN = 24  # the longest sequence of the published training
_GREY = 128
_GREY_SIZE = (480, 640)

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class AskOptions:
    """How a model is asked.

    Args:
        frames: At most so many pictures a question, evenly spread over what there is.
        max_tokens: Of an answer.
        blind: Grey pictures instead of the real ones: what the words alone give away.
        reason: See `SpatialQuery`.
    """

    frames: int = MOST_SHOWN
    max_tokens: int = 64
    blind: bool = False
    reason: str = "off"

    def __post_init__(self) -> None:
        if self.frames < 1:
            raise ValueError(f"frames is {self.frames}, expected at least 1")
        if not 1 <= self.max_tokens <= SpatialQuery.MAX_TOKENS:
            raise ValueError(
                f"max_tokens is {self.max_tokens}, expected 1..{SpatialQuery.MAX_TOKENS}"
            )


def ask_items(
    runtime: SpatialRuntime,
    benchmark: Benchmark,
    items: Sequence[BenchmarkItem],
    store: AnswerStore,
    options: AskOptions,
) -> Refusals:
    """Ask what has no answer in the store yet.

    Args:
        runtime: The loaded model.
        benchmark: Where the items come from; gives the prompts.
        items: In any order; those that look at the same pictures are asked together.
        store: Takes the answers as they come.
        options: How to ask.

    Returns:
        What could not be asked: a picture that cannot be decoded, a window or a question that
        the model does not take.

    Raises:
        RuntimeError: The device failed; answers so far are in the store.
    """
    refusals = Refusals()
    waiting = [item for item in items if item.id not in store.answers]
    done = len(items) - len(waiting)
    with progress(len(items), benchmark.title, "questions", done) as shown:
        for group in _same_scene(waiting, options):
            for item, text in _ask_group(runtime, benchmark, group, options, refusals):
                store.add(item.id, text)
            shown.note(f"{refusals.total} refused" if refusals.total else "")
            shown.advance(len(group))
    return refusals


def _same_scene(
    items: Iterable[BenchmarkItem], options: AskOptions
) -> Iterable[Sequence[BenchmarkItem]]:
    """Items that one encoding serves, in the order of their first item."""
    groups: dict[object, list[BenchmarkItem]] = {}
    for item in items:
        key = len(_shown(item, options.frames)) if options.blind else item.scene
        groups.setdefault(key, []).append(item)
    return groups.values()


def _ask_group(
    runtime: SpatialRuntime,
    benchmark: Benchmark,
    group: Sequence[BenchmarkItem],
    options: AskOptions,
    refusals: Refusals,
) -> Iterator[tuple[BenchmarkItem, str]]:
    """Encode what a group looks at and yield each item's answer."""
    try:
        scene = runtime.observe(_window(group[0], options))
    except (OSError, ValueError) as error:
        for item in group:
            refusals.add("pictures that cannot be shown", f"{item.id}: {error}")
        return
    try:
        for item in group:
            text = _ask(runtime, benchmark, scene, item, options, refusals)
            if text is not None:
                yield item, text
    finally:
        scene.close()


def _ask(
    runtime: SpatialRuntime,
    benchmark: Benchmark,
    scene: Scene,
    item: BenchmarkItem,
    options: AskOptions,
    refusals: Refusals,
) -> str | None:
    prompt = benchmark.prompt(item, _shown(item, options.frames))
    try:
        answer = runtime.ask(
            scene, SpatialQuery(prompt, max_tokens=options.max_tokens, reason=options.reason)
        )
    except ValueError as error:
        refusals.add("question that the model does not take", f"{item.id}: {error}")
        return None
    if answer.status not in (AnswerStatus.OK, AnswerStatus.TRUNCATED):
        refusals.add("no answer", f"{item.id}: {answer.status.name} {answer.message}")
        return None
    return answer.text


def _shown(item: BenchmarkItem, limit: int) -> tuple[int, ...]:
    """Indices of the pictures that the model sees; a video is taken to have enough of them."""
    return even_indices(limit if item.video is not None else len(item.images), limit)


def _window(item: BenchmarkItem, options: AskOptions) -> FrameWindow:
    shown = _shown(item, options.frames)
    if options.blind:
        grey = np.full((*_GREY_SIZE, 3), _GREY, np.uint8)
        named = [("grey", grey) for _ in shown]
    elif item.video is not None:
        images = video_frames(item.video, options.frames)
        named = [(f"{item.video}:{index}", image) for index, image in enumerate(images)]
    else:
        pictures = [item.images[index] for index in shown]
        named = [(picture_key(picture), load_picture(picture)) for picture in pictures]
    return FrameWindow(tuple(_frames(named)))


def _frames(named: Sequence[tuple[str, Image]]) -> Iterator[Frame]:
    """Frames whose keys mean the same pixels in every window, also where a picture comes twice."""
    seen: dict[str, int] = {}
    for name, image in named:
        seen[name] = seen.get(name, 0) + 1
        yield Frame(image, 0, "camera", "camera", f"{name}#{seen[name]}")
