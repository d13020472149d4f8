# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What the heads say to a `GeometryPrediction`: world axes, intrinsics, confidence, validity.

Written against the array API. Tensors of a CUDA device stay there until what is published comes
down; on the CPU numpy does the work, whatever the arrays come from.

Shape letters: N frames, H W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device, is_torch_array, to_device
from numpy.typing import NDArray

from ..confidence import (
    Array,
    ConfidenceConfig,
    confidence_from_consistency,
    depth_edges,
    finite_points,
    valid_points,
)
from ..interface import Frame, GeometryPrediction
from ..intrinsics import estimate_intrinsics

__all__ = ["predict_geometry"]


def predict_geometry(
    local_points_NHW3: Array,
    T_any_cam_N44: Array,
    confidence_logits_NHW: Array | None,
    colors_NHW3: NDArray[np.uint8],
    frames: Sequence[Frame],
    invalid_logits_NHW: Array | None = None,
) -> GeometryPrediction:
    """Turn what the heads say of one window into what the runtime returns.

    The model states its poses in a world of no particular view; they are moved into the axes
    of the window's first camera, with which the first pose is the identity.

    Args:
        local_points_NHW3: float32, camera axes.
        T_any_cam_N44: float32 camera to the world of the poses.
        confidence_logits_NHW: float32; None without the head.
        colors_NHW3: uint8, the model's pictures.
        frames: Of the window; frames of one `camera` share their intrinsics.
        invalid_logits_NHW: float32, that a pixel shows nothing solid; None without the head. Above
            0 a pixel is not valid, has no confidence and says nothing about the intrinsics.

    Raises:
        RuntimeError: No point of the window is finite (an overflow of half precision).
    """
    config = ConfidenceConfig()
    given = (local_points_NHW3, T_any_cam_N44, confidence_logits_NHW, invalid_logits_NHW)
    local_NHW3, T_any_cam_N44, logits, nothing = (_nearer(array) for array in given)
    xp = array_namespace(local_NHW3)
    T_world_cam_N44 = _first_camera_axes(T_any_cam_N44)
    world_NHW3 = _moved(local_NHW3, T_world_cam_N44)
    edges_NHW = depth_edges(local_NHW3[..., 2], config)
    valid_NHW = valid_points(local_NHW3, edges_NHW)
    invalid_NHW = None if nothing is None else nothing > 0
    if invalid_NHW is not None:
        valid_NHW = valid_NHW & ~invalid_NHW
    numbers = {name: number for number, name in enumerate({f.camera: None for f in frames})}
    K_N33 = estimate_intrinsics(local_NHW3, [numbers[f.camera] for f in frames], valid_NHW)
    if logits is None:
        confidence_NHW = confidence_from_consistency(
            local_NHW3, T_world_cam_N44, K_N33, edges_NHW, config
        )
    else:
        confidence_NHW = _share(logits)
    if invalid_NHW is not None:
        confidence_NHW = xp.where(invalid_NHW, 0.0, confidence_NHW)
    _check_finite(world_NHW3)
    return GeometryPrediction(
        local_points=_numpy(local_NHW3),
        world_points=_numpy(world_NHW3),
        T_world_cam=_numpy(T_world_cam_N44),
        confidence=_numpy(confidence_NHW),
        valid=_numpy(valid_NHW),
        K=_numpy(K_N33),
        colors=colors_NHW3,
        confidence_source="consistency" if logits is None else "head",
        invalid=None if invalid_NHW is None else _numpy(invalid_NHW),
    )


def _check_finite(points_NHW3: Array) -> None:
    if not bool(array_namespace(points_NHW3).any(finite_points(points_NHW3))):
        raise RuntimeError(
            "the model returned no finite point: its numbers overflow in this precision; "
            "load the runtime with precision 'bf16' or 'fp32'"
        )


def _share(logits_NHW: Array) -> Array:
    """The logistic function without overflow; 0 where a logit is no number."""
    xp = array_namespace(logits_NHW)
    share = 0.5 + 0.5 * xp.tanh(0.5 * xp.astype(logits_NHW, xp.float32))
    return xp.where(xp.isnan(share), 0.0, share)


def _first_camera_axes(T_any_cam_N44: Array) -> Array:
    """Camera-to-world with the first camera as the world; the first is exactly the identity."""
    xp = array_namespace(T_any_cam_N44)
    turn_33, centre_3 = T_any_cam_N44[0, :3, :3], T_any_cam_N44[0, :3, 3]
    turned_N33 = turn_33.T @ T_any_cam_N44[:, :3, :3]
    moved_N3 = (T_any_cam_N44[:, :3, 3] - centre_3) @ turn_33
    top_N34 = xp.concat((turned_N33, moved_N3[..., None]), axis=-1)
    moved_N44 = xp.concat((top_N34, T_any_cam_N44[:, 3:]), axis=-2)
    identity = xp.eye(4, dtype=moved_N44.dtype, device=device(moved_N44))
    return xp.concat((identity[None], moved_N44[1:]))


def _moved(points_NHW3: Array, T_a_b_N44: Array) -> Array:
    """Points of each frame, moved by that frame's transform."""
    xp = array_namespace(points_NHW3)
    flat_NM3 = xp.reshape(points_NHW3, (len(points_NHW3), -1, 3))
    turn_N33 = xp.matrix_transpose(T_a_b_N44[:, :3, :3])
    return xp.reshape(flat_NM3 @ turn_N33 + T_a_b_N44[:, None, :3, 3], points_NHW3.shape)


def _nearer(array: Array) -> Array:
    """A tensor of the CPU as a numpy array of the same memory; anything else as it is."""
    if array is not None and is_torch_array(array) and array.device.type == "cpu":
        return np.asarray(array)
    return array


def _numpy(array: Array) -> NDArray[Any]:
    """On the CPU; shares the memory where it is there."""
    return np.asarray(to_device(array, "cpu"))
