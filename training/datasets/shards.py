# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Clips in WebDataset shards, mapped into memory.

A shard is a plain tar file that any WebDataset reader streams. Here it is mapped, so that a
frame of any clip is one look-up and no decoding.

A clip `KEY` is the members `KEY.rgb.npy` (N, H, W, 3) uint8, `KEY.depth.npy` (N, H, W) uint16
codes of `encode_depth`, `KEY.object_id.npy` (N, H, W) uint8 and `KEY.normals.npy` (N, H, W, 3)
int8 of 1/127 where the source has them (lengths are 1 within 1 %), and `KEY.meta.json` with
poses, intrinsics, scene, seed and split. Arrays are raw, not PNG: PNG takes a quarter of the
disk (86 KB for a frame of 112x84 with normals), but its decoding alone takes three times as long
as making a batch of mapped arrays (8,000 frames/s on one core, without normals).

A shard is written under another name and renamed, so one that has its name is whole.
"""

from __future__ import annotations

import functools
import json
import math
import mmap
import os
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from g2vlm_model.interface.documents import parse_json
from g2vlm_model.interface.npy import read_npy_header
from g2vlm_model.interface.whole_files import whole_file

from ..synthetic import Split
from .base import Clip, DataError, SceneInfo, known_depth

__all__ = [
    "MAX_DEPTH",
    "MIN_DEPTH",
    "MappedFile",
    "Shard",
    "ShardClip",
    "decode_depth",
    "encode_depth",
    "mapped",
    "shard_paths",
    "tar_members",
    "write_shard",
]

MIN_DEPTH, MAX_DEPTH = 0.02, 200.0
_CODES = 65535
_STEP = np.log(MAX_DEPTH / MIN_DEPTH) / (_CODES - 1)
_BLOCK = 512  # bytes of a tar header; two empty ones end the file
_REQUIRED = ("rgb.npy", "depth.npy", "meta.json")
_FORMAT = 1
_OPEN_FILES = 256


def encode_depth(depth: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Depth as logarithmic 16-bit codes: within 0.007 % from 0.02 to 200 m.

    That is a twentieth of float16's error and an eighth of a millimetre at 2 m, so normals can
    be taken from neighbouring pixels. 0 stays unknown; what lies beyond the range becomes it.
    """
    known = known_depth(depth, MAX_DEPTH)
    code = np.rint(np.log(np.maximum(known, MIN_DEPTH) / MIN_DEPTH) / _STEP) + 1
    codes: NDArray[np.uint16] = np.where(known >= MIN_DEPTH, code, 0).astype(np.uint16)
    return codes


def decode_depth(code: NDArray[np.uint16]) -> NDArray[np.float32]:
    """What `encode_depth` was given, up to its error."""
    depth: NDArray[np.float32] = _metres()[code]
    return depth


@functools.cache
def _metres() -> NDArray[np.float32]:
    table = MIN_DEPTH * np.exp(np.arange(-1, _CODES) * _STEP)
    table[0] = 0.0
    metres: NDArray[np.float32] = table.astype(np.float32)
    return metres


def write_shard(path: Path, clips: Iterable[Clip]) -> None:
    """Write clips as one shard that is there whole or not at all.

    The same clips make the same bytes. Several processes may write different shards of a
    folder side by side.

    Args:
        path: Ends in .tar; replaced where it exists.
        clips: Their scene, with seed and split, goes with them.

    Raises:
        OSError: The disk is full or not writable; nothing is left behind.
    """
    from webdataset.writer import TarWriter  # loads slowly, and only writing needs it

    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        whole_file(path) as partial,
        partial.open("wb") as file,
        TarWriter(file, mtime=0.0, compress=False) as tar,
    ):
        for number, clip in enumerate(clips):
            tar.write({"__key__": f"{number:06d}", **_members(clip)})


