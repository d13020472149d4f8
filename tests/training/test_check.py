# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""`g2vlm dataset check` names what is wrong with data, and layouts what they lack."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from g2vlm_training.dataset_cli import main
from g2vlm_training.datasets.base import Clip, DataError
from g2vlm_training.datasets.layouts import open_dataset
from g2vlm_training.datasets.shards import write_shard

from tests.training.layout_folders import make_truth, pinhole, write_7scenes, write_tum


def shard_of(folder: Path, **changes: object) -> Path:
    """A shard of one clip of the room, with something about it changed."""
    truth = make_truth(pinhole(55.0, 33.0, 22.5), frames=6)
    clip = Clip(
        truth.rgb, truth.depth.astype(np.float32), truth.T_world_cam, np.tile(truth.K, (6, 1, 1))
    )
    folder.mkdir()
    write_shard(folder / "train-00000.tar", [dataclasses.replace(clip, **changes)])  # type: ignore[arg-type]
    return folder


def scaled(poses: np.ndarray, factor: float) -> np.ndarray:
    """The poses in another unit."""
    small: np.ndarray = poses.copy()
    small[:, :3, 3] *= factor
    return small


def test_the_check_names_the_usual_mistakes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = make_truth(pinhole(55.0, 33.0, 22.5), frames=6)
    depth, poses = truth.depth.astype(np.float32), truth.T_world_cam
    opengl = poses @ np.diag([1.0, -1.0, -1.0, 1.0])
    cases: dict[str, dict[str, object]] = {
        "world-to-camera: invert them": {"T_world_cam": np.linalg.inv(poses)},
        "camera axes are y up, z backward (OpenGL)": {"T_world_cam": opengl},
        "metres where millimetres are said": {"depth": depth * np.float32(0.01)},
        "1000 times too large for its poses": {
            "depth": depth * np.float32(10),
            "T_world_cam": scaled(poses, 0.01),
            "metric": False,
        },
    }
    assert main(["check", str(shard_of(tmp_path / "good"))]) == 0
    for number, (why, changes) in enumerate(cases.items()):
        capsys.readouterr()
        assert main(["check", str(shard_of(tmp_path / str(number), **changes))]) == 1
        said = capsys.readouterr().out
        assert why in said
        assert "1 looked at, 1 whose parts do not belong together" in said


def test_the_check_names_poses_that_are_no_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shard_of(tmp_path / "shards")
    path = folder / "train-00000.tar"
    content = path.read_bytes()
    # One number of meta.json, of as many letters.
    at = content.index(b'"T_world_cam": [[[') + len(b'"T_world_cam": [[[')
    end = content.index(b",", at)
    path.write_bytes(content[:at] + b"NaN".ljust(end - at) + content[end:])
    assert main(["check", str(folder)]) == 1
    said = capsys.readouterr().out
    assert "pose of frame 0 is no rigid camera-to-world motion" in said or "meta.json" in said
    write_7scenes(tmp_path / "seven")
    (lost,) = (tmp_path / "seven").rglob("frame-000001.pose.txt")
    np.savetxt(lost, np.full((4, 4), np.nan))
    assert main(["check", "--dataset", "7scenes", str(tmp_path / "seven")]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[:2] == ["2", "1"], "one is lost"


def test_layouts_without_intrinsics_say_where_to_put_them(tmp_path: Path) -> None:
    truth = write_7scenes(tmp_path / "seven")
    (told,) = (tmp_path / "seven").rglob("camera-intrinsics.txt")
    told.rename(tmp_path / "seven" / told.name)
    (sequence,) = open_dataset("7scenes", tmp_path / "seven")
    np.testing.assert_allclose(sequence.read([0]).K[0], truth.K)
    (tmp_path / "seven" / told.name).write_text("1 2 3\n4 5 6\n7 8 9\n")
    with pytest.raises(DataError, match="expected three lines: fx 0 cx, 0 fy cy, 0 0 1"):
        open_dataset("7scenes", tmp_path / "seven")
    (tmp_path / "seven" / told.name).unlink()
    where = r"write the 3x3 matrix of its camera into .*/seven/camera-intrinsics\.txt"
    with pytest.raises(DataError, match=where):
        open_dataset("7scenes", tmp_path / "seven")
    write_tum(tmp_path / "tum")
    (tmp_path / "tum" / "rgbd_dataset_freiburg3_room").rename(tmp_path / "tum" / "mine")
    with pytest.raises(DataError, match="its name none of freiburg1, freiburg2, freiburg3; write"):
        open_dataset("tum", tmp_path / "tum")
    np.savetxt(tmp_path / "tum" / "camera-intrinsics.txt", pinhole(500.0, 320.0, 240.0))
    assert open_dataset("tum", tmp_path / "tum")[0].read([0]).K[0, 0, 0] == 500.0
