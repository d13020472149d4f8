"""Model tensors to a `GeometryPrediction`: world axes, intrinsics, confidence, validity.

Everything is computed on the model's device; what is published comes down at the end.

Shape letters: N frames, H W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..confidence import (
    ConfidenceConfig,
    confidence_from_consistency,
    depth_edges,
    valid_points,
)
from ..geometry import GeometryTensors
from ..interface import Frame, GeometryPrediction
from ..intrinsics import estimate_intrinsics

__all__ = ["predict_geometry"]


def predict_geometry(
    tensors: GeometryTensors,
    colors_NHW3: NDArray[np.uint8],
    frames: Sequence[Frame],
    config: ConfidenceConfig | None = None,
) -> GeometryPrediction:
    """Turn what the heads say of one window (batch 1) into what the runtime returns.

    The model states its poses in a world of no particular view; they are moved into the axes
    of the window's first camera, with which the first pose is the identity.

    Args:
        tensors: From `G2VLM.decode_geometry`.
        colors_NHW3: uint8, the model's pictures.
        frames: Of the window; frames of one `camera` share their intrinsics.
        config: Tolerances; None is the default.

    Raises:
        RuntimeError: No point of the window is finite (an overflow of half precision).
    """
    config = config or ConfidenceConfig()
    local_NHW3 = tensors.local_points_BNHW3[0]
    T_world_cam_N44 = _first_camera_axes(tensors.T_world_cam_BN44[0])
    world_NHW3 = _moved(local_NHW3, T_world_cam_N44)
    edges_NHW = depth_edges(local_NHW3[..., 2], config)
    valid_NHW = valid_points(local_NHW3, edges_NHW)
    K_N33 = estimate_intrinsics(local_NHW3, _camera_numbers(frames), valid_NHW)
    logits = tensors.confidence_logits_BNHW1
    if logits is None:
        confidence_NHW = confidence_from_consistency(
            local_NHW3, T_world_cam_N44, K_N33, edges_NHW, config
        )
    else:
        confidence_NHW = logits[0, ..., 0].float().sigmoid().nan_to_num(0.0)
    if not bool(torch.isfinite(world_NHW3).all(-1).any()):
        raise RuntimeError(
            "the model returned no finite point: its numbers overflow in this precision; "
            "load the runtime with precision 'bf16' or 'fp32'"
        )
    return GeometryPrediction(
        local_points=local_NHW3.cpu().numpy(),
        world_points=world_NHW3.cpu().numpy(),
        T_world_cam=T_world_cam_N44.cpu().numpy(),
        confidence=confidence_NHW.cpu().numpy(),
        valid=valid_NHW.cpu().numpy(),
        K=K_N33.cpu().numpy(),
        colors=colors_NHW3,
        confidence_source="consistency" if logits is None else "head",
    )


def _first_camera_axes(T_any_cam_N44: Tensor) -> Tensor:
    """Camera-to-world with the first camera as the world; the first is exactly the identity."""
    rotation_33, centre_3 = T_any_cam_N44[0, :3, :3], T_any_cam_N44[0, :3, 3]
    moved = T_any_cam_N44.clone()
    moved[:, :3, :3] = rotation_33.mT @ T_any_cam_N44[:, :3, :3]
    moved[:, :3, 3] = (T_any_cam_N44[:, :3, 3] - centre_3) @ rotation_33
    moved[0] = torch.eye(4, device=moved.device, dtype=moved.dtype)
    return moved


def _moved(points_NHW3: Tensor, T_a_b_N44: Tensor) -> Tensor:
    """Points of each frame, moved by that frame's transform."""
    flat_NM3 = points_NHW3.flatten(1, 2) @ T_a_b_N44[:, :3, :3].mT + T_a_b_N44[:, None, :3, 3]
    return flat_NM3.view_as(points_NHW3)


def _camera_numbers(frames: Sequence[Frame]) -> list[int]:
    """0, 1, ... per camera name, in the order of first appearance."""
    names = list(dict.fromkeys(frame.camera for frame in frames))
    return [names.index(frame.camera) for frame in frames]