def _members(clip: Clip) -> dict[str, Any]:
    meta = {
        "format": _FORMAT,
        "name": clip.name,
        "metric": clip.metric,
        "complete": clip.complete,
        "posed": None if clip.posed is None else clip.posed.tolist(),
        "clean": clip.clean,
        "T_world_cam": clip.T_world_cam.tolist(),
        "K": clip.K.tolist(),
        "scene": None if clip.scene is None else clip.scene.to_json(),
    }
    members: dict[str, Any] = {
        "rgb.npy": clip.rgb,
        "depth.npy": encode_depth(clip.depth),
        "meta.json": json.dumps(meta, default=_plain).encode(),
    }
    if clip.object_id is not None:
        members["object_id.npy"] = clip.object_id
    if clip.normals is not None:
        members["normals.npy"] = np.rint(clip.normals * 127).astype(np.int8)
    return members


def _plain(value: Any) -> Any:
    """Numpy's numbers as Python's."""
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no place in a shard's description")


def shard_paths(folder: Path, split: Split) -> list[Path]:
    """Shards of a split in a folder, in order.

    Raises:
        FileNotFoundError: There is none.
    """
    paths = sorted(folder.glob(f"{split}-*.tar"))
    if not paths:
        raise FileNotFoundError(
            f"no {split} shards in {folder}; make some with "
            f"`g2vlm dataset synthetic --split {split} --out {folder}`"
        )
    return paths


class MappedFile(NamedTuple):
    """A file as it was when it was indexed."""

    path: Path
    size: int
    modified_ns: int

    @staticmethod
    def of(path: Path) -> MappedFile:
        """The file as it is now."""
        return MappedFile(path, *_identity(path.stat()))


class _Place(NamedTuple):
    """An array inside of a file."""

    start: int
    shape: tuple[int, ...]
    kind: np.dtype[Any]

    def view(self, content: mmap.mmap) -> NDArray[Any]:
        """The array; nothing is read before its elements are used."""
        array: NDArray[Any] = np.ndarray(self.shape, self.kind, content, self.start)
        return array


@functools.lru_cache(maxsize=_OPEN_FILES)
def mapped(file: MappedFile) -> mmap.mmap:
    """The content of a file; mapped files are few, because each holds a file descriptor."""
    with file.path.open("rb") as opened:
        now = _identity(os.fstat(opened.fileno()))
        if now != (file.size, file.modified_ns):
            raise DataError(f"{file.path} has changed since it was opened; start again")
        return mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)


def _identity(stat: os.stat_result) -> tuple[int, int]:
    return stat.st_size, stat.st_mtime_ns


class Shard:
    """One shard; its pages are read when they are used, once for all processes of a machine.

    Args:
        path: The file.

    Raises:
        DataError: It is cut off, no tar file, or a clip in it lacks a part.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = MappedFile.of(path)
            with path.open("rb") as file:
                members = tar_members(file)
            content = mapped(self._file)
        except (OSError, ValueError, tarfile.TarError) as error:
            raise DataError(
                f"shard {path} cannot be read ({error}); delete it and render it again"
            ) from error
        clips: dict[str, dict[str, slice]] = {}
        for name, place in members.items():
            key, _, part = name.partition(".")
            clips.setdefault(key, {})[part] = place
        for key, parts in clips.items():
            missing = [part for part in _REQUIRED if part not in parts]
            if missing:
                raise DataError(f"shard {path}: clip {key} lacks {missing}")
        self.clips = tuple(self._clip(content, key, clips[key]) for key in sorted(clips))

    def __len__(self) -> int:
        return len(self.clips)

    def _clip(self, content: mmap.mmap, key: str, parts: dict[str, slice]) -> ShardClip:
        name = f"{self.path}: clip {key}"
        arrays = {
            part.removesuffix(".npy"): _place(content, place, name)
            for part, place in parts.items()
            if part.endswith(".npy")
        }
        frames = {key: array.shape[0] for key, array in arrays.items()}
        if len(set(frames.values())) != 1:
            raise DataError(f"{name}: parts have unequal numbers of frames: {frames}")
        return ShardClip(name, self._file, arrays, parts["meta.json"])


@dataclass(frozen=True)
class _Meta:
    """Content of a clip's meta.json."""

    T_world_cam: NDArray[np.float64]
    K: NDArray[np.float64]
    scene: SceneInfo | None
    metric: bool
    complete: bool
    posed: NDArray[np.bool_] | None
    clean: bool


