# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What the semantic graphs are fed of the geometry and of what a question names, by input.

The numpy twin of `g2vlm_model.extras.reading` and, for one question, of `extras.named_features`.

Shape letters: N frames, P patches per frame, D width, K references.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...extras.references import FRAME_SLOTS, PLACE_SLOTS, Reference
from ...interface import GeometryPrediction

__all__ = ["reference_feeds", "scene_feeds"]

_SMALL = 1e-3  # smallest median depth, as in `reading.read_geometry`
_MARK, _THING, _FRAME = range(3)
_NOTHING = Reference(token=0, frame=0)  # stands in where a question names nothing

Floats = NDArray[np.float32]


def scene_feeds(
    hidden_NPD: NDArray[Any], grid_hw: tuple[int, int], geometry: GeometryPrediction
) -> dict[str, Floats]:
    """A window's geometry divided by its median depth, as `reading.read_geometry` does.

    Args:
        hidden_NPD: What the heads read.
        grid_hw: Rows and columns of patches.
        geometry: Whose world axes are those of the first camera.
    """
    depths = geometry.local_points[..., 2].ravel()
    depths = depths[~np.isnan(depths)]
    middle = (len(depths) - 1) // 2  # the lower one of two, as torch's median takes it
    scale = np.float32(max(np.partition(depths, middle)[middle], _SMALL))
    T_first_cam_N44 = np.array(geometry.T_world_cam, np.float32)
    T_first_cam_N44[:, :3, 3] /= scale
    frames, _, width = hidden_NPD.shape
    return {
        "hidden": np.asarray(hidden_NPD, np.float32).reshape(frames, *grid_hw, width),
        "local_points": np.asarray(geometry.local_points, np.float32) / scale,
        "T_first_cam": T_first_cam_N44,
        "log_scale": np.array(np.log(scale)),
    }


def reference_feeds(
    references: Sequence[Reference], embed: Callable[[Sequence[int]], Floats]
) -> dict[str, NDArray[Any]]:
    """What a question names, and which reference stands in which slot.

    Args:
        references: Of the question; of several mentions in one slot the last one stands there.
        embed: Token ids to embeddings (T, D).
    """
    slots = np.zeros(PLACE_SLOTS + FRAME_SLOTS, np.int64)
    filled = np.zeros(PLACE_SLOTS + FRAME_SLOTS, np.float32)
    seen = (one.frame for one in references if one.slot >= 0 and one.frame >= 0)
    viewers = np.full(FRAME_SLOTS, next(seen, 0), np.int64)
    for index, one in enumerate(references):
        if one.slot < 0:
            continue
        slots[one.slot], filled[one.slot] = index, 1.0
        if _kind(one) == _FRAME:
            viewers[one.slot - PLACE_SLOTS] = one.frame
    known = list(references) or [_NOTHING]
    return {
        "kinds": np.array([_kind(one) for one in known], np.int64),
        "frames": np.array([one.frame for one in known], np.int64),
        "shares": np.array([one.share or (0.0, 0.0) for one in known], np.float32),
        "words": np.stack([embed(one.words or (0,)).mean(axis=0) for one in known]),
        "slots": slots,
        "filled": filled,
        "viewers": viewers,
    }


def _kind(reference: Reference) -> int:
    if reference.share is not None:
        return _MARK
    return _THING if reference.words else _FRAME
