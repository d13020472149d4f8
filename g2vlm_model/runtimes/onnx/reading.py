"""What the semantic expert is told of the geometry and of what a question names, with numpy.

The twin of `g2vlm_model.extras.reading` and, for one question, of `extras.named_features`.

Shape letters: N frames, P patches per frame, D width, H W pixels, M semantic tokens of a frame,
T tokens, K references.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...extras.references import FRAME_SLOTS, PLACE_SLOTS, Reference
from ...interface import GeometryPrediction

__all__ = ["FusedFrame", "SceneReading", "added_features", "read_scene"]

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


_MARK, _THING, _FRAME = range(3)
_NOTHING = Reference(token=0, frame=0)  # stands in where a question names nothing


def added_features(
    run: Callable[[Mapping[str, Any]], Mapping[str, NDArray[Any]]],
    embed: Callable[[Sequence[int]], Floats],
    frames: Sequence[FusedFrame],
    reading: SceneReading,
    references: Sequence[Reference],
    tokens: int,
) -> Floats:
    """What references add to a question and to its answer's start.

    Args:
        run: The graph `semantic_references`.
        embed: Token ids to embeddings (T, D).
        frames, reading: Of the scene.
        references: Of the question.
        tokens: Of the question.

    Returns:
        (tokens + 1, D) float32.
    """
    known = list(references) or [_NOTHING]
    feeds = {**_scene_feeds(frames, reading), **_reference_feeds(known, embed)}
    said = run({**feeds, **_slot_feeds(references)})
    added_TD = np.zeros((tokens + 1, frames[0].camera_D.shape[0]), np.float32)
    for reference, feature_D in zip(references, said["features"], strict=False):
        added_TD[reference.token] += feature_D
    added_TD[-1] += said["summary"]
    return added_TD


def _scene_feeds(frames: Sequence[FusedFrame], reading: SceneReading) -> dict[str, Floats]:
    return {
        "fused": np.stack([frame.tokens_MD for frame in frames]),
        "cameras": np.stack([frame.camera_D for frame in frames]),
        "pooled": np.stack([frame.pooled_MD for frame in frames]),
        "centres": np.stack([frame.centres_M3 for frame in frames]),
        "hidden": reading.hidden_NRCD,
        "local_points": reading.local_NHW3,
        "T_first_cam": reading.T_first_cam_N44,
        "log_scale": reading.log_scale,
    }


def _reference_feeds(
    references: Sequence[Reference], embed: Callable[[Sequence[int]], Floats]
) -> dict[str, NDArray[Any]]:
    kinds = [_kind(one) for one in references]
    shares = [one.share or (0.0, 0.0) for one in references]
    words = [embed(one.words or (0,)).mean(axis=0) for one in references]
    return {
        "kinds": np.array(kinds, np.int64),
        "frames": np.array([one.frame for one in references], np.int64),
        "shares": np.array(shares, np.float32),
        "words": np.stack(words),
    }


def _slot_feeds(references: Sequence[Reference]) -> dict[str, NDArray[Any]]:
    """Which reference stands in which slot; of several mentions the last one does."""
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
    return {"slots": slots, "filled": filled, "viewers": viewers}


def _kind(reference: Reference) -> int:
    if reference.share is not None:
        return _MARK
    return _THING if reference.words else _FRAME
