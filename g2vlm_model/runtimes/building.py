"""Serves with one runtime while a better one is being built, then changes over.

    runtime = BuildingRuntime(torch_runtime, "nano for onnx", build)

`build` runs in a thread of its own and returns the runtime that takes over. A build that fails
leaves everything as it is, with the reason in `info.fallback_reason`. A scene is asked about at
the runtime that observed it: the old one is closed when its last scene is. Standard library only.
"""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..interface import (
    BuildProgress,
    FrameWindow,
    GeometryPrediction,
    RuntimeInfo,
    Scene,
    SpatialAnswer,
    SpatialQuery,
    SpatialRuntime,
)
from .build_command import BuildFailedError, BuildStopped, run_command
from .cache_key import CacheKey
from .engine_cache import CacheEntry, EngineCache

__all__ = [
    "Build",
    "BuildContext",
    "BuildFailedError",
    "BuildStopped",
    "BuildingRuntime",
    "close_all",
]

_LOG = logging.getLogger(__name__)

LOCK_WAIT_S = 0.5


class BuildContext:
    """What a build may use; all of it ends with `BuildStopped` when the runtime is closed.

    Args:
        on_stage: Takes stage, fraction and seconds left.
        stopping: Set when the build has to end.
    """

    def __init__(
        self, on_stage: Callable[[str, float, float | None], None], stopping: threading.Event
    ) -> None:
        self._on_stage = on_stage
        self._stopping = stopping

    def stage(self, name: str, fraction: float = 0.0, seconds_left: float | None = None) -> None:
        """Say what the build is at.

        Raises:
            BuildStopped: The build has to end.
        """
        if self._stopping.is_set():
            raise BuildStopped
        self._on_stage(name, fraction, seconds_left)

    def run(self, *words: str) -> None:
        """Run a `g2vlm` command that takes `--progress json`.

        Raises:
            BuildFailedError: It failed; the text holds its last words.
            BuildStopped: The build has to end.
        """
        run_command(words, self._on_stage, self._stopping)

    def entry(
        self,
        cache: EngineCache,
        key: CacheKey,
        words: Callable[[Path], Sequence[str]],
        needed_bytes: int = 0,
    ) -> CacheEntry:
        """An entry of the cache, built by a command where it is not there yet.

        One process builds, others that want the same wait for it and share the result.

        Args:
            cache: Where it is kept.
            key: What it is.
            words: Of the command that writes it into the folder that it is given.
            needed_bytes: Refused before the build where the disk has less left.

        Raises:
            BuildFailedError, OSError: The build failed; the text says what to do.
            BuildStopped: The build has to end.
        """
        with ExitStack() as stack:
            while True:
                try:
                    waiting = cache.building(key, needed_bytes=needed_bytes, wait_s=LOCK_WAIT_S)
                    building = stack.enter_context(waiting)
                    break
                except TimeoutError:
                    self.stage("waiting for another process that builds the same")
            if building.entry is None:
                self.run(*words(building.folder))
                building.commit({})
            assert building.entry is not None, key
            return building.entry


Build = Callable[[BuildContext], SpatialRuntime | None]
"""Makes the runtime that takes over, checked and ready; None: the serving one is to stay."""


