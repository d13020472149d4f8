# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Serves with one runtime while a better one is being built, then changes over.

    runtime = BuildingRuntime(torch_runtime, "nano for onnx", build)

`build` runs in a thread of its own and returns the runtime that takes over. A build that fails
leaves everything as it is, with the reason in `info.fallback_reason`. A scene is asked about at
the runtime that observed it: the old one is closed when its last scene is, or kept where it takes
windows that the new one does not (an engine is built for a range of sizes).
"""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from ..interface import (
    BuildProgress,
    FrameWindow,
    ObservationCancelledError,
    RuntimeInfo,
    RuntimeLimits,
    Scene,
    SpatialAnswer,
    SpatialQuery,
    SpatialRuntime,
    TokenScene,
    WindowRefusedError,
)
from .build_process import BuildContext, BuildFailedError, BuildStopped

__all__ = [
    "Build",
    "BuildContext",
    "BuildFailedError",
    "BuildStopped",
    "BuildingRuntime",
    "close_all",
]

_LOG = logging.getLogger(__name__)

POLL_S = 0.05

Cancelled = Callable[[], bool] | None
Build = Callable[[BuildContext], SpatialRuntime | None]
"""Makes the runtime that takes over, checked and ready; None: the serving one is to stay."""


class BuildingRuntime:
    """A `SpatialRuntime` that changes over to another one, or has another beside it; thread-safe.

    Args:
        serving: Serves until then; closed here when it is needed no more.
        what: What is built, in words, e.g. "nano for onnx".
        build: Called once, in a thread of its own; None: nothing is built.
        beside: Loads what takes the windows that `serving` does not, at the first of them.
        limits: Of what `beside` loads.
    """

    def __init__(
        self,
        serving: SpatialRuntime,
        what: str,
        build: Build | None = None,
        beside: Callable[[], SpatialRuntime] | None = None,
        limits: RuntimeLimits | None = None,
    ) -> None:
        self._what = what
        self._changed = threading.Condition()
        self._loading = threading.Lock()
        self._current = _Lease(serving)
        self._beside: _Lease | None = None
        self._load_beside = beside
        self._limits = limits
        self._retired: list[_Lease] = []
        self._pause = False
        self._fallback = self._failure = self._outside = ""
        self._progress = None if build is None else BuildProgress(what, "starting", 0.0)
        self._reported = time.monotonic()
        self._stopping = threading.Event()
        self._thread = threading.Thread(
            target=self._work, args=(build,), name="engine-build", daemon=True
        )
        self._thread.start()

    @property
    def info(self) -> RuntimeInfo:
        """What serves now, how far the build is, and why it failed where it did."""
        with self._changed:
            info, progress, beside = self._current.runtime.info, self._progress, self._beside
            said = (self._fallback, self._failure, info.fallback_reason, self._outside)
            since_s = time.monotonic() - self._reported
        if progress is not None and progress.seconds_left is not None:
            # A stage may take minutes without a word; the time left runs on.
            left = max(0.0, progress.seconds_left - since_s)
            progress = replace(progress, seconds_left=left)
        reasons = "; ".join(reason for reason in said if reason)
        limits = beside.runtime.info.limits if beside else self._limits or info.limits
        return replace(info, fallback_reason=reasons, building=progress, limits=limits)

    def note_fallback(self, reason: str) -> None:
        """Have `info` say why this runs in the place of something better, whatever serves."""
        with self._changed:
            self._fallback = reason

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until nothing is being built any more; False where the time runs out first."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def observe(self, window: FrameWindow, *, cancelled: Cancelled = None) -> Scene:
        """Encode a window with the runtime that serves now, or with the one beside it.

        Raises:
            WindowRefusedError: Neither takes it.
            ObservationCancelledError, ValueError, RuntimeError: As that runtime says.
        """
        try:
            with self._using(cancelled=cancelled) as lease:
                return self._observed(lease, window, cancelled)
        except WindowRefusedError as error:
            refusal = str(error)
            if self._beside is None and self._load_beside is None:
                raise
        with self._using(self._other(refusal), cancelled) as lease:
            return self._observed(lease, window, cancelled)

    def ask(
        self,
        scene: Scene,
        query: SpatialQuery,
        *,
        on_text: Callable[[str], None] | None = None,
        cancelled: Cancelled = None,
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
            lease.asks += 1
            try:
                return lease.runtime.ask(scene.inner, query, on_text=on_text, cancelled=cancelled)
            finally:
                lease.asks -= 1

    def close(self) -> None:
        """End the build with all of its processes, then close every runtime.

        The first error of a runtime is raised; the others are closed all the same.
        """
        self._stopping.set()
        self._thread.join()
        with self._loading, self._changed:
            leases, self._retired, self._load_beside = self._leases(), [], None
        error = close_all(*(lease.runtime for lease in leases))
        if error is not None:
            raise error

    def sweep(self) -> None:
        """Close former runtimes that no open scene needs; their errors are logged."""
        with self._changed:
            needed = {id(lease) for lease in self._leases() if lease.needed}
            unused = [lease for lease in self._retired if id(lease) not in needed]
            self._retired = [lease for lease in self._retired if id(lease) in needed]
        close_all(*(lease.runtime for lease in unused))

    def _leases(self) -> list[_Lease]:
        return [self._current, *([self._beside] if self._beside else []), *self._retired]

    def _observed(self, lease: _Lease, window: FrameWindow, cancelled: Cancelled) -> Scene:
        scene = _OwnedScene(self, lease, lease.runtime.observe(window, cancelled=cancelled))
        with self._changed:
            lease.scenes.append(weakref.ref(scene))
        return scene

    def _other(self, refusal: str) -> _Lease:
        """What takes the windows that the serving runtime does not; loaded where it is not yet."""
        with self._loading:
            if self._beside is None:
                if self._load_beside is None:
                    raise RuntimeError("the runtime is closed; load it again")
                _LOG.warning("%s; another runtime is loaded for such windows", refusal)
                self._beside = _Lease(self._load_beside())
        info = self._beside.runtime.info
        said = f"a window went to {info.runtime} on {info.device}: {refusal}"
        with self._changed:
            self._outside = said
        return self._beside

    @contextmanager
    def _using(self, lease: _Lease | None = None, cancelled: Cancelled = None) -> Iterator[_Lease]:
        """Keep a runtime from being closed; the serving one where none is named."""
        with self._changed:
            while self._pause:
                self._changed.wait(POLL_S)
                if cancelled is not None and cancelled():
                    raise ObservationCancelledError()
            lease = lease or self._current
            lease.calls += 1
        try:
            yield lease
        finally:
            with self._changed:
                lease.calls -= 1
                self._changed.notify_all()
            self.sweep()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Nothing is served inside: what runs ends first, what comes waits.

        It begins when no question is being answered, so that it keeps an observation waiting for
        one other observation and not for an answer.
        """
        try:
            with self._changed:
                self._wait_until_none("asks")
                self._pause = True
                self._wait_until_none("calls")
            yield
        finally:
            with self._changed:
                self._pause = False
                self._changed.notify_all()

    def _wait_until_none(self, what: str) -> None:
        while any(getattr(lease, what) for lease in self._leases()):
            if self._stopping.is_set():
                raise BuildStopped
            self._changed.wait(POLL_S)

    def _work(self, build: Build | None) -> None:
        if build is None:
            return
        made, failure = None, ""
        serving = self._current.runtime
        try:
            made = build(BuildContext(self._on_stage, self._stopping, serving, self._alone))
        except BuildStopped:
            pass
        except BaseException as error:  # of a build, exits and panics too: the old one serves
            _LOG.debug("the build failed", exc_info=True)
            info = serving.info
            failure = (
                f"{self._what} could not be built, {info.runtime} on {info.device} serves: "
                f"{str(error) or type(error).__name__}"
            )
            _LOG.warning("%s", failure)
        if made is not None and self._stopping.is_set():
            close_all(made)
            made = None
        with self._changed:
            self._failure, self._progress = failure, None
            if made is not None:
                self._take_over(made)
        if made is not None:
            info = made.info
            _LOG.info("%s is built; %s on %s serves", self._what, info.runtime, info.device)
            self.sweep()

    def _take_over(self, made: SpatialRuntime) -> None:
        """Serve with the new runtime; the old one stays where it takes more."""
        old, mine, limits = self._current, made.info.limits, self._current.runtime.info.limits
        if mine is None or limits is None or mine.cover(limits):
            self._retired.append(old)
        else:
            self._beside = old
        self._current = _Lease(made)

    def _on_stage(self, name: str, fraction: float, seconds_left: float | None) -> None:
        with self._changed:
            self._progress = BuildProgress(self._what, name, fraction, seconds_left)
            self._reported = time.monotonic()


def close_all(*runtimes: SpatialRuntime) -> Exception | None:
    """Close every runtime, whatever another one raises; return the first error, log all."""
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
    """A runtime and who still needs it: calls under way, questions among them, open scenes."""

    runtime: SpatialRuntime
    calls: int = 0
    asks: int = 0
    scenes: list[weakref.ref[_OwnedScene]] = field(default_factory=list)

    @property
    def needed(self) -> bool:
        """Whether a call is under way, or somebody holds an open scene."""
        alive = [(one, one()) for one in self.scenes]
        self.scenes = [one for one, scene in alive if scene is not None and not scene.closed]
        return bool(self.calls or self.scenes)


class _OwnedScene:
    """A scene and the runtime that made it."""

    def __init__(self, owner: BuildingRuntime, lease: _Lease, inner: Scene) -> None:
        self.owner = owner
        self.lease = lease
        self.inner = inner
        self.window, self.geometry = inner.window, inner.geometry
        self.latency_ms, self.overlap = inner.latency_ms, inner.overlap
        self.tokens = inner.tokens if isinstance(inner, TokenScene) else None
        self.closed = False

    def close(self) -> None:
        """Free what questions need; the geometry stays readable."""
        self.closed = True
        self.inner.close()
        self.owner.sweep()
