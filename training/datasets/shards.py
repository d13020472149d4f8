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
import mmap
import os
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..synthetic import Split
from .base import Clip, DataError, SceneInfo, known_depth

__all__ = [
    "MAX_DEPTH",
    "MIN_DEPTH",
    "Shard",
    "ShardClip",
    "decode_depth",
    "encode_depth",
    "shard_paths",
    "write_shard",
]

MIN_DEPTH, MAX_DEPTH = 0.02, 200.0
_CODES = 65535
_STEP = np.log(MAX_DEPTH / MIN_DEPTH) / (_CODES - 1)
_BLOCK = 512  # bytes of a tar header; two empty ones end the file
_REQUIRED = ("rgb.npy", "depth.npy", "meta.json")
_FORMAT = 1


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
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            with TarWriter(file, mtime=0.0, compress=False) as tar:
                for number, clip in enumerate(clips):
                    tar.write({"__key__": f"{number:06d}", **_members(clip)})
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _members(clip: Clip) -> dict[str, Any]:
    meta = {
        "format": _FORMAT,
        "name": clip.name,
        "metric": clip.metric,
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
            with path.open("rb") as file:
                self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
                members = _index(file)
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
        self.clips = tuple(self._clip(key, clips[key]) for key in sorted(clips))

    def __len__(self) -> int:
        return len(self.clips)

    def _clip(self, key: str, parts: dict[str, slice]) -> ShardClip:
        name = f"{self.path}: clip {key}"
        arrays = {
            part.removesuffix(".npy"): _array(self._bytes, place, name)
            for part, place in parts.items()
            if part.endswith(".npy")
        }
        try:
            meta = json.loads(self._bytes[parts["meta.json"]])
            if meta["format"] != _FORMAT:
                raise DataError(f"{name}: format is {meta['format']}, expected {_FORMAT}")
            scene = None if meta["scene"] is None else SceneInfo.from_json(meta["scene"])
            poses = np.array(meta["T_world_cam"], np.float64)
            K = np.array(meta["K"], np.float64)
            metric = bool(meta["metric"])
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            raise DataError(f"{name}: meta.json cannot be read ({error!r})") from error
        frames = {key: len(array) for key, array in arrays.items()}
        frames |= {"T_world_cam": len(poses), "K": len(K)}
        if len(set(frames.values())) != 1:
            raise DataError(f"{name}: parts have unequal numbers of frames: {frames}")
        return ShardClip(name, arrays, poses, K, scene, metric)


@dataclass(frozen=True)
class ShardClip:
    """One clip of a shard; a `FrameSequence`.

    Args:
        name: For messages.
        arrays: Views of the mapped file, as they are stored.
        T_world_cam, K, scene, metric: See `Clip`.
    """

    name: str
    arrays: dict[str, NDArray[Any]] = field(repr=False)
    T_world_cam: NDArray[np.float64]
    K: NDArray[np.float64]
    scene: SceneInfo | None
    metric: bool

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of the pictures."""
        return int(self.arrays["rgb"].shape[1]), int(self.arrays["rgb"].shape[2])

    def __len__(self) -> int:
        return len(self.T_world_cam)

    def read(self, frames: Sequence[int]) -> Clip:
        """These frames, in this order; see `FrameSequence`."""
        rows = np.asarray(frames, np.intp)
        normals = self.arrays.get("normals")
        object_id = self.arrays.get("object_id")
        return Clip(
            rgb=self.arrays["rgb"][rows],
            depth=decode_depth(self.arrays["depth"][rows]),
            T_world_cam=self.T_world_cam[rows],
            K=self.K[rows],
            object_id=None if object_id is None else object_id[rows],
            normals=None if normals is None else normals[rows] * np.float32(1 / 127),
            scene=self.scene,
            name=self.name,
            metric=self.metric,
        )


def _index(file: Any) -> dict[str, slice]:
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


def _array(content: mmap.mmap, place: slice, name: str) -> NDArray[Any]:
    """A view of an .npy member."""
    head = BytesIO(content[place.start : min(place.start + 4096, place.stop)])
    try:
        version = np.lib.format.read_magic(head)
        read = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        shape, fortran, kind = read(head)
        if fortran or kind.hasobject:
            raise ValueError("it is no plain C-ordered array")
        count = int(np.prod(shape))
        array = np.frombuffer(content, kind, count, place.start + head.tell())
        if place.start + head.tell() + array.nbytes > place.stop:
            raise ValueError("it is shorter than its header says")
    except ValueError as error:
        raise DataError(f"{name}: array cannot be read ({error})") from error
    return array.reshape(shape)
