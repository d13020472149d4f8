# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Where a question's pictures come from: files, bytes, cells of a parquet file, a video.

Nothing is decoded before it is asked about, so data sets and benchmarks of gigabytes fit into
memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from g2vlm_map.decode import BadInputError
from g2vlm_map.pictures import decode_rgb, open_picture

__all__ = [
    "ParquetCell",
    "Picture",
    "even_indices",
    "import_parquet",
    "load_picture",
    "picture_key",
    "video_frames",
]


@dataclass(frozen=True)
class ParquetCell:
    """A picture inside a parquet file, in the hub's layout: {bytes, path}, or a list of them.

    Args:
        path: The file.
        group: Row group.
        row: Row within the group.
        column: Name of the column of pictures.
        index: Place within the row's list, 0 where it holds one picture.
    """

    path: Path
    group: int
    row: int
    column: str
    index: int


Picture = Path | bytes | ParquetCell


def even_indices(count: int, limit: int) -> tuple[int, ...]:
    """At most `limit` of `count` indices, evenly spread, first and last among them."""
    if count <= limit:
        return tuple(range(count))
    if limit == 1:
        return (count - 1,)
    return tuple(round(step * (count - 1) / (limit - 1)) for step in range(limit))


def picture_key(picture: Picture) -> str:
    """A name that always means the same pixels."""
    if isinstance(picture, bytes):
        return hashlib.sha1(picture).hexdigest()
    return str(picture)


def load_picture(picture: Picture) -> NDArray[np.uint8]:
    """Decode one picture, upright as the node sees it.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        OSError: No such file.
        ValueError: Its content is no picture, or damaged.
    """
    if isinstance(picture, Path):
        data, name = picture.read_bytes(), picture.name
    else:
        data = _cell_bytes(picture) if isinstance(picture, ParquetCell) else picture
        name = "a picture of the file"
    try:
        decoded = decode_rgb(open_picture(data))
    except BadInputError as error:
        raise ValueError(f"{name} is no picture that is read: {error}") from error
    if decoded.damage:
        raise ValueError(f"{name} is damaged: {decoded.damage}")
    return decoded.pixels


def video_frames(path: Path, limit: int) -> list[NDArray[np.uint8]]:
    """At most `limit` frames of a video, evenly spread, first and last among them.

    Returns:
        (H, W, 3) uint8 RGB each.

    Raises:
        FileNotFoundError: No such file.
        ValueError: No video, or one that ends before its own length.
    """
    import cv2

    if not path.is_file():
        raise FileNotFoundError(2, "no such video", str(path))
    capture = cv2.VideoCapture(str(path))
    try:
        count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
        if count < 1:
            raise ValueError(f"{path.name} is no video that OpenCV can read")
        wanted = set(even_indices(count, limit))
        frames = []
        for index in range(count):
            if not capture.grab():
                break
            if index in wanted:
                found, frame_bgr = capture.retrieve()
                if found:
                    frames.append(cv2.cvtColor(frame_bgr, cv2.COLOR_BGR2RGB).astype(np.uint8))
    finally:
        capture.release()
    if len(frames) < len(wanted):
        raise ValueError(f"{path.name} says {count} frames but ends before; is it cut off?")
    return frames


def import_parquet() -> Any:
    """The module `pyarrow.parquet`, which is not installed by default (170 MB).

    Raises:
        ValueError: It is missing; the text says how to get it.
    """
    try:
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise ValueError(
            "parquet files need the Python package pyarrow, which is not installed; "
            "`pip install pyarrow`, or export the file as JSON lines"
        ) from error
    return pyarrow.parquet


@lru_cache(maxsize=2)
def _group_column(path: Path, group: int, column: str) -> Sequence[Any]:
    """The pictures of one row group; the newest two groups stay in memory."""
    table = import_parquet().ParquetFile(path).read_row_group(group, columns=[column])
    rows: list[Any] = table[column].to_pylist()
    return rows


def _cell_bytes(cell: ParquetCell) -> bytes:
    held = _group_column(cell.path, cell.group, cell.column)[cell.row]
    picture = held[cell.index] if isinstance(held, list) else held
    data = picture.get("bytes") if isinstance(picture, dict) else None
    if not isinstance(data, bytes):
        raise ValueError(f"{cell.path.name} holds no picture at {cell}")
    return data
