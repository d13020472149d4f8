"""Plays a folder of pictures as if a camera had published them.

JPEG and PNG files travel as they are, as CompressedImage; other formats are decoded and sent
as rgb8 Image. A folder in the 7-Scenes layout (`*.color.*`, `*.depth.png`, `*.pose.txt`)
brings its ground truth along.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .bag import rosbags_typestore
from .errors import ReplayInputError
from .pictures import decode_rgb, depth_metres
from .source import (
    CAMERA_INFO,
    COMPRESSED,
    IMAGE,
    NS,
    PlayMessage,
    PoseTruth,
    SourceInfo,
    split_stamp,
)
from .transforms import rigid

PICTURE_ENDINGS = {
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


class FolderSource:
    """One camera out of a folder of pictures.

    Args:
        path: the folder.
        fps: pictures a second where the file names carry no capture time; for the 7-Scenes
            layout the rate of its frame numbers. None: 10, and 30 for 7-Scenes.
        limit: take at most this many pictures; 0 takes all.

    Raises:
        ReplayInputError: No folder, no picture in it, or none that can be decoded.
    """

    def __init__(self, path: Path, fps: float | None = None, limit: int = 0) -> None:
        if fps is not None and not 0 < fps <= MAX_FPS:
            raise ReplayInputError(f"--fps is {fps:g}, expected above 0 and at most {MAX_FPS:g}")
        files = sorted(_pictures_in(path), key=lambda file: natural_key(file.name))
        if not files:
            raise ReplayInputError(
                f"{path} holds no picture; looked for {', '.join(sorted(PICTURE_ENDINGS))}"
            )
        self._typestore = rosbags_typestore()
        self._seven_scenes = any(".color" in file.stem for file in files)
        if self._seven_scenes:
            files = [file for file in files if ".color" in file.stem]
        files = files[:limit] if limit else files
        sizes = {file: _size(file) for file in files}
        self._files = [file for file in files if sizes[file] is not None]
        if not self._files:
            raise ReplayInputError(f"{path}: none of {len(files)} pictures can be decoded")
        size = sizes[self._files[0]]
        assert size is not None
        stamps, clock = _stamps(self._files, fps, seven_scenes=self._seven_scenes)
        K = _intrinsics(path / INTRINSICS_FILE)
        layout = " (7-Scenes layout)" if self._seven_scenes else ""
        self._info = SourceInfo(
            path=path,
            kind=f"folder of pictures{layout}",
            image_topic=IMAGE_TOPIC,
            image_type=COMPRESSED if PICTURE_ENDINGS[self._files[0].suffix.lower()] else IMAGE,
            info_topic=INFO_TOPIC if K is not None else "",
            frame_id=FRAME_ID,
            stamps_ns=stamps,
            times_ns=stamps,
            size=size,
            K=K,
            unreadable=tuple(file.name for file in files if sizes[file] is None),
            notes=(clock,) if K is not None else (clock, f"No {INTRINSICS_FILE}: K is unknown."),
        )

    @property
    def info(self) -> SourceInfo:
        """What there is to play."""
        return self._info

    def messages(self) -> Iterator[PlayMessage]:
        """Each picture, its camera info first where K is known."""
        compressed = self._info.image_type == COMPRESSED
        for index, (file, stamp) in enumerate(zip(self._files, self._info.stamps_ns, strict=True)):
            if self._info.K is not None:
                info = self._camera_info(stamp)
                yield PlayMessage(stamp, INFO_TOPIC, CAMERA_INFO, info, stamp)
            message = self._compressed(file, stamp) if compressed else self._raw(file, stamp)
            yield PlayMessage(stamp, IMAGE_TOPIC, self._info.image_type, message, stamp, index)

    def pictures(self, indices: Iterable[int]) -> dict[int, NDArray[np.uint8]]:
        """Pictures (H, W, 3) uint8 RGB by index."""
        found = {}
        for index in indices:
            if 0 <= index < len(self._files):
                file = self._files[index]
                found[index] = decode_rgb(file.read_bytes(), file.name)
        return found

    def truth_poses(self) -> PoseTruth | None:
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
        return PoseTruth(np.array(stamps, np.int64), T_world_cam_M44, "*.pose.txt", 1_000_000)

    def truth_depths(
        self, stamps_ns: Iterable[int], unreadable: list[str] | None = None
    ) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Depth pictures of the 7-Scenes layout, metres."""
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
            elif unreadable is not None:
                unreadable.append(f"{depth_file.name} is no depth picture, expected (H, W)")

    def _header(self, stamp_ns: int) -> Any:
        types = self._typestore.types
        seconds, nanoseconds = split_stamp(stamp_ns)
        stamp = types["builtin_interfaces/msg/Time"](sec=seconds, nanosec=nanoseconds)
        return types["std_msgs/msg/Header"](stamp=stamp, frame_id=FRAME_ID)

    def _compressed(self, file: Path, stamp_ns: int) -> bytes:
        kind = PICTURE_ENDINGS[file.suffix.lower()]
        payload = file.read_bytes()
        if not kind:  # the odd file among JPEGs or PNGs
            kind = "png"
            payload = cv2.imencode(".png", decode_rgb(payload, file.name)[..., ::-1])[1].tobytes()
        message = self._typestore.types[COMPRESSED](
            header=self._header(stamp_ns), format=kind, data=np.frombuffer(payload, np.uint8)
        )
        return bytes(self._typestore.serialize_cdr(message, COMPRESSED))

    def _raw(self, file: Path, stamp_ns: int) -> bytes:
        rgb = decode_rgb(file.read_bytes(), file.name)
        message = self._typestore.types[IMAGE](
            header=self._header(stamp_ns),
            height=rgb.shape[0],
            width=rgb.shape[1],
            encoding="rgb8",
            is_bigendian=0,
            step=rgb.shape[1] * 3,
            data=rgb.reshape(-1),
        )
        return bytes(self._typestore.serialize_cdr(message, IMAGE))

    def _camera_info(self, stamp_ns: int) -> bytes:
        assert self._info.K is not None
        return camera_info_cdr(
            self._typestore, self._header(stamp_ns), self._info.K, self._info.size
        )