@dataclass(frozen=True)
class ShardClip:
    """One clip of a shard; a `FrameSequence`.

    Args:
        name: For messages.
        file: The shard.
        arrays: Where the parts lie in it.
        meta_place: Where meta.json lies; it is parsed when the clip is first read.
    """

    name: str
    file: MappedFile = field(repr=False)
    arrays: dict[str, _Place] = field(repr=False)
    meta_place: slice = field(repr=False)

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of the pictures."""
        _, height, width, _ = self.arrays["rgb"].shape
        return height, width

    def __len__(self) -> int:
        return self.arrays["rgb"].shape[0]

    def read(self, frames: Sequence[int]) -> Clip:
        """These frames, in this order; see `FrameSequence`."""
        rows, meta = np.asarray(frames, np.intp), self._meta
        content = mapped(self.file)
        part = {name: place.view(content)[rows] for name, place in self.arrays.items()}
        normals = part.get("normals")
        return Clip(
            rgb=part["rgb"],
            depth=decode_depth(part["depth"]),
            T_world_cam=meta.T_world_cam[rows],
            K=meta.K[rows],
            object_id=part.get("object_id"),
            normals=None if normals is None else normals * np.float32(1 / 127),
            scene=meta.scene,
            name=self.name,
            metric=meta.metric,
            complete=meta.complete,
            posed=None if meta.posed is None else meta.posed[rows],
            clean=meta.clean,
        )

    @functools.cached_property
    def _meta(self) -> _Meta:
        try:
            content = parse_json(bytes(mapped(self.file)[self.meta_place]))
            if content["format"] != _FORMAT:
                raise DataError(f"{self.name}: format is {content['format']}, expected {_FORMAT}")
            poses = np.array(content["T_world_cam"], np.float64)
            K = np.array(content["K"], np.float64)
            scene, metric = content["scene"], bool(content["metric"])
            info = None if scene is None else SceneInfo.from_json(scene)
            told = content.get("posed")  # shards from before have it of all frames
            posed = None if told is None else np.array(told, np.bool_)
        except DataError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"{self.name}: meta.json cannot be read ({error!r})") from error
        whole = poses.shape == (len(self), 4, 4) and K.shape == (len(self), 3, 3)
        if not whole or (posed is not None and posed.shape != (len(self),)):
            raise DataError(
                f"{self.name} has {len(self)} pictures, poses {poses.shape}, intrinsics {K.shape}"
            )
        # Shards from before "complete" hold rendered rooms only.
        complete = bool(content.get("complete", info is not None and info.seed is not None))
        return _Meta(poses, K, info, metric, complete, posed, bool(content.get("clean", True)))


def tar_members(file: Any) -> dict[str, slice]:
    """Where the members of an open tar file lie.

    Raises:
        ValueError: The file ends before its end mark.
    """
    places: dict[str, slice] = {}
    end = 0
    with tarfile.open(fileobj=file, mode="r:") as tar:
        for member in tar:
            places[member.name] = slice(member.offset_data, member.offset_data + member.size)
            end = member.offset_data + -(-member.size // _BLOCK) * _BLOCK
    size = file.seek(0, os.SEEK_END)
    file.seek(min(end, size))
    rest = file.read()
    if len(rest) < 2 * _BLOCK or any(rest):
        raise ValueError(f"it is cut off: {size} bytes hold {len(places)} members and no end")
    return places


def _place(content: mmap.mmap, place: slice, name: str) -> _Place:
    """Where the numbers of an .npy member lie."""
    head = BytesIO(content[place.start : min(place.start + 4096, place.stop)])
    try:
        shape, fortran, kind = read_npy_header(head)
        if fortran:
            raise ValueError("it is no C-ordered array")
        start = place.start + head.tell()
        if start + math.prod(shape) * kind.itemsize > place.stop:
            raise ValueError("it is shorter than its header says")
    except ValueError as error:
        raise DataError(f"{name}: array cannot be read ({error})") from error
    return _Place(start, shape, kind)
