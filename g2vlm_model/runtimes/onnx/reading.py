"""What the semantic expert is told of the geometry, with numpy; see `g2vlm_model.extras.reading`.

Shape letters: N frames, P patches per frame, D width, H W pixels, M semantic tokens of a frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...interface import GeometryPrediction

__all__ = ["FusedFrame", "SceneReading", "read_scene"]

_SMALL = 1e-3  # smallest median depth, as in `reading.read_geometry`

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class SceneReading:
    """What the geometric pass says of a window, free of scale; all float32.

    Args:
        hidden_NRCD: What the heads read, as rows and columns of patches.
        local_NHW3: Points in the axes of their camera, median depth 1.
        T_first_cam_N44: Camera to first camera, lengths in the same unit.
        log_scale: Logarithm of the median depth in the model's unit.
    """

    hidden_NRCD: Floats
    local_NHW3: Floats
    T_first_cam_N44: Floats
    log_scale: Floats


@dataclass(frozen=True)
class FusedFrame:
    """One frame's semantic tokens with geometry in them; all float32.

    Args:
        tokens_MD: Image tokens.
        camera_D: Added to the frame's start mark.
        pooled_MD: Hidden states pooled to the image tokens.
        centres_M3: Mean points of the image tokens in the first camera's axes.
    """

    tokens_MD: Floats
    camera_D: Floats
    pooled_MD: Floats
    centres_M3: Floats


def read_scene(
    hidden_NPD: NDArray[Any], grid_hw: tuple[int, int], geometry: GeometryPrediction
) -> SceneReading:
    """Divide a window's geometry by its median depth, as `reading.read_geometry` does.

    Args:
        hidden_NPD: What the heads read.
        grid_hw: Rows and columns of patches.
        geometry: Whose world axes are those of the first camera.
    """
    depths = geometry.local_points[..., 2].ravel()
    scale = np.float32(max(_lower_median(depths[~np.isnan(depths)]), _SMALL))
    T_N44 = np.array(geometry.T_world_cam, np.float32)
    T_N44[:, :3, 3] /= scale
    frames, _, width = hidden_NPD.shape
    return SceneReading(
        hidden_NRCD=np.asarray(hidden_NPD, np.float32).reshape(frames, *grid_hw, width),
        local_NHW3=np.asarray(geometry.local_points, np.float32) / scale,
        T_first_cam_N44=T_N44,
        log_scale=np.array(np.log(scale)),
    )


def _lower_median(numbers: NDArray[Any]) -> float:
    """The lower one of the two in the middle, as torch's median takes it."""
    middle = (len(numbers) - 1) // 2
    return float(np.partition(numbers, middle)[middle])
