# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What executes a model: what runs, the scene of one pass, and how both are asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from .frames import FrameWindow, GeometryPrediction
from .questions import SpatialAnswer, SpatialQuery
from .words import make_plain

__all__ = [
    "TRIAL_HW",
    "BuildProgress",
    "ObservationCancelledError",
    "RuntimeInfo",
    "RuntimeLimits",
    "Scene",
    "SpatialRuntime",
    "TokenScene",
    "WindowRefusedError",
]

TRIAL_HW = (120, 480)  # a third of the patches of a picture of 4:3
MAX_SIDE = 1 << 30  # pixels; stands for no limit


@dataclass(frozen=True)
class BuildProgress:
    """How far a build is that runs while another runtime serves.

    Args:
        what: What is being built, e.g. "nano for onnx".
        stage: What it is at now, e.g. "exporting geometry".
        fraction: [0, 1] of the step that this stage belongs to: an export, an engine.
        seconds_left: Of that step; None where nobody knows.
    """

    what: str
    stage: str
    fraction: float
    seconds_left: float | None = None

    def __str__(self) -> str:
        left = "" if self.seconds_left is None else f", {self.seconds_left:.0f} s left"
        return f"building {self.what}: {self.stage}, {100 * self.fraction:.0f} %{left}"


@dataclass(frozen=True)
class RuntimeLimits:
    """Which windows a runtime takes; stated before the first one, so that nobody has to try.

    Args:
        max_frames: Longest window.
        min_frames: Shortest window.
        min_hw, max_hw: Smallest and largest (H, W) of the model's picture; None is no limit.
    """

    max_frames: int
    min_frames: int = 1
    min_hw: tuple[int, int] | None = None
    max_hw: tuple[int, int] | None = None

    def refusal(self, frames: int, model_hw: tuple[int, int] | None = None) -> str:
        """Why a window is not taken; "" where it is.

        Args:
            frames: Of the window.
            model_hw: (H, W) of the model's picture; None where it is not known yet.
        """
        if not self.min_frames <= frames <= self.max_frames:
            advice = "fewer" if frames > self.max_frames else "more"
            return (
                f"the window has {frames} frames, the runtime takes "
                f"{_range(self.min_frames, self.max_frames)}; give {advice} keyframes"
            )
        for what, low, value, high in self._sides(model_hw):
            if not low <= value <= high:
                return (
                    f"the model's picture is {value} px {what}, the runtime takes "
                    f"{_range(low, high)}; crop the pictures"
                )
        return ""

    def cover(self, other: RuntimeLimits) -> bool:
        """Whether every window that `other` takes is taken here too."""
        smallest, largest = other.min_hw or (1, 1), other.max_hw or (MAX_SIDE, MAX_SIDE)
        return not (
            self.refusal(other.max_frames, largest) or self.refusal(other.min_frames, smallest)
        )

    def _sides(self, model_hw: tuple[int, int] | None) -> Iterator[tuple[str, int, int, int]]:
        if model_hw is not None:
            low, high = self.min_hw or (1, 1), self.max_hw or (MAX_SIDE, MAX_SIDE)
            yield from zip(("high", "wide"), low, model_hw, high, strict=True)


def _range(low: int, high: int) -> str:
    return f"{low} only" if low == high else f"{low} to {high}"