def camera_info_cdr(
    typestore: Any, header: Any, K: NDArray[np.float64], size: tuple[int, int]
) -> bytes:
    """Serialize a CameraInfo of a pinhole without distortion.

    Args:
        typestore: rosbags' message definitions.
        header: a std_msgs/Header of that store.
        K: (3, 3) in pixels.
        size: (height, width).
    """
    types = typestore.types
    message = types[CAMERA_INFO](
        header=header,
        height=size[0],
        width=size[1],
        distortion_model="plumb_bob",
        d=np.zeros(5),
        k=K.reshape(-1).astype(np.float64),
        r=np.eye(3).reshape(-1),
        p=np.hstack([K, np.zeros((3, 1))]).reshape(-1).astype(np.float64),
        binning_x=0,
        binning_y=0,
        roi=types["sensor_msgs/msg/RegionOfInterest"](
            x_offset=0, y_offset=0, height=0, width=0, do_rectify=False
        ),
    )
    return bytes(typestore.serialize_cdr(message, CAMERA_INFO))


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Sort key that reads digits as numbers: frame_9 comes before frame_10."""
    parts = re.split(r"(\d+)", name)
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts if part]


def _pictures_in(path: Path) -> list[Path]:
    if not path.is_dir():
        raise ReplayInputError(f"{path} is no folder")
    files = [file for file in path.iterdir() if file.suffix.lower() in PICTURE_ENDINGS]
    return [file for file in files if file.is_file() and ".depth" not in file.stem]


def _size(file: Path) -> tuple[int, int] | None:
    """(height, width) of a picture, None where it cannot be decoded."""
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
        raise ReplayInputError(f"{file}: focal lengths {K[0, 0]}, {K[1, 1]}, expected above 0")
    return K


def _read_matrix(file: Path, shape: tuple[int, int]) -> NDArray[np.float64] | None:
    """A matrix from a text file, None where there is no file."""
    if not file.exists():
        return None
    try:
        matrix = np.loadtxt(file, dtype=np.float64)
    except ValueError as error:
        raise ReplayInputError(f"{file}: {error}") from error
    if matrix.shape != shape or not np.isfinite(matrix).all():
        raise ReplayInputError(f"{file} holds {matrix.shape}, expected a finite {shape} matrix")
    return matrix
