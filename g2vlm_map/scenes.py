# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The few scenes that questions may be about, closed as soon as nobody needs them.

Safe between the thread of the passes, that of the questions and whoever asks.
"""

from __future__ import annotations

import math
import threading
from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from g2vlm_model.interface import (
    Frame,
    FrameWindow,
    GeometryPrediction,
    PixelMark,
    Scene,
    SpatialAnswer,
)

from .answers.deciding import in_words
from .answers.measure import Scale
from .camera_model import scaled_K
from .frame_optics import CameraFrame
from .mapping.keyframe import PlacedKeyframe
from .poses import inverse, metric
from .scale.estimate import ScaleEstimate
from .world import World

__all__ = ["SceneRecord", "SceneStore", "SceneUnknownError", "ScenesInUseError", "check_inside"]

SCENE_UNIT = "scene_unit"


class SceneUnknownError(LookupError):
    """No scene, or none with that stamp."""


class ScenesInUseError(RuntimeError):
    """Questions that wait hold as many scenes open as may be."""


@dataclass(frozen=True, eq=False)
class SceneRecord:
    """A scene and its place in its segment.

    Args:
        scene: The runtime's scene.
        newest: Index of the frame whose camera axes its outputs are in.
        scale: Map units per scene unit.
        segment: Number of its segment.
        moment: Indices of the frames of the newest moment; `newest` is the first of them.
        T_map_cam: (4, 4) pose of the newest frame in the segment's axes and units; None where
            the reference camera is missing in that moment.
        corrected: The runtime's geometry with what is known of the cameras; None: as it is.
        anchor: The keyframe by which the scene is found again in a map whose past has changed; as
            it was placed when the scene came.
    """

    scene: Scene
    newest: int
    scale: float
    segment: int
    moment: tuple[int, ...] = ()
    T_map_cam: NDArray[np.float64] | None = None
    corrected: GeometryPrediction | None = None
    anchor: PlacedKeyframe | None = None

    def at(self, world: World) -> SceneRecord:
        """The scene as it stands in a map now, whose poses, unit and segments may have changed.

        Returns:
            It with scale and pose of now, and the segment in which it lies; without a pose, and in
            no segment, where the map holds its keyframe no longer: it was emptied or replaced.
        """
        then = self.anchor
        if then is None:
            return self
        kept = (placed for placed in world.keyframes if placed.keyframe is then.keyframe)
        now = next(kept, None)
        if now is None:  # culled, or of another map
            stands = any(placed.segment == self.segment for placed in world.keyframes)
            return self if stands else replace(self, T_map_cam=None, segment=0)
        if now is then:
            return self
        grown = math.exp(now.log_depth_scale - then.log_depth_scale)
        T_map_cam = None
        if self.T_map_cam is not None:
            T_body_cam = inverse(then.T_map_body) @ self.T_map_cam
            T_map_cam = now.T_map_body @ metric(T_body_cam, grown)
        return replace(self, scale=self.scale * grown, T_map_cam=T_map_cam, segment=now.segment)

    @property
    def geometry(self) -> GeometryPrediction:
        """What the geometric expert says of the window, on the cameras' own rays."""
        return self.scene.geometry if self.corrected is None else self.corrected

    @property
    def window(self) -> FrameWindow:
        """The window."""
        return self.scene.window

    @property
    def frames(self) -> tuple[Frame, ...]:
        """The window's frames."""
        return self.scene.window.frames

    @property
    def stamp_ns(self) -> int:
        """Stamp of the scene's outputs."""
        return self.frames[self.newest].stamp_ns

    @property
    def frame_id(self) -> str:
        """Optical frame of the scene's outputs."""
        return self.frames[self.newest].frame_id

    def mark(self, camera: str, stamp_ns: int, u: float, v: float, label: str) -> PixelMark:
        """A mark by camera and stamp as one by frame index.

        Args:
            camera: Name; "" is the camera of the newest frame.
            stamp_ns: 0 is that camera's newest frame.
            u: Column in the frame as it was delivered.
            v: Row in there.
            label: The question's name for the place.

        Raises:
            ValueError: The scene holds no such frame, or the place lies outside of it.
        """
        camera = camera or self.frames[self.newest].camera
        matches = [i for i, frame in enumerate(self.frames) if frame.camera == camera]
        if not matches:
            known = sorted({frame.camera for frame in self.frames})
            raise ValueError(f"mark names camera {camera!r:.60}, the scene holds {known}")
        if stamp_ns:
            exact = [i for i in matches if self.frames[i].stamp_ns == stamp_ns]
            if not exact:
                stamps = [self.frames[i].stamp_ns for i in matches]
                raise ValueError(
                    f"mark's stamp is {stamp_ns} ns, the scene's frames of {camera} have {stamps}"
                )
            matches = exact
        index = max(matches, key=lambda i: self.frames[i].stamp_ns)
        frame = self.frames[index]
        height, width = frame.image.shape[:2]
        check_inside(camera, (u, v), (height, width))
        if isinstance(frame, CameraFrame):
            given, (u, v) = (u, v), frame.optics.to_frame(u, v)
            if not (-0.5 <= u <= width - 0.5 and -0.5 <= v <= height - 0.5):
                raise ValueError(
                    f"mark ({given[0]:g}, {given[1]:g}) lies where the straightened frame of "
                    f"{camera} does not reach; mark a place nearer to the middle"
                )
        return PixelMark(index, float(u), float(v), label)

    def stamps_of(self, camera: str) -> list[int]:
        """Stamps of a camera's frames, in the order of the window."""
        return [frame.stamp_ns for frame in self.frames if frame.camera == camera]

    def size_of(self, camera: str) -> tuple[int, int]:
        """(H, W) of the newest frame of a camera that the scene holds."""
        image = [frame.image for frame in self.frames if frame.camera == camera][-1]
        return image.shape[0], image.shape[1]

    def places(self, points_M3: NDArray[np.floating]) -> NDArray[np.float64]:
        """Where points, such as those of an answer, appear in the newest frame: `mark`'s way back.

        Args:
            points_M3: In the axes of the newest frame's camera, any unit.

        Returns:
            (M, 2) pixels (u, v) of the frame as it was delivered; NaN for what lies behind it.
        """
        frame = self.frames[self.newest]
        frame_hw = (frame.image.shape[0], frame.image.shape[1])
        K = scaled_K(
            self.geometry.K[self.newest].astype(np.float64), self.geometry.image_size, frame_hw
        )
        points = np.asarray(points_M3, np.float64).reshape(-1, 3)
        points = np.where(points[:, 2:] > 0, points, np.nan)
        pixels_M2 = points[:, :2] / points[:, 2:] * K[[0, 1], [0, 1]] + K[:2, 2]
        return frame.optics.to_delivered(pixels_M2) if isinstance(frame, CameraFrame) else pixels_M2

    def in_map_units(self, answer: SpatialAnswer) -> SpatialAnswer:
        """The answer with lengths in map units and points in the newest frame's axes."""
        T_world_cam = np.asarray(self.geometry.T_world_cam[self.newest], np.float64)
        points: NDArray[np.float32] = answer.points
        if len(points):
            # Row vectors: (p - t) @ R is R^T (p - t), from world to camera axes.
            camera = (points - T_world_cam[:3, 3]) @ T_world_cam[:3, :3] * self.scale
            points = camera.astype(np.float32)
        scale = self.scale if answer.unit == SCENE_UNIT else 1.0
        return replace(_scaled(answer, scale), points=points)

    def metric(self, scale: ScaleEstimate) -> Scale | None:
        """What makes lengths of the scene metres; None where nothing does."""
        if not scale.metric:
            return None
        return Scale(self.scale * scale.metres_per_unit, scale.sigma, "+".join(scale.sources))

    def given_out(self, answer: SpatialAnswer, scale: ScaleEstimate) -> SpatialAnswer:
        """The answer with points in the newest frame's axes, in metres where the scale carries.

        Args:
            answer: With lengths in scene units, or in metres already.
            scale: Of the map, at the time of the question.

        Returns:
            Lengths in metres, their sigma with that of the scale, and by whom, in the message;
            in map units where nothing carries. `is_metric` says which.
        """
        answer, carries = self.in_map_units(answer), self.metric(scale)
        if carries is None:
            return in_words(replace(answer, is_metric=False))
        metres = scale.metres_per_unit
        points = (answer.points * metres).astype(np.float32)
        answer = replace(answer, points=points, is_metric=True)
        if answer.unit != SCENE_UNIT or answer.value is None:
            return in_words(answer)
        length = abs(answer.value * metres)
        sigma = math.hypot((answer.sigma or 0.0) * metres, length * scale.sigma)
        message = answer.message or carries.text
        return in_words(replace(_scaled(answer, metres), message=message, unit="m", sigma=sigma))


