# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Folders as photogrammetry, RGB-D samples and EuRoC lay them out, and what is wrong in some."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from g2vlm_map.recordings import RecordingError, open_recording, open_rig
from tests.helpers import REPO
from tests.replay.bags import jpeg, pattern

SHARED = REPO.parent / "shared" / "data"
POSE = np.array([[0, 0, 1, 2], [1, 0, 0, 3], [0, 1, 0, 4], [0, 0, 0, 1]], np.float64)
SENSOR = """%YAML:1.0
T_BS:
  cols: 4
  rows: 4
  data: [0.0, 0.0, 1.0, 0.1,
         1.0, 0.0, 0.0, 0.2,
         0.0, 1.0, 0.0, 0.3,
         0.0, 0.0, 0.0, 1.0]
resolution: [64, 48]
intrinsics: [50.0, 51.0, 31.0, 23.0]
distortion_model: radial-tangential
distortion_coefficients: [-0.28, 0.07, 0.0002, 1.76e-05]
"""


def write_transforms(folder: Path, **changes: Any) -> None:
    """Three frames in pictures/, listed out of order; a change to None removes a field."""
    (folder / "pictures").mkdir(exist_ok=True)
    frames = []
    for number in (10, 2, 1):
        (folder / f"pictures/{number}.jpg").write_bytes(jpeg(pattern(number)))
        T = POSE.copy()
        T[0, 3] = number
        frames.append({"file_path": f"pictures/{number}.jpg", "transform_matrix": T.tolist()})
    document: dict[str, Any] = {"fl_x": 50.0, "fl_y": 51.0, "cx": 32.5, "cy": 24.5}
    document |= {"w": 64, "h": 48, "k1": 0.1, "p2": 0.01, "frames": frames}
    document = {name: v for name, v in (document | changes).items() if v is not None}
    (folder / "transforms.json").write_text(json.dumps(document))


def write_rows(folder: Path, rows: int = 3) -> None:
    for name in ("images", "depth"):
        (folder / name).mkdir(exist_ok=True)
    for number in (3, 6, 9):
        (folder / f"images/{number:05d}.jpg").write_bytes(jpeg(pattern(number)))
        depth_mm = np.full((48, 64), 100 * number, np.uint16)
        cv2.imwrite(str(folder / f"depth/{number:05d}.png"), depth_mm)
    np.savetxt(folder / "K.txt", [[50, 0, 32], [0, 50, 24], [0, 0, 1]])
    np.savetxt(folder / "poses.txt", np.tile(POSE.reshape(-1), (rows, 1)))


def write_euroc(root: Path, inner: str = "", sensor: str = SENSOR) -> None:
    for name in ("cam0", "cam1"):
        folder = root / name / inner
        folder.mkdir(parents=True)
        (root / name / "sensor.yaml").write_text(sensor)
        for stamp in (1403715273262142976, 1403715273462142976):
            cv2.imwrite(str(folder / f"{stamp}.png"), pattern(3)[..., 0])


def test_transforms_json(tmp_path: Path) -> None:
    write_transforms(tmp_path)
    recording = open_recording(tmp_path)
    info = recording.info
    assert info.kind == "folder of frames (transforms.json)"
    assert info.calibration is not None
    # Its corner of the picture is 0, 0; here that is the first pixel's centre.
    np.testing.assert_allclose(info.calibration.K, [[50, 0, 32], [0, 51, 24], [0, 0, 1]])
    assert info.calibration.size_hw == (48, 64)
    assert info.calibration.distortion_model == "plumb_bob"
    assert info.calibration.distortion == (0.1, 0.0, 0.0, 0.01, 0.0)
    truth = recording.true_poses()
    assert truth is not None
    assert not truth.is_metric
    # Natural order; x of OpenGL's axes is kept, y and z turn round.
    np.testing.assert_allclose(truth.T_world_cam_M44[:, 0, 3], [1, 2, 10])
    np.testing.assert_allclose(truth.T_world_cam_M44[0, :3, :3], POSE[:3, :3] * (1, -1, -1))
    np.testing.assert_array_equal(
        next(iter(recording.frames())).load().data, jpeg(pattern(1)), "1.jpg comes first"
    )


