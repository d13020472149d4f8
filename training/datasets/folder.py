# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What the readers of posed RGB-D folders share: lazy sequences, files, time, axes."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from g2vlm_map.decode import BadInputError
from g2vlm_map.pictures import decode_samples, read_rgb
from g2vlm_map.recordings.transforms import interpolate_poses

from .base import Clip, DataError, known_depth

__all__ = [
    "INTRINSICS",
    "OPENGL_TO_OPENCV",
    "FolderSequence",
    "Frame",
    "folders_with",
    "inside",
    "interpolated_poses",
    "pinhole",
    "pose_of",
    "read_depth_png",
    "read_intrinsics",
    "read_numbers",
    "read_picture",
    "read_samples",
    "sequence_of",
]

_LOG = logging.getLogger(__name__)
_DEEPEST = 4
INTRINSICS = "camera-intrinsics.txt"
# Camera axes x right, y up, z backward to x right, y down, z forward, and back.
OPENGL_TO_OPENCV = np.diag([1.0, -1.0, -1.0, 1.0])


@dataclass(frozen=True)
class Frame:
    """One picture.

    Args:
        rgb: (H, W, 3) uint8.
        depth: (H, W) z-depth on the same grid; None where there is no map.
        K: (3, 3) pixels.
    """

    rgb: NDArray[np.uint8]
    depth: NDArray[np.float32] | None
    K: NDArray[np.float64]


@dataclass(frozen=True)
class FolderSequence:
    """Frames of a folder, read when they are asked for; a `FrameSequence`.

    Args:
        name: For messages.
        T_world_cam: (N, 4, 4) camera-to-world, OpenCV camera axes.
        load: Reads the i-th frame.
        names: Names of the N frames, e.g. stamps.
        metric: Whether lengths are metres.
        dropped: Frames without a usable pose, picture or depth map, which are left out.
        clean: See `Clip`.
    """

    name: str
    T_world_cam: NDArray[np.float64] = field(repr=False)
    load: Callable[[int], Frame] = field(repr=False)
    names: tuple[str, ...] = field(repr=False)
    metric: bool = True
    dropped: int = 0
    clean: bool = False

    def __len__(self) -> int:
        return len(self.T_world_cam)

    @functools.cached_property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of the first picture."""
        height, width = self.load(0).rgb.shape[:2]
        return height, width

    def read(self, frames: Sequence[int]) -> Clip:
        """These frames, in this order; depth is 0 where a frame has no map."""
        loaded = [self.load(index) for index in frames]
        sizes = {frame.rgb.shape[:2] for frame in loaded}
        if len(sizes) > 1:
            names = [self.names[index] for index in frames]
            raise DataError(f"{self.name}: frames {names} have unequal sizes {sorted(sizes)}")
        depth = [
            np.zeros(frame.rgb.shape[:2], np.float32) if frame.depth is None else frame.depth
            for frame in loaded
        ]
        for index, frame, map_HW in zip(frames, loaded, depth, strict=True):
            if map_HW.shape != frame.rgb.shape[:2]:
                raise DataError(
                    f"{self.name}: frame {self.names[index]} has a picture of "
                    f"{frame.rgb.shape[:2]} and a depth map of {map_HW.shape}"
                )
        return Clip(
            rgb=np.stack([frame.rgb for frame in loaded]),
            depth=np.stack(depth),
            T_world_cam=self.T_world_cam[list(frames)],
            K=np.stack([frame.K for frame in loaded]),
            name=f"{self.name}[{', '.join(self.names[index] for index in frames)}]",
            metric=self.metric,
            clean=self.clean,
        )


def sequence_of(
    name: str,
    frames: Iterable[tuple[str, NDArray[np.float64] | None, Callable[[], Frame]]],
    *,
    metric: bool = True,
    clean: bool = False,
) -> FolderSequence:
    """Make a sequence of named frames with pose and reader; those without a pose are dropped.

    Trackers write -inf or NaN where they were lost, and readers None where a part of the frame
    is missing; both count as no pose. Poses are made exactly orthonormal, because files round.

    Raises:
        DataError: No frame is left.
    """
    content = list(frames)
    good = [
        (label, pose, load)
        for label, pose, load in content
        if pose is not None and np.isfinite(pose).all()
    ]
    dropped = len(content) - len(good)
    if not good:
        raise DataError(f"{name}: none of {len(content)} frames has all its parts and a pose")
    if dropped:
        _LOG.warning("%s: left out %d of %d frames: no pose", name, dropped, len(content))
    loaders = [load for _, _, load in good]
    return FolderSequence(
        name=name,
        T_world_cam=np.stack([_orthonormal(pose, f"{name}: {label}") for label, pose, _ in good]),
        load=functools.partial(_loaded, loaders),  # pickled for workers, unlike a lambda
        names=tuple(label for label, _, _ in good),
        metric=metric,
        dropped=dropped,
        clean=clean,
    )


def _loaded(loaders: Sequence[Callable[[], Frame]], index: int) -> Frame:
    return loaders[index]()


def _orthonormal(pose: NDArray[np.float64], where: str) -> NDArray[np.float64]:
    """The nearest rigid motion; what is no rigid motion but for rounding stays for the check."""
    if pose.shape != (4, 4):
        raise DataError(f"{where}: pose has shape {pose.shape}, expected (4, 4)")
    left, scale, right = np.linalg.svd(pose[:3, :3])
    out = pose.astype(np.float64)
    if np.abs(scale - 1).max() < 0.02:
        out[:3, :3] = left @ right
        out[3] = (0, 0, 0, 1)
    return out


def folders_with(root: Path, marker: str, layout: str) -> list[Path]:
    """The root, or the folders below it, that hold a file or folder matching a pattern.

    Raises:
        FileNotFoundError: The root is missing or nothing in it matches.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is no folder; give the root of a {layout} data set")
    if next(root.glob(marker), None) is not None:
        return [root]
    for depth in range(1, _DEEPEST + 1):
        below = "/".join(["*"] * depth)
        found = {folder for folder in root.glob(below) if folder.is_dir()}
        found = {folder for folder in found if next(folder.glob(marker), None) is not None}
        if found:
            return sorted(found)
    raise FileNotFoundError(
        f"{root} holds no {marker}, nor do {_DEEPEST} levels of folders below it; "
        f"is it a data set in the {layout} layout?"
    )