def check_inside(camera: str, place: tuple[float, float], size_hw: tuple[int, int]) -> None:
    """Refuse a mark beside its picture.

    Raises:
        ValueError: It lies outside.
    """
    (u, v), (height, width) = place, size_hw
    if not (-0.5 <= u <= width - 0.5 and -0.5 <= v <= height - 0.5):
        raise ValueError(
            f"mark ({u:g}, {v:g}) lies outside of the {width} x {height} frame of {camera}"
        )


def _scaled(answer: SpatialAnswer, scale: float) -> SpatialAnswer:
    """The answer with every number in its unit times a scale."""

    def scaled(number: float | None) -> float | None:
        return None if number is None else number * scale

    return replace(
        answer,
        value=scaled(answer.value),
        sigma=scaled(answer.sigma),
        text_value=scaled(answer.text_value),
        measured_value=scaled(answer.measured_value),
        measured_sigma=scaled(answer.measured_sigma),
    )


class SceneStore:
    """The newest scenes.

    Args:
        keep: How many; older ones are closed once no question uses them.
    """

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self._lock = threading.Lock()
        self._records: list[SceneRecord] = []
        self._open: set[SceneRecord] = set()
        self._users: Counter[SceneRecord] = Counter()

    def __len__(self) -> int:
        return len(self._records)

    @property
    def newest(self) -> SceneRecord | None:
        """The newest scene."""
        with self._lock:
            return self._records[-1] if self._records else None

    def add(self, record: SceneRecord) -> None:
        """Add the newest scene; the oldest falls out."""
        with self._lock:
            self._records.append(record)
            self._open.add(record)
            self._records = self._records[-self._keep :]
        self._close_unused()

    def clear(self) -> None:
        """Forget all scenes."""
        with self._lock:
            self._records = []
        self._close_unused()

    def hold(self, stamp_ns: int) -> SceneRecord:
        """Keep a scene open until `release`, also when newer ones take its place.

        Args:
            stamp_ns: Of the scene; 0 is the newest.

        Raises:
            SceneUnknownError: There is none; the text lists the stamps that there are.
            ScenesInUseError: As many scenes as are kept are held beside them already.
        """
        with self._lock:
            record = self._find(stamp_ns)
            fallen_out = len(self._open) - len(self._records)
            if fallen_out >= self._keep:
                raise ScenesInUseError(
                    f"questions that wait hold {fallen_out} earlier scenes open already "
                    "(scenes.keep); ask less often"
                )
            self._users[record] += 1
        return record

    def release(self, record: SceneRecord) -> None:
        """A scene that was held is not needed any more."""
        with self._lock:
            self._users[record] -= 1
        self._close_unused()

    def _find(self, stamp_ns: int) -> SceneRecord:
        if not self._records:
            raise SceneUnknownError("no scene has been reconstructed yet")
        if not stamp_ns:
            return self._records[-1]
        for record in reversed(self._records):
            if record.stamp_ns == stamp_ns:
                return record
        stamps = [record.stamp_ns for record in self._records]
        raise SceneUnknownError(f"no scene has stamp {stamp_ns} ns; kept are {stamps}")

    def _close_unused(self) -> None:
        """Close, once, every scene that is neither kept nor in use."""
        with self._lock:
            gone = {r for r in self._open if not self._users[r] and r not in self._records}
            self._open -= gone
            for record in gone:
                del self._users[record]
        for record in gone:
            record.scene.close()


def check_geometry(geometry: GeometryPrediction, frames: int) -> None:
    """Refuse a prediction whose arrays do not fit together.

    Raises:
        RuntimeError: A shape that differs from the one that `GeometryPrediction` promises, or a
            mask that is none.
    """
    height, width = geometry.image_size
    grid = (frames, height, width)
    expected = {
        "local_points": (*grid, 3),
        "world_points": (*grid, 3),
        "T_world_cam": (frames, 4, 4),
        "confidence": grid,
        "valid": grid,
        "K": (frames, 3, 3),
        "colors": (*grid, 3),
    }
    for name, shape in expected.items():
        got = getattr(geometry, name).shape
        if got != shape:
            raise RuntimeError(f"the runtime's {name} has shape {got}, expected {shape}")
    mask = geometry.invalid
    if mask is not None and (mask.shape != grid or mask.dtype != np.bool_):
        raise RuntimeError(
            f"the runtime's invalid is {mask.dtype} {mask.shape}, expected bool {grid} or None"
        )