def test_transforms_json_of_other_writers(tmp_path: Path) -> None:
    """A field of view for K, a fisheye, depth of nerfstudio, a frame that is not there."""
    write_transforms(tmp_path, fl_x=None, fl_y=None, cx=None, cy=None, camera_angle_x=np.pi / 2)
    info = open_recording(tmp_path).info
    assert info.calibration is not None
    K = np.array([[32, 0, 31.5], [0, 32, 23.5], [0, 0, 1]])
    np.testing.assert_allclose(info.calibration.K, K)
    write_transforms(tmp_path, camera_model="OPENCV_FISHEYE", k2=0.2, k3=0.3, k4=0.4)
    info = open_recording(tmp_path).info
    assert info.calibration is not None
    assert info.calibration.distortion_model == "equidistant"
    assert info.calibration.distortion == (0.1, 0.2, 0.3, 0.4)
    frames = json.loads((tmp_path / "transforms.json").read_text())["frames"]
    cv2.imwrite(str(tmp_path / "d.png"), np.full((48, 64), 500, np.uint16))
    frames[2]["depth_file_path"] = "d.png"
    (tmp_path / "pictures/10.jpg").unlink()
    write_again = {"frames": frames, "depth_unit_scale_factor": 0.01}
    document = json.loads((tmp_path / "transforms.json").read_text()) | write_again
    (tmp_path / "transforms.json").write_text(json.dumps(document))
    recording = open_recording(tmp_path)
    assert [str(item) for item in recording.info.left_out] == ["pictures/10.jpg: not there"]
    ((stamp, depth_HW),) = recording.true_depths(recording.info.stamps_ns)
    assert stamp == recording.info.stamps_ns[0]
    assert depth_HW[0, 0] == pytest.approx(5.0)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"frames": []}, "lists no frames"),
        ({"frames": [{"file_path": "no.jpg"}]}, "none of them is there, e.g. no.jpg"),
        ({"frames": [{"transform_matrix": []}]}, "frame 0 has no file_path"),
        ({"frames": [{"file_path": "../secret.jpg"}]}, "lies outside of the folder"),
        ({"fl_x": 0}, "focal lengths 0.0"),
        ({"fl_x": "wide"}, "fl_x is 'wide', expected a finite number"),
        ({"camera_model": "SPHERE"}, "camera_model 'SPHERE'"),
        ({"depth_unit_scale_factor": 0}, "depth_unit_scale_factor is 0.0"),
    ],
)
def test_bad_transforms_json(tmp_path: Path, changes: dict[str, Any], text: str) -> None:
    write_transforms(tmp_path, **changes)
    with pytest.raises(RecordingError, match=text):
        open_recording(tmp_path)


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (lambda document: document["frames"][0].update(fl_x=60.0), "different intrinsics"),
        (
            lambda d: d["frames"][0].update(transform_matrix=[[1, 2]]),
            r"\(1, 2\), expected a finite",
        ),
        (lambda d: d["frames"][0].update(transform_matrix="here"), "transform_matrix is no matrix"),
    ],
)
def test_bad_frames_of_transforms_json(
    tmp_path: Path, damage: Callable[[dict[str, Any]], None], text: str
) -> None:
    write_transforms(tmp_path)
    document = json.loads((tmp_path / "transforms.json").read_text())
    damage(document)
    (tmp_path / "transforms.json").write_text(json.dumps(document))
    with pytest.raises(RecordingError, match=text):
        open_recording(tmp_path)


