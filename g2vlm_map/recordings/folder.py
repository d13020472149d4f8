"""A folder of frames as the recording of one camera.

JPEG and PNG files are given as they are, other formats decoded. A folder in the 7-Scenes layout
(`*.color.*`, `*.depth.png`, `*.pose.txt`) brings its ground truth along.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from .frames import RecordedFrame, decode_rgb, depth_metres
from .source import (
    COMPRESSED,
    IMAGE,
    NS,
    Calibration,
    LeftOut,
    RecordingError,
    RecordingInfo,
    TruePoses,
)
from .transforms import rigid

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
FRAME_NUMBER = re.compile(r"(\d+)$")
IMAGE_TOPIC = "/camera/image_raw"
INFO_TOPIC = "/camera/camera_info"
FRAME_ID = "camera_optical_frame"
INTRINSICS_FILE = "camera-intrinsics.txt"
FIRST_STAMP_NS = NS  # counted stamps begin at 1 s: a stamp of zero means "not set" in ROS
SEVEN_SCENES_HZ = 30.0
MAX_FPS = 1e6  # stamps stay apart
DEFAULT_HZ = 10.0


@dataclass(frozen=True)
class CompressedFile:
    """A file's bytes with the fields of `sensor_msgs/CompressedImage`."""

    format: str
    data: bytes = field(repr=False)


@dataclass(frozen=True)
class RawFrame:
    """A decoded file with the fields of `sensor_msgs/Image`."""

    height: int
    width: int
    data: bytes = field(repr=False)
    encoding: str = "rgb8"
    is_bigendian: int = 0

    @property
    def step(self) -> int:
        """Bytes of a row."""
        return 3 * self.width


class FolderRecording:
    """One camera out of a folder of frames; a `Recording`.

    Args:
        path: the folder.
        fps: frames a second where the file names carry no capture time; for the 7-Scenes
            layout the rate of its frame numbers. None: 10, and 30 for 7-Scenes.
        limit: take at most this many frames; 0 takes all.

    Raises:
        RecordingError: No folder, no frame in it, or none that can be decoded.
    """

    def __init__(self, path: Path, fps: float | None = None, limit: int = 0) -> None:
        if fps is not None and not 0 < fps <= MAX_FPS:
            raise RecordingError(f"fps is {fps:g}, expected above 0 and at most {MAX_FPS:g}")
        files = sorted(_files_in(path), key=lambda file: natural_key(file.name))
        if not files:
            raise RecordingError(
                f"{path} holds no frame; looked for {', '.join(sorted(FILE_FORMATS))}"
            )
        self._seven_scenes = any(".color" in file.stem for file in files)
        if self._seven_scenes:
            files = [file for file in files if ".color" in file.stem]
        files = files[:limit] if limit else files
        sizes = {file: _size(file) for file in files}
        self._files = [file for file in files if sizes[file] is not None]
        if not self._files:
            raise RecordingError(f"{path}: none of {len(files)} frames can be decoded")
        size_hw = sizes[self._files[0]]
        assert size_hw is not None
        stamps, clock = _stamps(self._files, fps, seven_scenes=self._seven_scenes)
        K = _intrinsics(path / INTRINSICS_FILE)
        layout = " (7-Scenes layout)" if self._seven_scenes else ""
        self._info = RecordingInfo(
            path=path,
            kind=f"folder of frames{layout}",
            image_topic=IMAGE_TOPIC,
            image_type=COMPRESSED if FILE_FORMATS[self._files[0].suffix.lower()] else IMAGE,
            info_topic=INFO_TOPIC if K is not None else "",
            frame_id=FRAME_ID,
            stamps_ns=stamps,
            times_ns=stamps,
            size_hw=size_hw,
            calibration=None if K is None else Calibration(K),
            left_out=tuple(
                LeftOut(file.name, "cannot be decoded") for file in files if sizes[file] is None
            ),
            notes=(clock,) if K is not None else (clock, f"No {INTRINSICS_FILE}: K is unknown."),
        )

    @property
    def info(self) -> RecordingInfo:
        """What the folder holds."""
        return self._info

    def frames(self, indices: Iterable[int] | None = None) -> Iterator[RecordedFrame]:
        """All frames in natural order of the file names, or some by index."""
        read = _compressed if self._info.image_type == COMPRESSED else _raw
        for index in range(len(self._files)) if indices is None else indices:
            if 0 <= index < len(self._files):
                stamp, load = (
                    self._info.stamps_ns[index],
                    functools.partial(read, self._files[index]),
                )
                yield RecordedFrame(index, stamp, stamp, FRAME_ID, load)

    def true_poses(self) -> TruePoses | None:
        """Poses of the 7-Scenes layout, or None."""
        if not self._seven_scenes:
            return None
        stamps, poses = [], []
        for file, stamp in zip(self._files, self._info.stamps_ns, strict=True):
            T_world_cam = _read_matrix(_beside(file, ".pose.txt"), (4, 4))
            if T_world_cam is not None:
                stamps.append(stamp)
                poses.append(T_world_cam)
        if not poses:
            return None
        T_world_cam_M44 = rigid(np.stack(poses))
        return TruePoses(np.array(stamps, np.int64), T_world_cam_M44, "*.pose.txt", 1_000_000)

    def true_depths(
        self, stamps_ns: Iterable[int], left_out: list[LeftOut] | None = None
    ) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Depth maps of the 7-Scenes layout, metres."""
        wanted = set(stamps_ns)
        for file, stamp in zip(self._files, self._info.stamps_ns, strict=True):
            if not self._seven_scenes or stamp not in wanted:
                continue
            depth_file = _beside(file, ".depth.png")
            if not depth_file.exists():
                continue
            raw = cv2.imread(str(depth_file), cv2.IMREAD_UNCHANGED)
            if raw is not None and raw.ndim == 2:
                yield stamp, depth_metres(raw)
            elif left_out is not None:
                left_out.append(LeftOut(depth_file.name, "no depth map, expected (H, W)"))


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Sort key that reads digits as numbers: frame_9 comes before frame_10."""
    parts = re.split(r"(\d+)", name)
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts if part]


