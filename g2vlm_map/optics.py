# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What is known of the cameras, laid over what a pass of the model says.

`Optics.corrected` is called once for each pass, right behind the runtime: known rays, or averaged
ones; a rig's cameras where the rig holds them; nothing where a frame shows nothing; measured depth.

Shape letters: N frames, H W pixels of the model's picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from g2vlm_model.interface import FrameWindow, GeometryPrediction

from .known_rays import FocalEstimate, FocalHistory, model_K, on_rays, seen_by
from .measured_depth import MeasuredDepth
from .rig import rigid_poses
from .scale.estimate import ScaleEstimate

__all__ = ["Optics"]

Floats = NDArray[np.float64]


class Optics:
    """Corrects what passes say, and keeps what they say of the cameras' focal lengths.

    Args:
        reference: Name of the reference camera.
        depth: What other sensors measured; None: nothing.
    """

    def __init__(self, reference: str, depth: MeasuredDepth | None = None) -> None:
        self._reference = reference
        self._depth = depth
        self._histories: dict[str, FocalHistory] = {}
        self.cameras: tuple[FocalEstimate, ...] = ()
        self._metres_per_unit: float | None = None

    def note_scale(self, units_per_unit: float, estimate: ScaleEstimate) -> None:
        """Remember how long the units of a pass are, for the baselines in the next one.

        Args:
            units_per_unit: Map units per unit of the pass's depth.
            estimate: Of the map.
        """
        self._metres_per_unit = units_per_unit * estimate.metres_per_unit
        if not estimate.metric:
            self._metres_per_unit = None

    def corrected(
        self,
        geometry: GeometryPrediction,
        window: FrameWindow,
        T_base_cams: Mapping[str, Floats] | None = None,
        metres_per_unit: float | None = None,
    ) -> GeometryPrediction:
        """The geometry of a pass with all that is known of its cameras.

        Args:
            geometry: As the runtime made it; is not changed.
            window: That it is of.
            T_base_cams: Extrinsics by camera, (4, 4), metres.
            metres_per_unit: Metres in one unit of the pass; None: as `note_scale` said last, and
                where it could not, as the model's own baselines say.
        """
        size_hw, frames = geometry.image_size, window.frames
        given = [model_K(frame, size_hw) for frame in frames]
        newest = {frame.camera: number for number, frame in enumerate(frames)}
        estimates = []
        for camera, number in newest.items():
            history = self._histories.setdefault(camera, FocalHistory(camera))
            history.add(geometry.K[number], size_hw, given[number])
            found = history.estimate(frames[number].image.shape[1], frames[number].K)
            estimates += [found] if found is not None else []
        self.cameras = tuple(estimates)
        K_N33 = np.array(
            [
                self._own(frame.camera, size_hw, geometry.K[number]) if K is None else K
                for number, (frame, K) in enumerate(zip(frames, given, strict=True))
            ]
        )
        T_world_cam_N44 = np.asarray(geometry.T_world_cam, np.float64)
        if T_base_cams and len(newest) > 1:
            metres = self._metres_per_unit if metres_per_unit is None else metres_per_unit
            T_world_cam_N44 = rigid_poses(
                T_world_cam_N44, frames, T_base_cams, self._reference, metres
            )
        made = _shown(on_rays(geometry, K_N33, T_world_cam_N44), window)
        return made if self._depth is None else self._depth.applied(made, window)

    def _own(self, camera: str, size_hw: tuple[int, int], K: NDArray[np.float32]) -> Floats:
        averaged = self._histories[camera].K(size_hw)
        return np.asarray(K, np.float64) if averaged is None else averaged


def _shown(geometry: GeometryPrediction, window: FrameWindow) -> GeometryPrediction:
    """Rims, what lies outside of a straightened frame, and what the model calls invalid: no points.

    This is the one place that decides it: clouds, depth and keyframes look at `valid` alone.
    """
    seen = seen_by(window.frames, geometry.image_size)
    if geometry.invalid is None and all(mask is None for mask in seen):
        return geometry
    shown = np.ones(geometry.valid.shape, bool) if geometry.invalid is None else ~geometry.invalid
    for number, mask in enumerate(seen):
        if mask is not None:
            shown[number] &= mask
    return replace(geometry, valid=geometry.valid & shown, confidence=geometry.confidence * shown)
