# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The robot around a bag's camera: which frame is its base, odometry, scans, and what is truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from g2vlm_replay.node.bag_writer import BagWriter

from g2vlm_map.recordings.bag import BagRecording
from g2vlm_map.sensing import Extrinsics, OdometrySample, PointSample
from tests.replay.bags import NS, OPTICAL, Scribe, jpeg, pattern, translation


def write_drive(path: Path, *, tf: bool = True, truth: bool = True) -> None:
    """Four frames of a camera on a mast on a base, odometry, a lidar that looks backwards."""
    backwards = np.diag([-1.0, -1.0, 1.0, 1.0])
    backwards[:3, 3] = [0.2, 0.0, 0.1]
    with BagWriter(path) as writer:
        scribe = Scribe(writer)
        scribe.tf("/tf_static", NS, "base_link", "mast", translation(0.3))
        scribe.tf("/tf_static", NS, "mast", OPTICAL, translation(0.0, 0.0, 0.5))
        scribe.tf("/tf_static", NS, "base_link", "laser", backwards)
        for i in range(4):
            ns = NS + i * NS // 10
            if tf:
                scribe.tf("/tf", ns, "odom", "base_link", translation(0.1 * i))
            else:
                scribe.odometry("/wheels", ns, "base_link", translation(0.1 * i))
            if truth:
                scribe.odometry("/ground_truth/odom", ns, "base_link", translation(0.11 * i))
            scribe.scan("/scan", ns, "laser", np.array([1.0, np.inf, np.nan, 0.001, 2.0]))
            scribe.compressed("/image", ns, jpeg(pattern(i)))


@pytest.mark.parametrize("tf", [True, False])
def test_odometry_is_not_the_truth(tmp_path: Path, tf: bool) -> None:
    write_drive(tmp_path / "bag", tf=tf)
    recording = BagRecording(tmp_path / "bag")
    truth = recording.true_poses()
    assert truth is not None
    np.testing.assert_allclose(truth.T_world_cam_M44[3, :3, 3], [0.63, 0, 0.5])
    samples = [sample for _, sample in recording.samples("front")]
    odometry = [sample for sample in samples if isinstance(sample, OdometrySample)]
    assert len(odometry) == 4
    np.testing.assert_allclose(odometry[3].T_odom_base, translation(0.3))
    assert odometry[3].stamp_ns == NS + 3 * NS // 10


def test_without_a_named_truth_odometry_is_none(tmp_path: Path) -> None:
    for tf in (True, False):
        write_drive(tmp_path / f"bag{tf}", tf=tf, truth=False)
        assert BagRecording(tmp_path / f"bag{tf}").true_poses() is None


def test_where_the_camera_sits_comes_first(tmp_path: Path) -> None:
    write_drive(tmp_path / "bag")
    samples = [sample for _, sample in BagRecording(tmp_path / "bag").samples("front")]
    assert isinstance(samples[0], Extrinsics)
    assert samples[0].camera == "front"
    np.testing.assert_allclose(samples[0].T_base_cam, translation(0.3, 0.0, 0.5))


def test_a_scan_is_points_in_its_own_frame(tmp_path: Path) -> None:
    write_drive(tmp_path / "bag")
    samples = [sample for _, sample in BagRecording(tmp_path / "bag").samples("front")]
    scan = next(sample for sample in samples if isinstance(sample, PointSample))
    assert scan.is_scan
    read = np.isfinite(scan.points_M3).all(1)
    assert read.tolist() == [True, False, False, False, True]
    np.testing.assert_allclose(np.linalg.norm(scan.points_M3[read], axis=1), [1.0, 2.0], rtol=1e-6)
    np.testing.assert_allclose(scan.T_base_sensor[:3, 3], [0.2, 0.0, 0.1])


def test_what_moves_a_camera_in_the_world_may_be_the_truth(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as writer:
        scribe = Scribe(writer)
        scribe.tf("/tf_static", NS, "base", OPTICAL, translation(0.0, 0.0, 0.5))
        for i in range(3):
            scribe.tf("/tf", NS + i * NS, "world", "base", translation(float(i)))
            scribe.compressed("/image", NS + i * NS, jpeg(pattern(i)))
    recording = BagRecording(tmp_path / "bag")
    assert recording.true_poses() is not None
    kinds = {type(sample) for _, sample in recording.samples("front")}
    assert kinds == {Extrinsics}


def test_a_bag_without_a_robot_says_nothing(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as writer:
        Scribe(writer).compressed("/image", NS, jpeg(pattern(0)))
    assert list(BagRecording(tmp_path / "bag").samples("front")) == []
