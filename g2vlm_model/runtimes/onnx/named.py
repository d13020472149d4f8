"""The inputs of the graph of references, and what it says put where it belongs.

With numpy what `g2vlm_model.extras.named_features` does for one question.

Shape letters: N frames, M semantic tokens of a frame, D width, T tokens, K references.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...extras.references import FRAME_SLOTS, PLACE_SLOTS, Reference
from .reading import FusedFrame, SceneReading

__all__ = ["added_features"]

_MARK, _THING, _FRAME = range(3)
_NOTHING = Reference(token=0, frame=0)  # stands in where a question names nothing

Floats = NDArray[np.float32]


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
