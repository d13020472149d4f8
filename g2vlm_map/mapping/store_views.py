# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What cameras saw, as members of a map file: one table, and the arrays of all views in a row.

Shape letters: V views, F features of a view, E bytes of a descriptor, H W pixels of a picture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .array_file import ArrayReader, ArrayWriter
from .keyframe import View

__all__ = ["MAX_VIEWS", "StoredView", "read_views", "stored_views", "write_views"]

MAX_VIEWS = 1_000_000
_MAX_SIDE = 1 << 15
_MAX_FEATURES = 1 << 16
_MAX_DESCRIPTOR_BYTES = 1024

# Member, type, field of `View`, shape of a view's share in it.
_RAGGED: tuple[tuple[str, str, str, Callable[[StoredView], tuple[int, ...]]], ...] = (
    ("view_depth", "<f2", "depth_HW", lambda one: one.size_hw),
    ("view_confidence", "|u1", "confidence_HW", lambda one: one.size_hw),
    ("view_color", "|u1", "color_HW3", lambda one: (*one.size_hw, 3)),
    ("view_feature", "<f4", "feature_F2", lambda one: (one.features, 2)),
    (
        "view_descriptor",
        "|u1",
        "descriptor_FE",
        lambda one: (one.features, one.descriptor_bytes),
    ),
)


@dataclass(frozen=True)
class StoredView:
    """Sizes and names of a view.

    Args:
        camera, frame_id, stamp_ns, image_hw: See `View`.
        size_hw: (H, W) of the model's picture.
        features: F.
        descriptor_bytes: E.
    """

    camera: str
    frame_id: str
    stamp_ns: int
    size_hw: tuple[int, int]
    image_hw: tuple[int, int]
    features: int
    descriptor_bytes: int


def stored_views(views: Sequence[View]) -> list[StoredView]:
    """The table of views."""
    return [
        StoredView(
            one.camera,
            one.frame_id,
            one.stamp_ns,
            (one.depth_HW.shape[0], one.depth_HW.shape[1]),
            one.image_hw,
            *one.descriptor_FE.shape,
        )
        for one in views
    ]


def write_views(file: ArrayWriter, views: Sequence[View], table: Sequence[StoredView]) -> None:
    """Write table and arrays."""
    integers = [
        (one.stamp_ns, *one.size_hw, *one.image_hw, one.features, one.descriptor_bytes)
        for one in table
    ]
    file.array("view_integers", np.array(integers, np.int64).reshape(-1, 7))
    for name in ("T_body_cam", "K"):
        side = 4 if name == "T_body_cam" else 3
        rows = np.array([getattr(one, name) for one in views], np.float64)
        file.array(f"view_{name}", rows.reshape(-1, side, side))
    file.array("view_metres", np.array([one.metres for one in views], np.float64))
    for member, dtype, source, shape in _RAGGED:
        total = sum(int(np.prod(shape(one))) for one in table)
        pieces: Iterator[NDArray[Any]] = (_as_stored(getattr(one, source)) for one in views)
        file.pieces(member, np.dtype(dtype), (total,), pieces)


def read_views(
    file: ArrayReader, count: int, texts: Sequence[Sequence[str]], version: int, learned: bool
) -> list[View]:
    """Read what `write_views` has written; every array owns its memory.

    Args:
        file: To read from.
        count: V.
        texts: (camera, frame_id) of each.
        version: Of the format.
        learned: Descriptors are signed.

    Raises:
        ArrayFileError: A member is missing or of another size.
        ValueError: A size out of bounds, or numbers that are not finite.
    """
    integers = file.array("view_integers", "<i8", (count, 7))
    bounds = np.array([_MAX_SIDE] * 4 + [_MAX_FEATURES, _MAX_DESCRIPTOR_BYTES])
    low = np.array([1, 1, 1, 1, 0, 1])
    if ((integers[:, 1:] < low) | (integers[:, 1:] > bounds)).any():
        worst = integers[:, 1:].max(axis=0).tolist()
        raise ValueError(f"sizes of views up to {worst}, expected at most {bounds.tolist()}")
    table = [
        StoredView(str(camera), str(frame_id), row[0], (row[1], row[2]), (row[3], row[4]), *row[5:])
        for (camera, frame_id), row in zip(texts, integers.tolist(), strict=True)
    ]
    T_body_cam = file.array("view_T_body_cam", "<f8", (count, 4, 4))
    K = file.array("view_K", "<f8", (count, 3, 3))
    if not (np.isfinite(T_body_cam).all() and np.isfinite(K).all()) or (K[:, 0, 0] <= 0).any():
        raise ValueError("cameras whose K or place is not finite")
    metres = file.array("view_metres", "<f8", (count,)) if version > 1 else np.zeros(count)
    if not (np.isfinite(metres).all() and (metres >= 0).all()):
        raise ValueError("metres of depths that are not finite, or below 0")
    columns: dict[str, list[NDArray[Any]]] = {}
    for member, dtype, source, shape in _RAGGED:
        shapes = [shape(one) for one in table]
        total = sum(int(np.prod(each)) for each in shapes)
        columns[source] = list(file.pieces(member, dtype, (total,), shapes))
    if learned:
        columns["descriptor_FE"] = [rows.view(np.int8) for rows in columns["descriptor_FE"]]
    return [
        View(
            camera=one.camera,
            frame_id=one.frame_id,
            stamp_ns=one.stamp_ns,
            T_body_cam=T_body_cam[index].copy(),
            K=K[index].copy(),
            image_hw=one.image_hw,
            metres=float(metres[index]),
            **{source: column[index] for source, column in columns.items()},
        )
        for index, one in enumerate(table)
    ]


def _as_stored(values: NDArray[Any]) -> NDArray[Any]:
    """Signed bytes as bytes: the header's detector says which they are."""
    return values.view(np.uint8) if values.dtype == np.int8 else values
