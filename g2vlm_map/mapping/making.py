# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Keyframes out of what a pass says of a moment's frames.

Shape letters: H W pixels of the model's picture.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from g2vlm_model.interface import Frame, GeometryPrediction

from ..measured_depth import MeasuredGeometry
from .features import Features, find_features, searched_picture
from .keyframe import Keyframe, View
from .learned import learned_matcher
from .options import FeatureOptions
from .places import place_vectors
from .rotations import orthonormal

__all__ = ["WORKERS", "FeatureSearch", "make_keyframe"]

WORKERS = "g2vlm-map"  # what the names of threads begin with that work beside a pass

Floats = NDArray[np.float64]


class FeatureSearch:
    """Features of frames, searched for in a thread of its own while the model is at work.

    Half of what a keyframe costs the map is this search, and it needs nothing of the pass: by
    the time the pass has ended it is mostly done.

    Args:
        options: How features are searched for.
    """

    def __init__(self, options: FeatureOptions) -> None:
        self._options = options
        graph = learned_matcher(options.detector)
        self._needs_pass = graph is not None and graph.matches_itself  # sees the model's picture
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=WORKERS)
        self._begun: dict[tuple[str, str], Future[Features]] = {}

    def begin(self, frames: Sequence[Frame]) -> None:
        """Search these frames; what was begun before and not asked for is given up."""
        wanted = {(frame.camera, frame.key): frame for frame in frames}
        for name in [name for name in self._begun if name not in wanted]:
            self._begun.pop(name).cancel()
        for name, frame in wanted.items():
            if name not in self._begun and not self._needs_pass:
                begun = self._thread.submit(find_features, frame.image, self._options)
                self._begun[name] = begun

    def rest(self, wait: bool) -> None:
        """End the thread until the next `begin`; `wait` for a search that goes on."""
        ended, self._thread = self._thread, ThreadPoolExecutor(1, thread_name_prefix=WORKERS)
        self._begun.clear()
        ended.shutdown(wait, cancel_futures=True)

    def found(self, frame: Frame, model_HW3: NDArray[np.uint8]) -> Features:
        """The features of a frame in its own pixels, begun before or not.

        Args:
            frame: Whose.
            model_HW3: uint8 RGB, the picture that the model saw of it.

        Raises:
            ValueError: As `find_features`.
        """
        begun = self._begun.pop((frame.camera, frame.key), None)
        if begun is not None:
            return begun.result()
        return _found(frame.image, model_HW3, self._options)


def make_keyframe(
    number: int,
    frames: Sequence[Frame],
    geometry: GeometryPrediction,
    indices: Sequence[int],
    search: FeatureSearch,
    T_body_cams: Mapping[str, Floats] | None = None,
    unit: float = 1.0,
    tokens_ND: NDArray[np.float32] | None = None,
    per_metre: float | None = None,
) -> Keyframe:
    """A keyframe of one moment.

    Args:
        number: Of the keyframe.
        frames: Of the moment, the reference camera's first.
        geometry: Of the window that holds them, with the K that is known of its cameras.
        indices: Their indices in the window.
        search: Of features.
        T_body_cams: Known poses of the cameras by name, translations in metres; for a camera
            that is not in there, the pose is the model's.
        unit: That the pass's lengths are multiplied by.
        tokens_ND: Of the window's frames, see `TokenScene`; None where the runtime has none.
        per_metre: Units of kept depth in a metre, where a sensor measured it (`PassUnits`).
    """
    known = T_body_cams or {}
    T_first = np.asarray(geometry.T_world_cam[indices[0]], np.float64)
    views = []
    for frame, index in zip(frames, indices, strict=True):
        T_body_cam = known.get(frame.camera)
        if T_body_cam is None:
            T_body_cam = np.linalg.inv(T_first) @ geometry.T_world_cam[index]
            T_body_cam[:3, :3] = orthonormal(T_body_cam[:3, :3])
            T_body_cam[:3, 3] *= unit
        found = search.found(frame, geometry.colors[index])
        measured = isinstance(geometry, MeasuredGeometry) and bool(geometry.measured_N[index])
        metres = 1.0 / per_metre if measured and per_metre else 0.0
        views.append(_view(frame, geometry, index, T_body_cam, found, unit, metres))
    first = frames[0]
    tokens_D = None if tokens_ND is None else tokens_ND[indices[0]]
    places = place_vectors(views[0].descriptor_FE, tokens_D)
    return Keyframe(number, first.stamp_ns, first.key, tuple(views), places)


def _found(
    frame_HW3: NDArray[np.uint8], model_HW3: NDArray[np.uint8], options: FeatureOptions
) -> Features:
    """Features in pixels of the frame, whichever picture they are found in."""
    picture = searched_picture(frame_HW3, model_HW3, options)
    found = find_features(picture, options)
    if picture.shape == frame_HW3.shape:
        return found
    size = np.array(frame_HW3.shape[1::-1])
    stretch = size / np.array(picture.shape[1::-1])
    pixel = ((found.pixel_F2 + 0.5) * stretch - 0.5).astype(np.float32)
    return Features(pixel, found.descriptor_FE, found.px, (int(size[1]), int(size[0])))


def _view(
    frame: Frame,
    geometry: GeometryPrediction,
    index: int,
    T_body_cam: Floats,
    found: Features,
    unit: float,
    metres: float,
) -> View:
    depth = geometry.local_points[index, ..., 2] * np.float32(unit)
    with np.errstate(invalid="ignore", over="ignore"):
        kept = np.where(geometry.valid[index] & (depth > 0), depth, 0).astype(np.float16)
    return View(
        camera=frame.camera,
        frame_id=frame.frame_id,
        stamp_ns=frame.stamp_ns,
        T_body_cam=np.asarray(T_body_cam, np.float64),
        K=np.asarray(geometry.K[index], np.float64),
        image_hw=(frame.image.shape[0], frame.image.shape[1]),
        depth_HW=np.where(np.isfinite(kept), kept, np.float16(0)),
        confidence_HW=np.rint(geometry.confidence[index] * 255).astype(np.uint8),
        color_HW3=geometry.colors[index].copy(),
        feature_F2=found.pixel_F2,
        descriptor_FE=found.descriptor_FE,
        metres=metres,
    )