def inside(root: Path, name: object) -> Path:
    """A file that a list of a data set names, below the data set's folder.

    Raises:
        DataError: It is no name, or leads out of the folder.
    """
    if not isinstance(name, str) or "\0" in name:
        raise DataError(f"{root}: {name!r:.80} is no name of a file")
    path = Path(os.path.normpath(root / name))  # a link inside may lead anywhere
    if not path.is_relative_to(os.path.normpath(root)):
        raise DataError(f"{root}: {name!r:.80} leads out of it")
    return path


def read_picture(path: Path) -> NDArray[np.uint8]:
    """(H, W, 3) uint8.

    Raises:
        DataError: Missing or damaged.
    """
    try:
        return np.ascontiguousarray(read_rgb(path))
    except (OSError, BadInputError) as error:
        raise DataError(f"picture {path} cannot be read: {error}") from error


def read_samples(path: Path, what: str = "depth map") -> NDArray[Any]:
    """The samples of a picture file as they are stored, (H, W) or (H, W, C).

    Raises:
        DataError: Missing or damaged; the text begins with `what` it is.
    """
    try:
        return decode_samples(path.read_bytes())
    except (OSError, BadInputError) as error:
        raise DataError(f"{what} {path} cannot be read: {error}") from error


def read_depth_png(
    path: Path, per_unit: float, no_reading: int | None = None, far: float = np.inf
) -> NDArray[np.float32]:
    """(H, W) depth of a 16-bit PNG.

    Args:
        path: The file.
        per_unit: Numbers per unit of length, e.g. 1000 for millimetres.
        no_reading: A number beside 0 that says that there is none.
        far: Depth beyond which the sensor is not believed.

    Raises:
        DataError: Missing, damaged, or not of one channel of 16 bits.
    """
    raw = read_samples(path)
    if raw.ndim != 2 or raw.dtype == np.uint8:
        raise DataError(f"depth map {path} is {raw.dtype} {raw.shape}, expected 16 bits (H, W)")
    depth = raw.astype(np.float64) / per_unit
    if no_reading is not None:
        depth[raw == no_reading] = 0
    return known_depth(depth, far)


