# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""EuRoC's (ASL) layout: a folder a camera with `sensor.yaml`, names of files are nanoseconds.

The frames lie in `cam0/data/`, or in `cam0/` itself. True poses of the body stand in
`state_groundtruth_estimate0/data.csv`: time, position, quaternion w x y z.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...documents import parse_yaml
from ..source import Calibration, RecordingError, TruePoses
from ..transforms import rigid, rotations
from .file_names import are_stamps, increasing
from .plain import (
    PlainLayout,
    Stamps,
    check_intrinsics,
)

SENSOR_FILE = "sensor.yaml"
TRUTH_FILE = Path("state_groundtruth_estimate0") / "data.csv"
POSE_TOLERANCE_NS = 20_000_000
LENSES = {  # EuRoC's, Kalibr's and ROS's words -> CameraInfo's
    "radial-tangential": "plumb_bob",
    "radtan": "plumb_bob",
    "plumb_bob": "plumb_bob",
    "equidistant": "equidistant",
    "equi": "equidistant",
    "rational_polynomial": "rational_polynomial",
    "none": "",
}
NEEDED = ("T_BS", "resolution", "intrinsics")


class EurocLayout(PlainLayout):
    """One camera of a sequence.

    Args:
        path: Its folder.
        camera: Its name.
        sequence: The folder of the sequence, as it was asked for.
    """

    name = "EuRoC layout"

    def __init__(self, path: Path, camera: str, sequence: Path) -> None:
        self.camera = camera
        self._sequence = sequence
        super().__init__(path)

    def _read(self) -> None:
        inner = self.path / "data"
        self.files = self.frame_files(inner if inner.is_dir() else self.path)
        file = self.path / SENSOR_FILE
        sensor = _load(file)
        missing = [name for name in NEEDED if name not in sensor]
        if missing:
            raise RecordingError(f"{file} lacks {', '.join(missing)}")
        self._T_body_cam = self.T_body_cam = _transform(sensor["T_BS"], file)
        width, height = _numbers(sensor["resolution"], 2, f"{file}: resolution")
        fx, fy, cx, cy = _numbers(sensor["intrinsics"], 4, f"{file}: intrinsics")
        K = np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])
        check_intrinsics(K, str(file))
        word = str(sensor.get("distortion_model", "none"))
        if word not in LENSES:
            raise RecordingError(
                f"{file}: distortion_model {word!r}, expected one of {', '.join(LENSES)}"
            )
        given = _numbers(
            sensor.get("distortion_coefficients", []), None, f"{file}: distortion_coefficients"
        )
        size_hw = (round(height), round(width))
        self.calibration = Calibration(K, size_hw, LENSES[word], tuple(given))

    def stamps(self, files: list[Path], fps: float | None) -> tuple[Stamps, str]:
        """The nanoseconds in the names; see `PlainLayout.stamps`."""
        if fps is None and all(file.stem.isascii() and file.stem.isdigit() for file in files):
            stamps = [int(file.stem) for file in files]
            if are_stamps(stamps):
                return tuple(stamps), "Stamps are the nanoseconds in the file names."
        return super().stamps(files, fps)

    def true_poses(self, files: list[Path], stamps: Stamps) -> TruePoses | None:
        """The body's true poses, carried over to the camera; see `PlainLayout.true_poses`."""
        roots = (self._sequence, self._sequence / "mav0", self.path.parent)
        file = next((root / TRUTH_FILE for root in roots if (root / TRUTH_FILE).is_file()), None)
        if file is None:
            return None
        try:
            rows_MC = np.loadtxt(file, delimiter=",", ndmin=2, dtype=np.float64)
            stamps_ns = np.loadtxt(file, delimiter=",", usecols=0, ndmin=1, dtype=np.int64)
        except ValueError as error:
            raise RecordingError(f"{file}: {error}") from error
        if rows_MC.shape[1] < 8 or not len(rows_MC) or not np.isfinite(rows_MC[:, :8]).all():
            raise RecordingError(
                f"{file} holds {rows_MC.shape} numbers, expected finite rows of time, position and "
                "quaternion"
            )
        if not increasing(stamps_ns.tolist()):
            raise RecordingError(f"{file}: its times do not increase")
        quaternions_M4 = rows_MC[:, [5, 6, 7, 4]]
        lengths_M = np.linalg.norm(quaternions_M4, axis=-1)
        if not (np.abs(lengths_M - 1) < 0.01).all():
            raise RecordingError(f"{file}: a quaternion of length {lengths_M.min():.3g}")
        T_world_body_M44 = np.tile(np.eye(4), (len(rows_MC), 1, 1))
        T_world_body_M44[:, :3, :3] = rotations(quaternions_M4 / lengths_M[:, None])
        T_world_body_M44[:, :3, 3] = rows_MC[:, 1:4]
        poses = rigid(T_world_body_M44 @ self._T_body_cam)
        return TruePoses(stamps_ns, poses, str(TRUTH_FILE), POSE_TOLERANCE_NS)


def _load(file: Path) -> dict[str, Any]:
    """YAML, also behind OpenCV's first line, which is none."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
        document = parse_yaml("\n".join(line for line in lines if not line.startswith("%")))
    except (OSError, ValueError) as error:
        raise RecordingError(f"{file} is no YAML that can be read: {error}") from error
    if not isinstance(document, dict):
        raise RecordingError(f"{file} holds a {type(document).__name__}, expected names and values")
    return document


def _numbers(value: Any, count: int | None, name: str) -> list[float]:
    """A list of finite numbers, `count` of them unless None."""
    try:
        numbers = np.array(value, np.float64)
    except (TypeError, ValueError) as error:
        raise RecordingError(f"{name} is {value!r:.60}, expected numbers") from error
    wrong = numbers.ndim != 1 or not np.isfinite(numbers).all()
    if wrong or (count is not None and len(numbers) != count):
        raise RecordingError(f"{name} is {value!r:.60}, expected {count or 'finite'} numbers")
    return [float(number) for number in numbers]


def _transform(value: Any, file: Path) -> NDArray[np.float64]:
    """(4, 4) T_BS: sensor to body."""
    data = value.get("data") if isinstance(value, dict) else None
    T = np.array(_numbers(data, 16, f"{file}: T_BS"), np.float64).reshape(1, 4, 4)
    try:
        T_body_cam: NDArray[np.float64] = rigid(T)[0]
    except RecordingError as error:
        raise RecordingError(f"{file}: T_BS: {error}") from error
    return T_body_cam
