"""Every type that crosses a package border: frames in, geometry and answers out.

numpy only: the node, the runtimes and the tools share these types and none of them
has to import torch to do so.

Shape letters: N frames, H W pixels of the *model's* picture (after its resize), M points.
Axes are OpenCV optical axes everywhere: x right, y down, z forward.
`T_a_b` maps coordinates of b to a (`x_a = T_a_b @ x_b`).

Scale: the model's output is up to scale. Lengths below are in *scene units* until a scale
source fixes them; only then `is_metric` is True and the unit is the metre.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "AnswerStatus",
    "BuildProgress",
    "CrossCheck",
    "Frame",
    "FrameWindow",
    "GeometryPrediction",
    "PixelMark",
    "RuntimeInfo",
    "Scene",
    "SpatialAnswer",
    "SpatialQuery",
    "SpatialRuntime",
]


@dataclass(frozen=True)
class Frame:
    """One picture of one camera.

    Args:
        image: (H0, W0, 3) uint8 RGB, any size; never written to by a runtime.
        stamp_ns: Capture time of the message header, nanoseconds.
        frame_id: TF name of the camera's optical frame.
        camera: Name of the camera within the rig.
        key: Identity of the picture within its stream. A runtime caches what it computed
            for a frame under this key, so the same key must always mean the same pixels.
        K: (3, 3) float64 intrinsics in pixels of `image`, or None where unknown.

    Raises:
        ValueError: The picture is not (H, W, 3) uint8 with both sides at least 2.
    """

    image: NDArray[np.uint8]
    stamp_ns: int
    frame_id: str
    camera: str
    key: str
    K: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.image, np.ndarray):
            raise ValueError(
                f"frame {self.key!r}: image is a {type(self.image).__name__}, expected a numpy "
                "array, uint8 (H, W, 3) RGB"
            )
        shape = self.image.shape
        if self.image.dtype != np.uint8 or len(shape) != 3 or shape[2] != 3 or min(shape[:2]) < 2:
            raise ValueError(
                f"frame {self.key!r}: image is {self.image.dtype} {shape}, "
                "expected uint8 (H, W, 3) with H and W at least 2"
            )


@dataclass(frozen=True)
class FrameWindow:
    """The frames that one pass of the model sees, oldest first.

    The first frame defines the world axes of the pass and the size of the model's picture.

    Raises:
        ValueError: No frame, or one key twice.
    """

    frames: tuple[Frame, ...]

    def __post_init__(self) -> None:
        if not self.frames:
            raise ValueError("window has 0 frames, needs at least 1")
        keys = [frame.key for frame in self.frames]
        if len(set(keys)) != len(keys):
            raise ValueError(f"window holds a frame twice: {keys}")

    def __len__(self) -> int:
        return len(self.frames)


@dataclass(frozen=True)
class GeometryPrediction:
    """What the geometric expert says of a window, frame by frame, in the window's order.

    Args:
        local_points: (N, H, W, 3) float32, camera axes of each frame, scene units.
            `local_points[..., 2]` is the z-depth.
        world_points: (N, H, W, 3) float32, axes of the window's first camera, scene units.
        T_world_cam: (N, 4, 4) float32 camera-to-world; the first is the identity.
        confidence: (N, H, W) float32 in [0, 1].
        valid: (N, H, W) bool; False where a point is not finite, lies behind the camera,
            or sits on a depth edge.
        K: (N, 3, 3) float32 pinhole intrinsics in pixels of the *model's* picture,
            estimated from the points.
        colors: (N, H, W, 3) uint8 RGB, the model's pictures.
        confidence_source: "head" or "consistency" (multi-view consistency and depth edges).
    """

    local_points: NDArray[np.float32]
    world_points: NDArray[np.float32]
    T_world_cam: NDArray[np.float32]
    confidence: NDArray[np.float32]
    valid: NDArray[np.bool_]
    K: NDArray[np.float32]
    colors: NDArray[np.uint8]
    confidence_source: str

    @property
    def image_size(self) -> tuple[int, int]:
        """(H, W) of the model's picture."""
        return self.local_points.shape[1], self.local_points.shape[2]


@dataclass(frozen=True)
class PixelMark:
    """A place in one frame of a scene that a question is about.

    Args:
        frame_index: Index into the scene's window.
        u: Column, v: row, in pixels of that frame's *original* image (centre of the
            top-left pixel is 0, 0).
        label: The name that the question uses, e.g. "A".
    """

    frame_index: int
    u: float
    v: float
    label: str = ""