def read_numbers(path: Path, columns: int | None = None) -> NDArray[np.float64]:
    """(R, C) numbers of a text file; lines that begin with # are comments.

    Raises:
        DataError: Missing, empty, not numbers, or another number of columns.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        rows = [line.replace(",", " ").split() for line in lines if not line.startswith("#")]
        table = np.array([[float(word) for word in row] for row in rows if row])
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    if table.ndim != 2 or (columns is not None and table.shape[1] != columns):
        wanted = "a table" if columns is None else f"{columns} columns"
        raise DataError(f"{path} has shape {table.shape}, expected {wanted} of numbers")
    return table


def read_intrinsics(folder: Path, root: Path) -> NDArray[np.float64] | None:
    """(3, 3) of `camera-intrinsics.txt` in a folder, or the nearest one above up to a root.

    Returns:
        None where there is no such file.

    Raises:
        DataError: It holds no intrinsics.
    """
    above = [folder, *folder.parents]
    for place in above[: above.index(root) + 1] if root in above else [folder]:
        path = place / INTRINSICS
        if path.is_file():
            K = read_numbers(path, 3)
            good = K.shape == (3, 3) and K[0, 0] > 0 and K[1, 1] > 0
            if not good or not np.array_equal(K[2], (0, 0, 1)):
                raise DataError(
                    f"{path} holds {K.tolist()}, expected three lines: fx 0 cx, 0 fy cy, 0 0 1"
                )
            return K
    return None


def pose_of(
    rotation: Rotation | NDArray[np.float64], position: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(4, 4) of a rotation and a position."""
    T = np.eye(4)
    T[:3, :3] = rotation.as_matrix() if isinstance(rotation, Rotation) else rotation
    T[:3, 3] = position
    return T


def pinhole(fx: float, fy: float, cx: float, cy: float) -> NDArray[np.float64]:
    """(3, 3) intrinsics."""
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], np.float64)


def interpolated_poses(
    stamps: NDArray[np.float64],
    T_world_cam: NDArray[np.float64],
    wanted: NDArray[np.float64],
    max_gap: float,
) -> list[NDArray[np.float64] | None]:
    """Poses at other times, between the two neighbours in time.

    Args:
        stamps: (N,) seconds of the poses, any order.
        T_world_cam: (N, 4, 4).
        wanted: (M,) seconds.
        max_gap: None where the two neighbours are farther apart, or there is but one that is
            not nearer than a hundredth of this.
    """
    known_ns, first = np.unique(np.rint(stamps * 1e9).astype(np.int64), return_index=True)
    wanted_ns = np.rint(wanted * 1e9).astype(np.int64)
    poses = interpolate_poses(known_ns, T_world_cam[first], wanted_ns)
    after = np.searchsorted(known_ns, wanted_ns).clip(1, max(1, len(known_ns) - 1))
    later_ns, earlier_ns = known_ns[np.minimum(after, len(known_ns) - 1)], known_ns[after - 1]
    nearest_ns = np.minimum(np.abs(later_ns - wanted_ns), np.abs(wanted_ns - earlier_ns))
    between = (earlier_ns <= wanted_ns) & (wanted_ns <= later_ns)
    gap_ns = max_gap * 1e9
    good = (nearest_ns <= 0.01 * gap_ns) | (between & (later_ns - earlier_ns <= gap_ns))
    return [pose if known else None for pose, known in zip(poses, good, strict=True)]
