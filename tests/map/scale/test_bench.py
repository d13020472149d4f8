# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The statistics of the scale, on few drives: the whole of it runs as `benchmarks.scale`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.scale_focal import focal_row, told_another
from benchmarks.scale_history import CAMERA, History
from benchmarks.scale_model import MapErrors, modelled
from benchmarks.scale_runs import drive
from benchmarks.scale_table import HEADER, row_of
from g2vlm_map.mapping.keyframe import Edge
from g2vlm_map.poses import rotation_vector
from tests.map.scale.made import NS, SIZE, STEP_NS, T_BASE_CAM, Drive, K, base_pose, edges_back

KEYFRAMES = 30
ERRORS = [MapErrors(0.15, 0.6, 0.15, 0.85, 0.03, 0.12)]


def test_the_truth_lies_where_the_sigma_says_on_modelled_drives(tmp_path: Path) -> None:
    stretches = []
    for seed in range(3):
        history = modelled(ERRORS, seed)
        history.save(tmp_path / "one.npz")
        again = History.load(tmp_path / "one.npz")
        np.testing.assert_array_equal(again.pose_P44, history.pose_P44)
        stretches += drive(f"m{seed}", again, ("odometry",), seed)
    row = row_of("odometry", stretches)
    assert (row.drives, row.keyframes) == (3, 300)
    assert row.inside_so_far >= 0.9
    assert row.median_so_far <= 0.06
    assert len(row.cells()) == len(HEADER)


def test_a_lidars_row_never_carries_on_modelled_drives() -> None:
    (stretch,) = drive("m", modelled(ERRORS, 1), ("scan",), 1)
    assert not any(said.estimate.metric for said in stretch.said)


def exact_history(metres_per_unit: float) -> History:
    """30 keyframes along `base_pose` with exact edges, as recorded without odometry."""
    drive = Drive(metres_per_unit)
    truth = np.stack([base_pose(number) @ T_BASE_CAM for number in range(KEYFRAMES)])
    views = [drive.view(number, T) for number, T in enumerate(truth)]
    depth = np.stack([view.depth_HW for view in views])
    pose = np.linalg.inv(truth[0]) @ truth
    pose[:, :3, 3] /= metres_per_unit
    edges: list[list[Edge]] = [list(edges_back(n, metres_per_unit)) for n in range(KEYFRAMES)]
    counts = np.arange(1, KEYFRAMES + 1)
    stamps = 100 * NS + np.arange(KEYFRAMES) * STEP_NS
    return History(
        stamp_N=stamps,
        number_N=np.arange(KEYFRAMES),
        T_world_cam_N44=truth,
        depth_NHW=depth,
        confidence_NHW=np.full((KEYFRAMES, *SIZE), 255, np.uint8),
        true_depth_NHW=(depth * metres_per_unit).astype(np.float16),
        feature_F2=np.concatenate([view.feature_F2 for view in views]),
        feature_count_N=np.array([len(view.feature_F2) for view in views]),
        K_33=K,
        image_hw=np.array(SIZE),
        frame_stamp_M=stamps,
        T_world_frame_M44=truth,
        step_S=counts,
        new_S=np.ones(KEYFRAMES, np.int64),
        pose_P44=np.concatenate([pose[:count] for count in counts]),
        log_depth_scale_P=np.zeros(int(counts.sum())),
        segment_P=np.ones(int(counts.sum()), np.int64),
        edge_step_E=np.repeat(np.arange(KEYFRAMES), [len(own) for own in edges]),
        edges=tuple(edge for own in edges for edge in own),
    )


def test_a_recorded_drive_is_solved_anew_with_its_odometry(tmp_path: Path) -> None:
    exact_history(1.6).save(tmp_path / "exact.npz")
    history = History.load(tmp_path / "exact.npz")
    assert [len(step.edges) for step in history.steps()][:6] == [0, 1, 2, 3, 3, 4]
    assert next(iter(history.keyframes())).views[0].camera == CAMERA
    (with_odometry,) = drive("exact", history, ("odometry",), 3)
    last = with_odometry.said[-1].estimate
    assert last.metric
    assert abs(last.log_scale - with_odometry.log_so_far[-1]) <= 2 * last.sigma < 0.4
    (ranged,) = drive("exact", history, ("range",), 3)
    assert abs(ranged.said[-1].estimate.log_scale - np.log(1.6)) < 0.05
    assert ranged.log_so_far[-1] == np.float64(ranged.log_trajectory)
    (row,) = [row_of("both", drive("exact", history, ("odometry", "range"), seed)) for seed in [4]]
    assert row.metric_wrong == 0.0
    assert row.inside_so_far > 0.9


def test_an_edge_turns_by_what_its_matches_say_and_by_another_angle_with_another_K() -> None:
    history = exact_history(1.6)
    views = {item.number: item.views[0] for item in history.keyframes()}
    edge = next(edge for edge in history.edges if (edge.i, edge.j) == (10, 15))
    turns = {}
    for told in (0.9, 1.0, 1.1):
        R = told_another(edge, views[edge.i], views[edge.j], told)
        assert R is not None
        turns[told] = float(np.linalg.norm(rotation_vector(R)))
    true = float(np.linalg.norm(rotation_vector(edge.T_i_j[:3, :3])))
    assert abs(turns[1.0] / true - 1) < 0.01
    assert turns[0.9] > turns[1.0] > turns[1.1]
    row = focal_row([("exact", history)], 1.0, 2)
    assert (row.drives, row.at_end, row.ever) == (1, 0.0, 0.0)
    assert 0.97 < row.gain < 1.03