@dataclass(frozen=True)
class SpatialQuery:
    """A question about a scene.

    Args:
        question: Plain text, at most `MAX_QUESTION_CHARS` characters.
        marks: Places that the question refers to.
        max_tokens: Upper bound of answer tokens, at least 1.
        temperature: 0 is greedy; above 0 samples with this temperature.
        seed: Seed of the sampling.
        max_seconds: Decoding ends after this time with status TIMEOUT; None is no limit.

    Raises:
        ValueError: Empty or too long question, control characters, a number out of range.
    """

    MAX_QUESTION_CHARS = 4096
    MAX_TOKENS = 1024

    question: str
    marks: tuple[PixelMark, ...] = ()
    max_tokens: int = 64
    temperature: float = 0.0
    seed: int = 0
    max_seconds: float | None = None

    def __post_init__(self) -> None:
        text = self.question
        if not text.strip():
            raise ValueError("question is empty")
        if len(text) > self.MAX_QUESTION_CHARS:
            raise ValueError(
                f"question has {len(text)} characters, at most {self.MAX_QUESTION_CHARS}"
            )
        bad = sorted({ch for ch in text if not ch.isprintable() and ch not in "\n\t"})
        if bad:
            raise ValueError(f"question holds unprintable characters: {bad[:5]!r}")
        if not 1 <= self.max_tokens <= self.MAX_TOKENS:
            raise ValueError(f"max_tokens is {self.max_tokens}, expected 1..{self.MAX_TOKENS}")
        if not 0.0 <= self.temperature <= 10.0:
            raise ValueError(f"temperature is {self.temperature}, expected 0..10")
        if self.max_seconds is not None and not self.max_seconds > 0:
            raise ValueError(f"max_seconds is {self.max_seconds}, expected > 0 or None")


class AnswerStatus(enum.IntEnum):
    """Why an answer ended; the same numbers as in SpatialAnswer.msg."""

    OK = 0
    TRUNCATED = 1  # the token limit came before the end of the answer
    NO_SCENE = 2
    REJECTED = 3  # a bad question or mark; see the message
    TIMEOUT = 4
    OVERLOADED = 5
    CANCELLED = 6
    FAILED = 7


class CrossCheck(enum.IntEnum):
    """The answer's number against the one read off the geometry; as in SpatialAnswer.msg."""

    NOT_CHECKABLE = 0
    AGREES = 1
    DISAGREES = 2


@dataclass(frozen=True)
class SpatialAnswer:
    """A structured answer.

    Args:
        status, message: How it ended, and why in words where it is not OK.
        text: The model's words.
        value, unit: The number in the text and its unit ("" for a count, "deg",
            "scene_unit", "m"); None where the text holds none, and for a length said in
            metres while nothing fixes the scene's scale: that is the model's guess, it stays
            in `text` and `message` says so.
        is_metric: True only where a scale source fixed the scene's scale.
        sigma: Standard deviation of `value` in `unit`; None where unknown.
        points: (M, 3) float32 places the answer is about, axes of the window's first
            camera, scene units; `labels` names each.
        confidence: [0, 1], geometric mean of the probabilities of the answer's tokens.
        cross_check, measured_value: The same quantity read off the geometry.
        prefill_ms, decode_ms: Time of the semantic expert.
        tokens: Answer tokens that were computed.
        model_id: Name and short hash of the weights.
    """

    status: AnswerStatus
    message: str = ""
    text: str = ""
    value: float | None = None
    unit: str = ""
    is_metric: bool = False
    sigma: float | None = None
    points: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 3), np.float32))
    labels: tuple[str, ...] = ()
    confidence: float = 0.0
    cross_check: CrossCheck = CrossCheck.NOT_CHECKABLE
    measured_value: float | None = None
    prefill_ms: float = 0.0
    decode_ms: float = 0.0
    tokens: int = 0
    model_id: str = ""


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
class RuntimeInfo:
    """What really runs: reported in the status, in reports and in every answer.

    Args:
        backend: "torch", "onnx", "tensorrt".
        device: Device and what runs there, e.g. "cuda:0 (NVIDIA H200)",
            "cpu (CPUExecutionProvider)".
        precision: "fp32", "fp16", "bf16", "int8".
        model_id: Name and short hash of the weights, e.g. "nano-1a2b3c4d".
        parameters: Number of weights that are loaded.
        fallback_reason: Why this is not what was asked for; "" where it is.
        building: Of what will take over when it is built; None where nothing is.
    """

    backend: str
    device: str
    precision: str
    model_id: str
    parameters: int
    fallback_reason: str = ""
    building: BuildProgress | None = None


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
        """(N,) in [0, 1]: how sure the model is to see each frame's places in the newest one too.

        1 for the newest, the last of the window. What is little hangs on the model. None where
        the runtime cannot tell.
        """
        ...

    def close(self) -> None:
        """Free what questions need; the geometry stays readable."""
        ...


@runtime_checkable
class SpatialRuntime(Protocol):
    """A loaded model. Thread-safe: `observe` waits for at most one decode step of an `ask`."""

    @property
    def info(self) -> RuntimeInfo:
        """What really runs."""
        ...

    def observe(self, window: FrameWindow) -> Scene:
        """Encode a window once.

        Raises:
            ValueError: The window cannot be encoded (e.g. more frames than the model takes).
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