def test_a_cut_off_transforms_json(tmp_path: Path) -> None:
    write_transforms(tmp_path)
    text = (tmp_path / "transforms.json").read_text()
    (tmp_path / "transforms.json").write_text(text[: len(text) // 2])
    with pytest.raises(RecordingError, match="no JSON that can be read"):
        open_recording(tmp_path)


def test_rows_of_poses(tmp_path: Path) -> None:
    write_rows(tmp_path)
    recording = open_recording(tmp_path, limit=2)
    assert recording.info.calibration is not None
    assert recording.info.calibration.K[0, 0] == 50.0
    truth = recording.true_poses()
    assert truth is not None
    assert truth.is_metric
    np.testing.assert_allclose(truth.T_world_cam_M44, [POSE, POSE])
    depths = dict(recording.true_depths(recording.info.stamps_ns))
    assert [depth_HW[5, 5] for depth_HW in depths.values()] == pytest.approx([0.3, 0.6])


def test_bad_rows_of_poses(tmp_path: Path) -> None:
    write_rows(tmp_path, rows=2)
    with pytest.raises(RecordingError, match="has 2 rows for 3 frames"):
        open_recording(tmp_path)
    np.savetxt(tmp_path / "poses.txt", np.ones((3, 12)))
    with pytest.raises(RecordingError, match=r"holds \(3, 12\)"):
        open_recording(tmp_path)
    np.savetxt(tmp_path / "poses.txt", np.ones((3, 16)))
    with pytest.raises(RecordingError, match="row 1: the last four numbers"):
        open_recording(tmp_path)
    mirrored = POSE.copy()
    mirrored[:3, 0] *= -1
    np.savetxt(tmp_path / "poses.txt", np.tile(mirrored.reshape(-1), (3, 1)))
    with pytest.raises(RecordingError, match="left-handed"):
        open_recording(tmp_path).true_poses()


@pytest.mark.parametrize(("inner", "root"), [("", "."), ("data", "mav0")])
def test_euroc(tmp_path: Path, inner: str, root: str) -> None:
    write_euroc(tmp_path / root, inner)
    left, right = open_rig(tmp_path).cameras.values()
    assert (left.info.camera, right.info.camera) == ("cam0", "cam1")
    assert right.info.image_topic == "/cam1/image_raw"
    assert left.info.stamps_ns == (1403715273262142976, 1403715273462142976)
    assert left.info.calibration is not None
    assert left.info.calibration.size_hw == (48, 64)
    assert left.info.calibration.distortion_model == "plumb_bob"
    assert left.info.calibration.distortion == (-0.28, 0.07, 0.0002, 1.76e-05)
    assert left.info.T_body_cam is not None
    np.testing.assert_allclose(left.info.T_body_cam[:3, 3], [0.1, 0.2, 0.3])
    assert next(iter(left.frames())).rgb().shape == (48, 64, 3)  # grey files
    assert left.true_poses() is None
    named = open_recording(tmp_path, camera="cam1")
    assert named.info.frame_id == "cam1_optical_frame"
    with pytest.raises(RecordingError, match="no camera 'cam2'; it holds cam0, cam1"):
        open_recording(tmp_path, camera="cam2")


def test_euroc_truth_is_carried_over_to_the_camera(tmp_path: Path) -> None:
    write_euroc(tmp_path)
    (tmp_path / "state_groundtruth_estimate0").mkdir()
    truth_file = tmp_path / "state_groundtruth_estimate0" / "data.csv"
    half = np.sqrt(0.5)  # a quarter turn about z: body x looks along world y
    truth_file.write_text(
        "#timestamp, p_x, p_y, p_z, q_w, q_x, q_y, q_z\n"
        f"1403715273262142976,10,20,30,{half},0,0,{half},1,1,1\n"
        f"1403715273462142976,10,20,31,{half},0,0,{half},1,1,1\n"
    )
    truth = open_recording(tmp_path).true_poses()
    assert truth is not None
    np.testing.assert_array_equal(truth.stamps_ns, [1403715273262142976, 1403715273462142976])
    np.testing.assert_allclose(truth.T_world_cam_M44[0, :3, 3], [10 - 0.2, 20 + 0.1, 30.3])
    # The camera looks along body x (third column of T_BS), which is world y now.
    np.testing.assert_allclose(truth.T_world_cam_M44[0, :3, 2], [0, 1, 0], atol=1e-12)
    truth_file.write_text("1,2,3\n")
    with pytest.raises(RecordingError, match="expected finite rows of time, position"):
        open_recording(tmp_path).true_poses()


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("resolution: [64, 48]", "", "lacks resolution"),
        ("[50.0, 51.0, 31.0, 23.0]", "[50.0, 51.0]", "expected 4 numbers"),
        ("[50.0,", "[0.0,", "focal lengths 0.0"),
        ("radial-tangential", "omni", "distortion_model 'omni'"),
        ("[64, 48]", "[64, wide]", "resolution is"),
        ("0.0, 0.0, 1.0, 0.1", "9.0, 0.0, 1.0, 0.1", "T_BS: pose 0 holds no rotation"),
        ("T_BS:", "T_BS: [", "no YAML that can be read"),
    ],
)
def test_bad_sensor_yaml(tmp_path: Path, old: str, new: str, text: str) -> None:
    assert old in SENSOR
    write_euroc(tmp_path, sensor=SENSOR.replace(old, new))
    with pytest.raises(RecordingError, match=text):
        open_recording(tmp_path)


def test_real_folders() -> None:
    """What the recordings that the layouts were written for hold."""
    if not (SHARED / "fox").is_dir():
        pytest.skip(f"no recordings in {SHARED}")
    fox = open_recording(SHARED / "fox", limit=3)
    truth = fox.true_poses()
    assert truth is not None
    # The camera walks round the fox at the origin and looks at it.
    toward_M3 = -truth.T_world_cam_M44[:, :3, 3]
    cosines = (truth.T_world_cam_M44[:, :3, 2] * toward_M3).sum(-1) / np.linalg.norm(
        toward_M3, axis=-1
    )
    assert (cosines > 0.9).all(), cosines
    rows = open_recording(SHARED / "hololens", limit=3)
    assert len(list(rows.true_depths(rows.info.stamps_ns))) == 3
    left, right = open_rig(SHARED / "euroc_stereo", limit=1).cameras.values()
    assert left.info.T_body_cam is not None
    assert right.info.T_body_cam is not None
    baseline = np.linalg.inv(left.info.T_body_cam) @ right.info.T_body_cam
    assert np.linalg.norm(baseline[:3, 3]) == pytest.approx(0.110, abs=1e-3)
