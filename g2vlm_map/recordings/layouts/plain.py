"""Frames in one folder, in the natural order of their names, with K where a file says it.

The base of all layouts, and what they share. Shape letters: H W pixels, M poses.
"""

from __future__ import annotations

import itertools
import math
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..source import NS, Calibration, LeftOut, RecordingError, TruePoses
from ..transforms import rigid

FILE_FORMATS = {  # what CompressedImage calls a file's format; "" where it has no name for it
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".png": "png",
    ".bmp": "",
    ".webp": "",
    ".tif": "",
    ".tiff": "",
    ".ppm": "",
}
CAPTURE_TIME = re.compile(r"(\d+\.\d+)$")
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
        self.files: list[Path] = frame_files(path)
        self.calibration: Calibration | None = None
        self.T_body_cam: NDArray[np.float64] | None = None
        self.left_out: list[LeftOut] = []
        self.notes: list[str] = []
        self.depth_unit_m = 1e-3
        self._read()

    def _read(self) -> None:
        K = read_intrinsics(self.path / INTRINSICS_FILE)
        if K is None:
            self.notes.append(f"No {INTRINSICS_FILE}: K is unknown.")
        else:
            self.calibration = Calibration(K)

    def stamps(self, files: list[Path], fps: float | None) -> tuple[Stamps, str]:
        """Stamp of each file in nanoseconds, increasing, and in words where they come from."""
        times = [CAPTURE_TIME.search(file.stem) for file in files]
        if fps is None and all(times):
            stamps = [round(float(match[1]) * NS) for match in times if match]
            if increasing(stamps):
                return tuple(stamps), "Stamps are the capture times in the file names."
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


def frame_files(path: Path) -> list[Path]:
    """Pictures directly in a folder in natural order, without those of depth."""
    files = [file for file in path.iterdir() if file.suffix.lower() in FILE_FORMATS]
    files = [file for file in files if file.is_file() and ".depth" not in file.stem]
    return sorted(files, key=lambda file: natural_key(file.name))


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Sort key that reads digits as numbers: frame_9 comes before frame_10."""
    parts = re.split(r"(\d+)", name)
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts if part]


def increasing(stamps: list[int]) -> bool:
    """Whether each stamp is later than the one before."""
    return all(later > earlier for earlier, later in itertools.pairwise(stamps))


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
        matrix = np.loadtxt(file, dtype=np.float64, ndmin=2)
    except ValueError as error:
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
