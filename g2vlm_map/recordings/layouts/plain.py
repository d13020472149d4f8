# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Frames in one folder, in the natural order of their names, with K where a file says it.

The base of all layouts, and what they share. Shape letters: H W pixels, M poses.
"""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...picture_walk import kind_of
from ..source import NS, Calibration, LeftOut, RecordingError, TruePoses
from ..transforms import rigid
from .file_names import natural_key, stamps_of_names

COMPRESSED_KINDS = {"JPEG": "jpeg", "PNG": "png", "WebP": "webp"}  # as CompressedImage calls them
OTHER_KINDS = ("BMP", "GIF", "PPM", "TIFF")
# Endings of what lies beside frames and is none: it is not named among what is left out.
BESIDE = {
    *(".txt", ".json", ".yaml", ".yml", ".csv", ".md", ".xml", ".log", ".html", ".ini", ".db"),
    *(".npy", ".npz", ".ply", ".pcd", ".bin", ".gz", ".zip", ".tar", ".py", ".sh"),
}
IS_DEPTH = "is a depth map, by its name"
INTRINSICS_FILE = "camera-intrinsics.txt"
FIRST_STAMP_NS = NS  # counted stamps begin at 1 s: a stamp of zero means "not set" in ROS
DEFAULT_HZ = 10.0
POSE_TOLERANCE_NS = 1_000_000

Stamps = tuple[int, ...]


class PlainLayout:
    """Frames and nothing else but `camera-intrinsics.txt`.

    Args:
        path: The folder.

    Attributes:
        name: In words; "" needs none.
        camera: Name of the camera; "" where the folder has but one without a name.
        files: Frames in playing order; some may turn out not to be decodable.
        calibration: None where nobody says.
        T_body_cam: (4, 4) optical axes to the body of a rig, metres; None where nobody says.
        left_out: What the folder tells of and does not hold.
        notes: For who reads numbers.
        depth_unit_m: Metres of one step of a depth file of whole numbers.

    Raises:
        RecordingError: A file that describes the frames is wrong.
    """

    name = ""
    camera = ""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.left_out: list[LeftOut] = []
        self.files: list[Path] = self.frame_files(path)
        self.calibration: Calibration | None = None
        self.T_body_cam: NDArray[np.float64] | None = None
        self.notes: list[str] = []
        self.depth_unit_m = 1e-3
        self._read()

    def frame_files(self, folder: Path) -> list[Path]:
        """Pictures directly in a folder in natural order, without those of depth.

        The first bytes decide what is one. What looks like one and is none is left out by name.
        """
        found, self.left_out = pictures_in(folder)
        return found

    def _read(self) -> None:
        K = read_intrinsics(self.path / INTRINSICS_FILE)
        if K is None:
            self.notes.append(f"No {INTRINSICS_FILE}: K is unknown.")
        else:
            self.calibration = Calibration(K)

    def stamps(self, files: list[Path], fps: float | None) -> tuple[Stamps, str]:
        """Stamp of each file in nanoseconds, increasing, and in words where they come from."""
        named = stamps_of_names([file.stem for file in files]) if fps is None else None
        if named is not None:
            return tuple(named[0]), named[1]
        rate = fps or DEFAULT_HZ
        stamps = [FIRST_STAMP_NS + round(index / rate * NS) for index in range(len(files))]
        return tuple(stamps), (
            f"The file names carry no capture time; stamps are {rate:g} Hz (--fps)."
        )

    def true_poses(self, files: list[Path], stamps: Stamps) -> TruePoses | None:
        """True poses of the camera, None where the folder has none.

        Args:
            files: Those of `files` that can be decoded.
            stamps: Theirs.
        """
        return None

    def depth_file(self, file: Path) -> Path | None:
        """The depth map of a frame; None where it has none."""
        return None


def pictures_in(folder: Path) -> tuple[list[Path], list[LeftOut]]:
    """Frames directly in a folder in natural order, and by name what else looks like one."""
    found, left_out = [], []
    for file in sorted(folder.iterdir(), key=lambda file: natural_key(file.name)):
        if file.name.startswith(".") or file.is_dir():
            continue
        kind = kind_of_file(file)
        if ".depth" in file.stem:
            left_out.append(LeftOut(file.name, IS_DEPTH))
        elif kind in COMPRESSED_KINDS or kind in OTHER_KINDS:
            found.append(file)
        elif kind:
            left_out.append(LeftOut(file.name, f"is {kind}, which is not read; convert it"))
        elif file.suffix.lower() not in BESIDE:
            left_out.append(LeftOut(file.name, _why_unknown(file)))
    return found, left_out


def _why_unknown(file: Path) -> str:
    try:
        if not file.is_file():
            return "is no file: a broken link, a pipe or a socket"
        if file.stat().st_size == 0:
            return "is empty"
        file.open("rb").close()
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return "is no picture that is known"


def kind_of_file(file: Path) -> str:
    """What a file is by its first bytes; "" where nothing is known by them."""
    try:
        if not file.is_file():  # a pipe would wait for whoever writes into it
            return ""
        with file.open("rb") as opened:
            return kind_of(opened.read(32))
    except OSError:
        return ""


def poses_of_files(
    poses: dict[Path, NDArray[np.float64]],
    files: list[Path],
    stamps: Stamps,
    origin: str,
    *,
    is_metric: bool = True,
) -> TruePoses | None:
    """True poses of those files that have one; None where none has.

    Args:
        poses: T_world_cam (4, 4) of optical axes.
        files, stamps: All frames.
        origin: Where the poses come from, in words.
        is_metric: Whether their lengths are metres.
    """
    found = [(s, poses[file]) for file, s in zip(files, stamps, strict=True) if file in poses]
    if not found:
        return None
    T_world_cam_M44 = rigid(np.stack([pose for _, pose in found]))
    stamps_ns = np.array([stamp for stamp, _ in found], np.int64)
    return TruePoses(stamps_ns, T_world_cam_M44, origin, POSE_TOLERANCE_NS, is_metric)


def read_matrix(file: Path, shape: tuple[int, int]) -> NDArray[np.float64] | None:
    """A matrix from a text file, None where there is no file.

    Args:
        file: Numbers in rows.
        shape: Of the matrix; -1 as its first number takes any number of rows.

    Raises:
        RecordingError: Something else stands in there.
    """
    if not file.exists():
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # an empty file is refused below
            matrix = np.loadtxt(file, dtype=np.float64, ndmin=2)
    except (OSError, ValueError) as error:
        raise RecordingError(f"{file}: {error}") from error
    rows = len(matrix) if shape[0] < 0 else shape[0]
    wanted = (rows, shape[1])
    if matrix.shape != wanted or not rows or not np.isfinite(matrix).all():
        raise RecordingError(
            f"{file} holds {matrix.shape}, expected a finite {shape} matrix"
            + (" (-1: any number of rows)" if shape[0] < 0 else "")
        )
    return matrix


def read_intrinsics(file: Path) -> NDArray[np.float64] | None:
    """(3, 3) K from a text file, None where there is no file.

    Raises:
        RecordingError: It holds no K.
    """
    K = read_matrix(file, (3, 3))
    if K is not None:
        check_intrinsics(K, str(file))
    return K


def check_intrinsics(K: NDArray[np.float64], name: str) -> None:
    """Refuse a K that no camera has.

    Raises:
        RecordingError: Not finite, a focal length of 0 or less, or a last row other than 0 0 1.
    """
    if not (math.isfinite(K.sum()) and K[0, 0] > 0 and K[1, 1] > 0):
        raise RecordingError(f"{name}: focal lengths {K[0, 0]}, {K[1, 1]}, expected above 0")
    if not np.array_equal(K[2], (0.0, 0.0, 1.0)):
        raise RecordingError(f"{name}: last row of K is {K[2].tolist()}, expected [0, 0, 1]")