class BuildingRuntime:
    """A `SpatialRuntime` that changes over to another one; thread-safe.

    Args:
        serving: Serves until then; closed here when it is needed no more.
        what: What is built, in words, e.g. "nano for onnx".
        build: Called once, in a thread of its own.
    """

    def __init__(self, serving: SpatialRuntime, what: str, build: Build) -> None:
        self._what = what
        self._lock = threading.Lock()
        self._current = _Lease(serving)
        self._retired: list[_Lease] = []
        self._fallback = self._failure = ""
        self._progress: BuildProgress | None = BuildProgress(what, "starting", 0.0)
        self._reported = time.monotonic()
        self._stopping = threading.Event()
        self._thread = threading.Thread(
            target=self._work, args=(build,), name="engine-build", daemon=True
        )
        self._thread.start()

    @property
    def info(self) -> RuntimeInfo:
        """What serves now, how far the build is, and why it failed where it did."""
        with self._lock:
            info, progress = self._current.runtime.info, self._progress
            said = (self._fallback, self._failure, info.fallback_reason)
            since_s = time.monotonic() - self._reported
        if progress is not None and progress.seconds_left is not None:
            # A stage may take minutes without a word; the time left runs on.
            left = max(0.0, progress.seconds_left - since_s)
            progress = replace(progress, seconds_left=left)
        reasons = "; ".join(reason for reason in said if reason)
        return replace(info, fallback_reason=reasons, building=progress)

    def note_fallback(self, reason: str) -> None:
        """Have `info` say why this runs in the place of something better, whatever serves."""
        with self._lock:
            self._fallback = reason

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until nothing is being built any more; False where the time runs out first."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def observe(self, window: FrameWindow, *, cancelled: Callable[[], bool] | None = None) -> Scene:
        """Encode a window with the runtime that serves now.

        Raises:
            ValueError, RuntimeError: As that runtime says.
        """
        with self._using() as lease:
            scene = _OwnedScene(self, lease, lease.runtime.observe(window, cancelled=cancelled))
            with self._lock:
                lease.scenes.append(weakref.ref(scene))
            return scene

    def ask(
        self,
        scene: Scene,
        query: SpatialQuery,
        *,
        on_text: Callable[[str], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> SpatialAnswer:
        """Answer a question about a scene, with the runtime that observed it.

        Raises:
            ValueError: A scene of another runtime or a closed one, and as that runtime says.
            RuntimeError: As that runtime says.
        """
        if not isinstance(scene, _OwnedScene) or scene.owner is not self:
            raise ValueError(
                "the scene was made by another runtime; ask the runtime that observed it"
            )
        with self._using(scene.lease) as lease:
            if scene.closed:
                raise ValueError("the scene is closed; observe its window again")
            return lease.runtime.ask(scene.inner, query, on_text=on_text, cancelled=cancelled)

    def close(self) -> None:
        """End the build with all of its processes, then close every runtime.

        Raises:
            Exception: The first that a runtime raises; the others are closed all the same.
        """
        self._stopping.set()
        self._thread.join()
        with self._lock:
            leases = [self._current, *self._retired]
            self._retired = []
        error = close_all(*(lease.runtime for lease in leases))
        if error is not None:
            raise error

    def sweep(self) -> None:
        """Close former runtimes that no open scene needs; their errors are logged."""
        with self._lock:
            for lease in (self._current, *self._retired):
                lease.forget_scenes()
            unused = [lease for lease in self._retired if not lease.needed]
            self._retired = [lease for lease in self._retired if lease.needed]
        close_all(*(lease.runtime for lease in unused))

    @contextmanager
    def _using(self, lease: _Lease | None = None) -> Iterator[_Lease]:
        """Keep a runtime from being closed; the serving one where none is named."""
        with self._lock:
            lease = lease or self._current
            lease.calls += 1
        try:
            yield lease
        finally:
            with self._lock:
                lease.calls -= 1
            self.sweep()

    def _work(self, build: Build) -> None:
        made, failure = None, ""
        try:
            made = build(BuildContext(self._on_stage, self._stopping))
        except BuildStopped:
            pass
        except Exception as error:  # whatever a build or a new runtime raises: the old one serves
            _LOG.debug("the build failed", exc_info=True)
            info = self._current.runtime.info
            failure = (
                f"{self._what} could not be built, {info.runtime} on {info.device} serves: "
                f"{str(error) or type(error).__name__}"
            )
            _LOG.warning("%s", failure)
        if made is not None and self._stopping.is_set():
            close_all(made)
            made = None
        with self._lock:
            if made is not None:
                self._retired.append(self._current)
                self._current = _Lease(made)
            self._failure, self._progress = failure, None
        if made is not None:
            info = made.info
            _LOG.info("%s is built; %s on %s serves", self._what, info.runtime, info.device)
            self.sweep()

    def _on_stage(self, name: str, fraction: float, seconds_left: float | None) -> None:
        with self._lock:
            self._progress = BuildProgress(self._what, name, fraction, seconds_left)
            self._reported = time.monotonic()


def close_all(*runtimes: SpatialRuntime) -> Exception | None:
    """Close every runtime, whatever another one raises.

    Returns:
        The first error, None where there is none; all are logged.
    """
    first = None
    for runtime in runtimes:
        try:
            runtime.close()
        except Exception as error:  # whatever a device or a library raises
            info = runtime.info
            _LOG.warning("%s on %s could not be closed: %s", info.runtime, info.device, str(error))
            first = first or error
    return first


@dataclass(eq=False)
class _Lease:
    """A runtime and who still needs it."""

    runtime: SpatialRuntime
    calls: int = 0
    scenes: list[weakref.ref[_OwnedScene]] = field(default_factory=list)

    @property
    def needed(self) -> bool:
        """Whether a call is under way or a scene is open."""
        return bool(self.calls or self.scenes)

    def forget_scenes(self) -> None:
        """Forget scenes that are closed, or that nobody holds any more."""
        alive = [(one, one()) for one in self.scenes]
        self.scenes = [one for one, scene in alive if scene is not None and not scene.closed]


class _OwnedScene:
    """A scene and the runtime that made it."""

    def __init__(self, owner: BuildingRuntime, lease: _Lease, inner: Scene) -> None:
        self.owner = owner
        self.lease = lease
        self.inner = inner
        self.closed = False

    @property
    def window(self) -> FrameWindow:
        """The frames that were encoded."""
        return self.inner.window

    @property
    def geometry(self) -> GeometryPrediction:
        """What the geometric expert says of them."""
        return self.inner.geometry

    @property
    def latency_ms(self) -> dict[str, float]:
        """Time of each step of the pass."""
        return self.inner.latency_ms

    @property
    def overlap(self) -> NDArray[np.float32] | None:
        """How much of each frame the newest one shows too; None where nobody can tell."""
        return self.inner.overlap

    def close(self) -> None:
        """Free what questions need; the geometry stays readable."""
        self.closed = True
        self.inner.close()
        self.owner.sweep()