@dataclass(frozen=True)
class RuntimeInfo:
    """What really runs: reported in the status, in reports and in every answer, in plain words.

    Args:
        runtime: "torch", "onnx", "tensorrt".
        device: Device and what runs there, e.g. "cuda:0 (NVIDIA H200)",
            "cpu (CPUExecutionProvider)".
        precision: "fp32", "fp16", "bf16", "int8".
        model_id: Name and short hash of the weights, e.g. "nano@1a2b3c4d".
        parameters: Number of weights that are loaded.
        fallback_reason: Why this is not what was asked for; "" where it is.
        building: Of what will take over when it is built; None where nothing is.
        limits: Windows that are taken; None where the runtime does not say.
        calibration: Text of the model's `calibration.json`; "" where it has none.
        trial_s: Seconds of a pass over one picture of `TRIAL_HW`, made ahead of all others; 0
            where none was.
        token_s: Seconds of a token of an answer about it, with its picture unread; 0 likewise.
    """

    runtime: str
    device: str
    precision: str
    model_id: str
    parameters: int
    fallback_reason: str = ""
    building: BuildProgress | None = None
    limits: RuntimeLimits | None = None
    calibration: str = ""
    trial_s: float = 0.0
    token_s: float = 0.0

    def __post_init__(self) -> None:
        make_plain(self, "runtime", "device", "precision", "model_id", "fallback_reason")


class ObservationCancelledError(RuntimeError):
    """A pass was ended because nobody wants its scene any more."""

    def __init__(self) -> None:
        super().__init__("the observation was cancelled")


class WindowRefusedError(ValueError):
    """A window outside a runtime's limits; the text says which, and what to do."""


@runtime_checkable
class Scene(Protocol):
    """One encoded window. It keeps what questions need until it is closed or collected."""

    @property
    def window(self) -> FrameWindow:
        """The frames that were encoded."""
        ...

    @property
    def geometry(self) -> GeometryPrediction:
        """What the geometric expert says of them."""
        ...

    @property
    def latency_ms(self) -> dict[str, float]:
        """Time of each step of the pass, and "total".

        Steps: "preprocess", "wait" (for the device), "encode", "expert", "heads", "confidence"
        (with intrinsics and validity), "overlap". An exported geometry has "engine" in the place
        of expert and heads, and of "encode" too where it is one graph.
        """
        ...

    @property
    def overlap(self) -> NDArray[np.float32] | None:
        """(N,) in [0, 1]: how sure the model is to see each frame's places in the newest ones too.

        1 for the newest, those of the window's newest moment. What is little hangs on the model.
        None where the runtime cannot tell.
        """
        ...

    def close(self) -> None:
        """Free what questions need; the geometry stays readable."""
        ...


@runtime_checkable
class TokenScene(Scene, Protocol):
    """A scene that also says how its frames look as a whole; not every runtime's does."""

    @property
    def tokens(self) -> NDArray[np.float32] | None:
        """(N, D) generalised mean of each frame's patch tokens, to tell places by.

        The same frame has the same in every window. None where the encoder does not work frame
        by frame.
        """
        ...


@runtime_checkable
class SpatialRuntime(Protocol):
    """A loaded model. Thread-safe: `observe` waits for at most one decode step of an `ask`."""

    @property
    def info(self) -> RuntimeInfo:
        """What really runs."""
        ...

    def observe(self, window: FrameWindow, *, cancelled: Callable[[], bool] | None = None) -> Scene:
        """Encode a window once.

        Args:
            window: Within `info.limits`.
            cancelled: Asked between the layers of the pass, also from another thread; True
                ends it.

        Raises:
            WindowRefusedError: The window is outside `info.limits`.
            ValueError: It cannot be encoded: a picture of an extreme shape, a frame key that is
                in use for other pixels.
            ObservationCancelledError: `cancelled` said so.
            RuntimeError: The device failed; the runtime stays usable.
        """
        ...

    def ask(
        self,
        scene: Scene,
        query: SpatialQuery,
        *,
        on_text: Callable[[str], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> SpatialAnswer:
        """Answer a question about a scene; the scene is unchanged afterwards.

        Args:
            on_text: Called after each token with the text so far.
            cancelled: Asked before each decode step; True ends with status CANCELLED.

        Raises:
            ValueError: A mark outside its picture or window, or a scene of another runtime.
            RuntimeError: The device failed; the runtime stays usable.
        """
        ...

    def close(self) -> None:
        """Free the model; its scenes can no longer be asked about."""
        ...