def _compressed(file: Path) -> CompressedFile:
    kind, payload = FILE_FORMATS[file.suffix.lower()], file.read_bytes()
    if kind:
        return CompressedFile(kind, payload)
    bgr = decode_rgb(payload, file.name)[..., ::-1]  # the odd file among JPEGs or PNGs
    return CompressedFile("png", cv2.imencode(".png", bgr)[1].tobytes())


def _raw(file: Path) -> RawFrame:
    rgb_HW3 = decode_rgb(file.read_bytes(), file.name)
    return RawFrame(rgb_HW3.shape[0], rgb_HW3.shape[1], rgb_HW3.tobytes())


def _files_in(path: Path) -> list[Path]:
    if not path.is_dir():
        raise RecordingError(f"{path} is no folder")
    files = [file for file in path.iterdir() if file.suffix.lower() in FILE_FORMATS]
    return [file for file in files if file.is_file() and ".depth" not in file.stem]


def _size(file: Path) -> tuple[int, int] | None:
    """(height, width) of a frame, None where it cannot be decoded."""
    gray = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)
    return None if gray is None else (int(gray.shape[0]), int(gray.shape[1]))


def _stamps(
    files: list[Path], fps: float | None, *, seven_scenes: bool
) -> tuple[tuple[int, ...], str]:
    """Stamp of each file, and in words where they come from."""
    times = [CAPTURE_TIME.search(file.stem) for file in files]
    if fps is None and all(times):
        stamps = [round(float(match[1]) * NS) for match in times if match]
        if all(later > earlier for earlier, later in itertools.pairwise(stamps)):
            return tuple(stamps), "Stamps are the capture times in the file names."
    if seven_scenes:
        rate = fps or SEVEN_SCENES_HZ
        numbers = [FRAME_NUMBER.search(file.name.split(".", 1)[0]) for file in files]
        if all(numbers):
            counts = [int(match[1]) for match in numbers if match]
            stamps = [FIRST_STAMP_NS + round(count / rate * NS) for count in counts]
            return tuple(stamps), f"Stamps are the frame numbers at {rate:g} Hz."
    rate = fps or DEFAULT_HZ
    stamps = [FIRST_STAMP_NS + round(index / rate * NS) for index in range(len(files))]
    return tuple(stamps), f"The file names carry no capture time; stamps are {rate:g} Hz."


def _beside(file: Path, ending: str) -> Path:
    return file.with_name(file.name.split(".color", 1)[0] + ending)


def _intrinsics(file: Path) -> NDArray[np.float64] | None:
    K = _read_matrix(file, (3, 3))
    if K is not None and not (K[0, 0] > 0 and K[1, 1] > 0):
        raise RecordingError(f"{file}: focal lengths {K[0, 0]}, {K[1, 1]}, expected above 0")
    return K


def _read_matrix(file: Path, shape: tuple[int, int]) -> NDArray[np.float64] | None:
    """A matrix from a text file, None where there is no file."""
    if not file.exists():
        return None
    try:
        matrix = np.loadtxt(file, dtype=np.float64)
    except ValueError as error:
        raise RecordingError(f"{file}: {error}") from error
    if matrix.shape != shape or not np.isfinite(matrix).all():
        raise RecordingError(f"{file} holds {matrix.shape}, expected a finite {shape} matrix")
    return matrix
