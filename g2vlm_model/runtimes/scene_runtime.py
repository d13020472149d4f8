# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""`observe` windows, `ask` about scenes: what every runtime shares, without its framework.

An `Executor` computes; this class checks what comes in, hands out turns, answers, and says so
where memory runs out. One geometric pass serves geometry and questions: its keys and values stay
in the scene (`scene.py`), and a question prefills only its own words.
"""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, Protocol, TypeVar

from ..config import ModelConfig
from ..interface import (
    TRIAL_HW,
    FrameWindow,
    RuntimeInfo,
    RuntimeLimits,
    Scene,
    SpatialAnswer,
    SpatialQuery,
    WindowRefusedError,
)
from ..preprocess import geometric_size, semantic_size
from ..tokenizer import Tokenizer
from .answering import Answerer, Draft, Stopped
from .clock import PassClock
from .gate import DeviceGate
from .request import MAX_FRAMES
from .scene import EncodedScene, KnownFrames, Pass, Seen
from .trial_frames import trial_window

__all__ = ["LIMITS", "MAX_FRAMES", "Executor", "SceneRuntime"]

LIMITS = RuntimeLimits(MAX_FRAMES)
SHORTAGE_WORDS = (
    *("out of memory", "can't allocate memory", "not enough memory"),
    *("Failed to allocate memory", "bad_alloc", "bad allocation"),
)

_QUICK_S = 5.0  # of a first pass

T = TypeVar("T")


class Executor(Protocol):
    """A loaded model: everything that holds memory of the device; dropped by `close`.

    Attributes:
        info: What runs.
        config, tokenizer: Of the model.
        cuda: The torch device that its passes are timed on, where it is a CUDA one.
    """

    info: RuntimeInfo
    config: ModelConfig
    tokenizer: Tokenizer
    cuda: Any

    def observe(self, seen: Seen, clock: PassClock) -> Pass:
        """Encode a window, inside an `observation` turn of the gate.

        Args:
            seen: Within the limits.
            clock: Gets a lap for each stage; asked for a cancellation between the layers.

        Raises:
            ObservationCancelledError: The clock said so.
        """
        ...

    def close(self) -> None:
        """Give memory back that is not freed by being dropped; a question may still be running."""
        ...


class SceneRuntime:
    """A `SpatialRuntime` around an executor; thread-safe.

    Args:
        load: Makes the executor.
        place: Device, for messages.
        release: Gives memory back to the device that nothing uses any more.

    Raises:
        RuntimeError: The model does not fit into the device's memory.
    """

    def __init__(
        self, load: Callable[[], Executor], place: str, release: Callable[[], None] = lambda: None
    ) -> None:
        self._place = place
        self._release = release
        self._owner = object()
        self._gate = DeviceGate()
        self._known = KnownFrames()
        self._lock = threading.Lock()
        self._scenes: weakref.WeakSet[EncodedScene] = weakref.WeakSet()
        loaded = self._guarded("loading the model", load)
        self._executor: Executor | None = loaded
        self._info, self._config, self._cuda = loaded.info, loaded.config, loaded.cuda
        self._answerer = Answerer(loaded.config, loaded.tokenizer, self._gate)

    @property
    def info(self) -> RuntimeInfo:
        """What really runs."""
        return self._info

    def note_fallback(self, reason: str) -> None:
        """Have `info` say why this runs in the place of something better."""
        reasons = "; ".join(filter(None, (reason, self._info.fallback_reason)))
        self._info = replace(self._info, fallback_reason=reasons)

    def warm_up(self) -> None:
        """Make a first pass, which takes longer than others; note what it and a token take.

        Libraries choose their kernels, memory is taken, pages of weights are read. Where that was
        quick a second one is timed: on a large model the first says enough. An engine for other
        sizes of picture only makes none.
        """
        for shift in (0, 50):
            started = time.perf_counter()
            try:
                scene = self.observe(trial_window(1, *TRIAL_HW, shift))
            except WindowRefusedError:
                return
            seconds = time.perf_counter() - started
            if seconds > _QUICK_S:
                break
        step = partial(self._answerer.step_s, self._own(scene))
        token_s = self._guarded("trying an answer", step)
        scene.close()
        self._known = KnownFrames()  # nobody asks for those again
        self._info = replace(self._info, trial_s=seconds, token_s=token_s)

    def observe(self, window: FrameWindow, *, cancelled: Callable[[], bool] | None = None) -> Scene:
        """See `SpatialRuntime.observe`; a window that is cancelled leaves nothing behind.

        Raises:
            RuntimeError: Out of memory, numbers that are not finite, or the runtime is closed.
        """
        executor, clock = self._open_executor(), PassClock(cancelled, self._cuda)
        clock.check()
        size_hw = geometric_size(self._config, *window.frames[0].image.shape[:2])
        if self._info.limits and (refusal := self._info.limits.refusal(len(window), size_hw)):
            raise WindowRefusedError(refusal)
        encode = partial(self._encoded, executor, window, size_hw, clock)
        scene = self._guarded("observing a window", encode)
        with self._lock:
            self._scenes.add(scene)
            closed = self._executor is None
        if closed:  # while the window was being encoded
            self._known = KnownFrames()
            scene.close()
        return scene

    def ask(
        self,
        scene: Scene,
        query: SpatialQuery,
        *,
        on_text: Callable[[str], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> SpatialAnswer:
        """See `SpatialRuntime.ask`.

        Questions about one scene are answered one after the other, those about different
        scenes in turns. `query.max_seconds` counts from this call, waiting included.

        Raises:
            TypeError: The query is no `SpatialQuery`.
            ValueError: A mark outside its picture or window, a scene of another runtime or a
                closed one, a question that spells a special token.
            RuntimeError: Out of memory, numbers that are not finite, or the runtime is closed.
        """
        if not isinstance(query, SpatialQuery):
            raise TypeError(
                f"query is a {type(query).__name__}, expected a SpatialQuery: "
                'ask(scene, SpatialQuery("How many chairs are there?"))'
            )
        self._open_executor()
        draft = Draft(query, cancelled, on_text)
        own = self._own(scene)
        own.window.check_marks(query.marks)
        write = partial(self._answerer.write, own, self._answerer.read(own, query), draft)
        with suppress(Stopped):
            self._guarded("answering a question", write)
        return draft.answer(self._info.model_id)

    def close(self) -> None:
        """Give the model's memory back when a running question ends; scenes keep geometry."""
        with self._gate.observation():
            with self._lock:
                executor, self._executor = self._executor, None
                self._known = KnownFrames()  # the newest frames hold tokens on the device
                scenes = list(self._scenes)
            if executor is not None:
                executor.close()
        if executor is not None:
            del executor
            for scene in scenes:  # what they hold for questions holds the model
                scene.close()
            self._release_memory()

    def _encoded(
        self, executor: Executor, window: FrameWindow, size_hw: tuple[int, int], clock: PassClock
    ) -> EncodedScene:
        height, width = window.frames[0].image.shape[:2]
        own = self._config.semantic_picture == "own"
        semantic_hw = semantic_size(self._config, (height, width)) if own else None
        features = self._known.of_window(window, size_hw, semantic_hw)
        patch = self._config.patch_size
        seen = Seen(window, features, (size_hw[0] // patch, size_hw[1] // patch))
        clock.lap("preprocess")
        with self._gate.observation():
            clock.lap("wait")
            found = executor.observe(seen, clock)
        return EncodedScene(self._owner, seen, found, clock.read())

    def _open_executor(self) -> Executor:
        executor = self._executor
        if executor is None:
            raise RuntimeError("the runtime is closed; load it again")
        return executor

    def _own(self, scene: Scene) -> EncodedScene:
        """The scene, if it is this runtime's and open."""
        if not isinstance(scene, EncodedScene) or scene.owner is not self._owner:
            raise ValueError(
                "the scene was made by another runtime; ask the runtime that observed it"
            )
        if scene.closed:
            raise ValueError("the scene is closed; observe its window again")
        return scene

    def _guarded(self, doing: str, work: Callable[[], T]) -> T:
        """Run work; where memory runs out, free what it took and say so.

        The new error is raised outside the handler: it must not keep the old one's frames, and
        with them the arrays, alive.
        """
        try:
            return work()
        except MemoryError as error:
            problem = str(error) or "MemoryError"
        except RuntimeError as error:
            problem = str(error)
            if not any(words in problem for words in SHORTAGE_WORDS):
                raise
        self._release_memory()
        raise RuntimeError(
            f"{doing} ran out of memory on {self._place}: {problem.splitlines()[0]} "
            "Use fewer frames, close scenes that are not needed, or a smaller precision"
        )

    def _release_memory(self) -> None:
        gc.collect()
        self._release()
