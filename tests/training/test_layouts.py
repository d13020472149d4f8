# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Each layout's reader, on a folder written in that layout: conventions, not only loading."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from g2vlm_replay.node.bag_writer import BagWriter
from g2vlm_training.dataset_cli import main
from g2vlm_training.datasets.base import Clip, DataError
from g2vlm_training.datasets.check import check_sequence
from g2vlm_training.datasets.layouts import LAYOUTS, open_dataset

from g2vlm_map.recordings import open_recording
from tests.helpers import REPO
from tests.replay.bags import NS, Scribe, pattern, translation
from tests.training.layout_folders import (
    WRITERS,
    Truth,
    save,
    save_depth,
    save_hdf5,
    write_co3d,
    write_hypersim,
    write_recording,
    write_scannet,
)


@pytest.fixture(scope="module", params=sorted(LAYOUTS))
def written(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path, Truth]:
    root = tmp_path_factory.mktemp(request.param)
    return request.param, root, WRITERS[request.param](root)


def _reprojected(clip: Clip, i: int, j: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Known pixels of frame i that fall into frame j: their depth there, their row and column."""
    v, u = np.nonzero(clip.depth[i])
    pixel = np.stack([u, v, np.ones_like(u)], -1)
    local = pixel @ np.linalg.inv(clip.K[i]).T * clip.depth[i][v, u, None]
    world = local @ clip.T_world_cam[i, :3, :3].T + clip.T_world_cam[i, :3, 3]
    T_cam_world = np.linalg.inv(clip.T_world_cam[j])
    seen = world @ T_cam_world[:3, :3].T + T_cam_world[:3, 3]
    uv = seen @ clip.K[j].T
    column, row = np.rint(uv[:, :2] / uv[:, 2:]).astype(int).T
    height, width = clip.size_hw
    inside = (seen[:, 2] > 0) & (column >= 0) & (row >= 0) & (column < width) & (row < height)
    known = inside.copy()
    known[inside] = clip.depth[j][row[inside], column[inside]] > 0
    colour = clip.rgb[i][v, u][known].astype(float)
    return seen[known, 2], np.stack([row[known], column[known]]), colour


def test_points_and_colours_of_two_frames_agree(written: tuple[str, Path, Truth]) -> None:
    layout, root, truth = written
    (sequence,) = open_dataset(layout, root)
    clip = sequence.read([2, 0, 1])
    assert clip.size_hw == sequence.size_hw == truth.rgb.shape[1:3]
    for i, j in ((0, 1), (1, 2), (2, 0)):
        depth, (row, column), colour = _reprojected(clip, i, j)
        assert len(depth) > 0.3 * clip.depth[i].size, f"{layout}: {len(depth)} points in common"
        there = clip.depth[j][row, column]
        error = np.abs(there / depth - 1)
        assert np.median(error) < 0.006, f"{layout}: depth differs by {np.median(error):.4f}"
        assert np.quantile(error, 0.99) < 0.08
        difference = np.abs(clip.rgb[j][row, column] - colour).mean()
        assert difference < 4, f"{layout}: colours differ by {difference:.1f} of 255"


def test_depth_lens_and_motion_are_the_true_ones(written: tuple[str, Path, Truth]) -> None:
    layout, root, truth = written
    (sequence,) = open_dataset(layout, root)
    clip = sequence.read(range(3))
    np.testing.assert_allclose(clip.K, np.broadcast_to(truth.K, (3, 3, 3)), atol=1e-6)
    both = (clip.depth > 0) & (truth.depth > 0)
    assert ((clip.depth > 0) == (truth.depth > 0)).mean() > 0.9
    error = np.abs(clip.depth[both] / truth.depth[both] - 1)
    # ScanNet's depth is looked up on a coarser grid.
    assert np.median(error) < (0.01 if layout == "scannet" else 0.001)
    for j in (1, 2):
        mine = np.linalg.inv(clip.T_world_cam[0]) @ clip.T_world_cam[j]
        wanted = np.linalg.inv(truth.T_world_cam[0]) @ truth.T_world_cam[j]
        np.testing.assert_allclose(mine, wanted, atol=2e-4)
    assert clip.metric == (layout not in ("co3d", "dl3dv"))


def test_normals_are_learned_from_the_sources_that_the_published_code_lists(
    written: tuple[str, Path, Truth],
) -> None:
    """Of the others, noise of a sensor would be taken for surfaces."""
    layout, root, _ = written
    listed = {"scannet", "hypersim", "tartanair", "dl3dv"}
    assert open_dataset(layout, root)[0].read([0]).clean == (layout in listed)


def test_a_wrong_root_says_what_was_expected(written: tuple[str, Path, Truth]) -> None:
    layout = written[0]
    with pytest.raises(FileNotFoundError, match="is no folder"):
        open_dataset(layout, written[1] / "missing")


def test_an_empty_folder_and_an_unknown_layout_are_refused(tmp_path: Path) -> None:
    for layout in LAYOUTS:
        with pytest.raises(FileNotFoundError, match=r"holds no .* layout\?"):
            open_dataset(layout, tmp_path)
    with pytest.raises(ValueError, match="layout is 'kitti', expected one of"):
        open_dataset("kitti", tmp_path)


def _remove(pattern: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        paths = list(root.rglob(pattern))
        assert paths, pattern
        for path in paths:
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return change


def _text(pattern: str, text: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        (path,) = root.rglob(pattern)
        path.write_text(text)

    return change


def _lost(root: Path) -> None:
    for path in root.rglob("pose/*.txt"):
        np.savetxt(path, np.full((4, 4), -np.inf))


def _elsewhere(root: Path) -> None:
    for path in root.rglob("transforms.json"):
        content = json.loads(path.read_text())
        content["frames"][0]["file_path"] = "../" * 9 + "etc/passwd"
        path.write_text(json.dumps(content))


def _fisheye(root: Path) -> None:
    (path,) = root.rglob("transforms.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "camera_model": "OPENCV_FISHEYE"}))


def _nan_orientation(root: Path) -> None:
    (path,) = root.rglob("camera_keyframe_orientations.hdf5")
    save_hdf5(path, np.full((3, 3, 3), np.nan))


@pytest.mark.parametrize(
    ("layout", "damage", "message"),
    [
        ("7scenes", _remove("*.pose.txt"), "none of 3 frames has all its parts and a pose"),
        ("7scenes", _text("frame-000001.pose.txt", "1 0 0"), r"shape \(1, 3\), expected 4 columns"),
        ("tum", _remove("depth.txt"), "depth.txt is no list"),
        ("tum", _text("depth.txt", "# none\n"), "depth.txt lists no file"),
        ("tum", _text("depth.txt", "5.0 depth/5.png\n"), "none of 3 frames has all its parts"),
        ("tum", _text("groundtruth.txt", "0 0 0 0 2 0 0 0\n"), "not of length 1"),
        ("posed", _remove("*00006.png"), "2 pictures and 3 rows of poses"),
        ("posed", _text("poses.txt", "1 0 0\n"), r"shape \(1, 3\), expected 16 columns"),
        ("posed", _remove("K.txt"), "K.txt cannot be read"),
        ("scannet", _lost, "none of 4 frames has all its parts and a pose"),
        ("scannet", _remove("intrinsic"), "intrinsic_color.txt cannot be read"),
        ("scannet", _remove("depth"), "none of 4 frames has all its parts"),
        ("co3d", _text("frame_annotations.jgz", "no gzip"), "frame_annotations.jgz cannot be read"),
        ("arkitscenes", _remove("*.pincam"), "0 files in lowres_wide_intrinsics"),
        ("arkitscenes", _text("lowres_wide.traj", ""), "expected 7 columns"),
        ("arkitscenes", _text("lowres_wide.traj", "0 0 0 0 0 0 0\n"), "none of 3 frames"),
        ("dl3dv", _fisheye, "camera_model is OPENCV_FISHEYE"),
        ("dl3dv", _remove("images_4"), "none of 3 frames has all its parts"),
        ("dl3dv", _text("transforms.json", "{"), "transforms.json cannot be read"),
        ("dl3dv", _text("transforms.json", "[" * 10**5), "brackets are nested too deeply"),
        ("dl3dv", _text("transforms.json", '{"frames": 1e999}'), "is no finite number"),
        ("dl3dv", _elsewhere, "leads out of it"),
        ("tartanair", _remove("000001_left.png"), "2 pictures in image_left, but 3 poses"),
        ("hypersim", _remove("metadata_scene.csv"), "says no meters_per_asset_unit"),
        ("hypersim", _remove("camera_keyframe_positions.hdf5"), "positions.hdf5 cannot be read"),
        ("hypersim", _nan_orientation, "none of 3 frames has all its parts"),
    ],
)
def test_what_is_missing_is_said_when_a_set_is_opened(
    layout: str, damage: Callable[[Path], None], message: str, tmp_path: Path
) -> None:
    WRITERS[layout](tmp_path)
    damage(tmp_path)
    with pytest.raises(DataError, match=message):
        open_dataset(layout, tmp_path)


def _other_size(pattern: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        path = sorted(root.rglob(pattern))[1]
        save(path, np.zeros((20, 30, 3), np.uint8))

    return change


def _nan_depth(root: Path) -> None:
    for path in root.rglob("*_depth.npy"):
        np.save(path, np.full((48, 64), np.nan, np.float32))


@pytest.mark.parametrize(
    ("layout", "damage", "message"),
    [
        ("7scenes", _remove("*.depth.png"), r"depth map .*frame-000000.depth.png cannot be read"),
        ("7scenes", _other_size("*.color.png"), "unequal sizes"),
        ("7scenes", _text("frame-000001.color.png", "no picture"), "000001.color.png cannot be"),
        ("co3d", _other_size("images/*.jpg"), "unequal sizes"),
        ("arkitscenes", _other_size("lowres_wide/*.png"), "is for 64x48 pixels"),
        ("dl3dv", _remove("*.npy"), "depth map .* cannot be read"),
        ("tartanair", _remove("*.npy"), "depth map .* cannot be read"),
        ("hypersim", _other_size("*.tonemap.jpg"), "its picture"),
    ],
)
def test_what_is_missing_is_said_when_a_frame_is_read(
    layout: str, damage: Callable[[Path], None], message: str, tmp_path: Path
) -> None:
    WRITERS[layout](tmp_path)
    damage(tmp_path)
    (sequence,) = open_dataset(layout, tmp_path)
    with pytest.raises(DataError, match=message):
        sequence.read([0, 1])


def test_depth_that_is_no_number_is_unknown(tmp_path: Path) -> None:
    WRITERS["tartanair"](tmp_path)
    _nan_depth(tmp_path)
    (sequence,) = open_dataset("tartanair", tmp_path)
    assert not sequence.read([0, 2]).depth.any()


def test_depth_of_another_size_is_refused(tmp_path: Path) -> None:
    WRITERS["7scenes"](tmp_path)
    for path in tmp_path.rglob("*.depth.png"):
        save_depth(path, np.ones((24, 32)), 1000)
    (sequence,) = open_dataset("7scenes", tmp_path)
    with pytest.raises(DataError, match=r"picture of \(48, 64\) and a depth map of \(24, 32\)"):
        sequence.read([0])


def test_frames_without_a_pose_are_left_out_and_counted(tmp_path: Path) -> None:
    WRITERS["scannet"](tmp_path)
    (sequence,) = open_dataset("scannet", tmp_path)
    assert len(sequence) == 3
    assert sequence.dropped == 1
    assert sequence.names == ("0", "2", "3")


def test_both_intrinsics_formats_of_co3d(tmp_path: Path) -> None:
    truth = write_co3d(tmp_path, "ndc_norm_image_bounds")
    (sequence,) = open_dataset("co3d", tmp_path)
    np.testing.assert_allclose(sequence.read([0]).K[0], truth.K, atol=1e-6)


def test_distorted_pictures_of_dl3dv_are_straightened(tmp_path: Path) -> None:
    import cv2

    truth = WRITERS["dl3dv"](tmp_path)
    (path,) = tmp_path.rglob("transforms.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "k1": -0.35, "k2": 0.05}))
    lens = np.array([-0.35, 0.05, 0, 0])
    v, u = np.mgrid[:48, :64].astype(np.float32)
    grid = np.stack([u, v], -1).reshape(-1, 1, 2)
    straight = np.asarray(cv2.undistortPoints(grid, truth.K, lens, P=truth.K), np.float32)
    bend_x, bend_y = straight.reshape(48, 64, 2).transpose(2, 0, 1).copy()
    for i, file in enumerate(sorted(tmp_path.rglob("images_4/*.png"))):
        save(file, np.asarray(cv2.remap(truth.rgb[i], bend_x, bend_y, cv2.INTER_CUBIC)))
    (sequence,) = open_dataset("dl3dv", tmp_path)
    middle = np.s_[0, 6:-6, 6:-6]
    bent = np.asarray(cv2.remap(truth.rgb[0], bend_x, bend_y, cv2.INTER_CUBIC))[None]
    before = np.abs(bent[middle].astype(float) - truth.rgb[middle]).mean()
    after = np.abs(sequence.read([0]).rgb[middle].astype(float) - truth.rgb[middle]).mean()
    assert after < 0.2 * before, f"mean difference {before:.2f} before, {after:.2f} after"


def test_distortion_of_tum_is_known_by_the_folder(tmp_path: Path) -> None:
    WRITERS["tum"](tmp_path)
    (folder,) = tmp_path.iterdir()
    first = open_dataset("tum", tmp_path)[0].read([0])
    folder.rename(tmp_path / "rgbd_dataset_freiburg1_room")
    second = open_dataset("tum", tmp_path)[0].read([0])
    assert second.K[0, 0, 0] == 517.3
    assert not np.array_equal(first.rgb, second.rgb)
    # freiburg1's lens moves what is far from the middle and leaves the middle where it is.
    middle = np.s_[0, 230:280, 300:340]
    difference = np.abs(first.depth - second.depth)
    assert np.median(difference[middle]) < 0.01 < np.median(difference[0, :, :40])


def test_lenses_of_hypersim_come_from_its_table(tmp_path: Path) -> None:
    write_hypersim(tmp_path, "0.8,0,0,0,0.6,0,0,0,-1")
    (sequence,) = open_dataset("hypersim", tmp_path)
    K = sequence.read([0]).K[0]
    np.testing.assert_allclose((K[0, 0], K[1, 1]), (32 / 0.8, 24 / 0.6))
    write_hypersim(tmp_path, "0.8,0,0,0,0.6,0.1,0,0,-1")
    with pytest.raises(DataError, match="tilted lens"):
        open_dataset("hypersim", tmp_path)


def test_a_bent_lens_of_a_recording_is_straightened(tmp_path: Path) -> None:
    write_recording(tmp_path, distortion=(0.3, 0.0, 0.0, 0.0, 0.0))
    (sequence,) = open_dataset("recording", tmp_path)
    corner = sequence.read([0]).rgb[0, 0, 0]
    bent = next(open_recording(tmp_path / "drive").frames()).rgb()
    assert not np.array_equal(corner, bent[0, 0])
    (straight,) = open_dataset("recording", write_and_return(tmp_path / "straight"))
    middle = sequence.read([0]).rgb[0, 20:26, 30:36].astype(int)
    assert np.abs(middle - straight.read([0]).rgb[0, 20:26, 30:36]).max() < 12


def write_and_return(root: Path) -> Path:
    root.mkdir()
    write_recording(root)
    return root


def test_the_demo_is_a_data_set(capsys: pytest.CaptureFixture[str]) -> None:
    demo = REPO / "tests" / "data" / "room" / "room.mcap"
    (sequence,) = open_dataset("recording", demo)
    recording = open_recording(demo)
    truth, info = recording.true_poses(), recording.info
    assert truth is not None
    assert info.calibration is not None
    assert (len(sequence), sequence.size_hw) == (60, (240, 320))
    clip = sequence.read([12, 10, 11])
    np.testing.assert_allclose(clip.K, np.broadcast_to(info.calibration.K, (3, 3, 3)))
    np.testing.assert_allclose(clip.T_world_cam, truth.T_world_cam_M44[[12, 10, 11]], atol=1e-9)
    ((_, depth),) = recording.true_depths([info.stamps_ns[10]])
    np.testing.assert_array_equal(clip.depth[1], depth)
    for i, j in ((0, 1), (1, 2)):
        seen, (row, column), _ = _reprojected(clip, i, j)
        error = np.abs(clip.depth[j][row, column] / seen - 1)
        assert np.median(error) < 0.01
    assert main(["check", "--dataset", "recording", "--root", str(demo)]) == 0
    assert "1 sequences, 60 frames" in capsys.readouterr().out


def _bag(
    root: Path, *, info: bool = True, poses: bool = True, depth: tuple[int, int] = (48, 64)
) -> Path:
    with BagWriter(root / "bag") as writer:
        scribe = Scribe(writer)
        for i in range(3):
            ns = 10 * NS + i * NS // 20
            scribe.image("/camera/image_raw", ns, pattern(i), "rgb8")
            scribe.image("/camera/depth", ns, np.ones(depth, np.float32), "32FC1")
            if info:
                scribe.info("/camera/camera_info", ns, (48, 64))
            if poses:
                scribe.pose("/ground_truth/pose", ns, translation(0.1 * i))
    return root / "bag"


def test_what_a_recording_lacks_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(DataError, match="has no intrinsics, expected a CameraInfo beside"):
        open_dataset("recording", _bag(tmp_path / "a", info=False))
    with pytest.raises(DataError, match="has no true poses"):
        open_dataset("recording", _bag(tmp_path / "b", poses=False))
    (sequence,) = open_dataset("recording", _bag(tmp_path / "c", depth=(24, 32)))
    assert "is not taken as true depth" not in caplog.text, "the camera's view in fewer pixels is"
    assert (sequence.read([0]).depth == 1).all()
    (tmp_path / "d.mcap").write_bytes(b"cut off")
    with pytest.raises(DataError, match="cannot be read as a bag"):
        open_dataset("recording", tmp_path / "d.mcap")


def test_the_check_tells_what_belongs_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_scannet(tmp_path / "scans")
    command = ["check", "--dataset", "scannet", "--root", str(tmp_path / "scans")]
    assert main(command) == 0
    assert "1 sequences, 3 frames; 1 looked at, 0 whose" in capsys.readouterr().out
    for path in (tmp_path / "scans").rglob("pose/*.txt"):  # the other way round
        pose = np.loadtxt(path)
        np.savetxt(path, np.linalg.inv(pose) if np.isfinite(pose).all() else pose)
    assert main(command) == 1
    assert "its poses are world-to-camera: invert them" in capsys.readouterr().out


def test_the_real_kitchen(data_folder: Path) -> None:
    """Depth of neighbouring real frames agrees after reading, up to the sensor's errors."""
    (sequence,) = open_dataset("7scenes", data_folder / "7scenes_redkitchen")
    check = check_sequence(sequence, pairs=3)
    assert check.frames == 100
    assert check.pairs == 6
    assert check.agreement > 0.8, check
