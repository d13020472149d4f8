# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What goes in and what comes out: frames, windows of them, places in them, geometry.

Shape letters: N frames, H W pixels of the *model's* picture (after its resize), M points.
Axes are OpenCV optical axes everywhere: x right, y down, z forward.
`T_a_b` maps coordinates of b to a (`x_a = T_a_b @ x_b`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Frame", "FrameWindow", "GeometryPrediction", "PixelMark"]


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

    @property
    def newest_moment(self) -> int:
        """Frames of the newest moment, at the window's end: one of each camera that saw it.

        A rig's cameras see a moment together, so it reaches back to where a camera comes twice.
        """
        seen: set[str] = set()
        for frame in reversed(self.frames):
            if frame.camera in seen:
                break
            seen.add(frame.camera)
        return len(seen)

    def check_marks(self, marks: Sequence[PixelMark]) -> None:
        """Refuse marks that are not on a picture of the window.

        Raises:
            ValueError: A frame index outside the window, a position outside its picture or not
                finite, or one label twice.
        """
        for mark in marks:
            name = f"mark {mark.label!r}"
            if not 0 <= mark.frame_index < len(self):
                raise ValueError(
                    f"{name}: frame_index is {mark.frame_index}, the window has frames "
                    f"0..{len(self) - 1}"
                )
            height, width = self.frames[mark.frame_index].image.shape[:2]
            inside = -0.5 <= mark.u <= width - 0.5 and -0.5 <= mark.v <= height - 0.5
            if not inside:  # NaN fails both comparisons
                raise ValueError(
                    f"{name}: u={mark.u}, v={mark.v} is outside the {width}x{height} picture of "
                    f"frame {mark.frame_index}; pixels are those of the original image"
                )
        labels = [mark.label.casefold() for mark in marks if mark.label]
        if len(set(labels)) != len(labels):
            raise ValueError(f"two marks share a label: {labels}; name each mark differently")


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
        invalid: (N, H, W) bool; True where the model says that a pixel shows nothing solid: sky,
            a rim. None where the model has no word for it.
    """

    local_points: NDArray[np.float32]
    world_points: NDArray[np.float32]
    T_world_cam: NDArray[np.float32]
    confidence: NDArray[np.float32]
    valid: NDArray[np.bool_]
    K: NDArray[np.float32]
    colors: NDArray[np.uint8]
    confidence_source: str
    invalid: NDArray[np.bool_] | None = None

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
        box_wh: Width and height in pixels of a box about the place; None is the place alone.
    """

    frame_index: int
    u: float
    v: float
    label: str = ""
    box_wh: tuple[float, float] | None = None
