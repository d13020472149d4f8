# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Drives are what they say: driveable, seeded, with sensors that agree with the scene."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from g2vlm_demo.drives import EVALUATION, TUNING, DriveSpec, make_drive
from g2vlm_demo.faults import Faults
from g2vlm_demo.lidar import Lidar
from g2vlm_demo.motion import TICK_S
from g2vlm_demo.samples import pipeline_inputs
from g2vlm_demo.scenes import SCENES, make_scene
from g2vlm_demo.wheels import WheelErrors
from g2vlm_training.synthetic import scene_seed
from g2vlm_training.synthetic.paths import surface_gaps

from g2vlm_map.cameras import InputFrame
from g2vlm_map.sensing import Extrinsics, OdometrySample, PointSample

SMALL = DriveSpec("room", 0, size_hw=(48, 64), supersample=1, seconds=1.5)
EXACT = WheelErrors(0.0, 0.0, 0.0, 0.0, 0.0)


@pytest.mark.parametrize("name", SCENES)
def test_the_robot_can_drive_every_tour(name: str) -> None:
    drive = make_drive(DriveSpec(name, 1, "test"))
    motion, robot = drive.motion, drive.robot
    speed = np.abs(motion.way_M) / TICK_S
    turn = np.abs(motion.turn_M) / TICK_S
    assert speed.max() <= robot.speed * 1.02
    assert turn.max() <= robot.turn_rate * 1.1 + (0.1 if robot.speed_at_least else 0.0)
    # Two wheels cannot drive sideways: each step goes along the heading in its middle.
    step = np.diff(motion.pose_M3, axis=0)
    heading = motion.pose_M3[1:, 2] - step[:, 2] / 2
    sideways = -step[:, 0] * np.sin(heading) + step[:, 1] * np.cos(heading)
    assert np.abs(sideways).max() < 0.02 * robot.speed * TICK_S + 1e-4
    # It touches nothing, and it comes back to where it began and looks the same way there.
    height = np.full(len(motion.pose_M3[::10]), max(0.3, robot.radius))
    at = np.column_stack([motion.pose_M3[::10, :2], height])
    assert surface_gaps(drive.scene.room, at).min() > 0.6 * robot.radius
    back = motion.pose_M3[len(motion.pose_M3) // 2 :]
    gap = np.linalg.norm(back[:, :2] - motion.pose_M3[0, :2], axis=1)
    nearest = back[int(gap.argmin())]
    assert gap.min() < 0.35 * max(1.0, robot.speed)
    assert np.cos(nearest[2] - motion.pose_M3[0, 2]) > 0.0 or name not in ("street", "twins")


@pytest.mark.parametrize("index", range(3))
def test_streets_are_long_fast_and_have_stops_and_turns(index: int) -> None:
    drive = make_drive(DriveSpec("street", index, "test"))
    speed = np.abs(drive.motion.way_M) / TICK_S
    moving = speed[speed > 1.0]
    assert drive.length_m >= 300.0
    assert (speed < 0.01).sum() * TICK_S > 2.0
    assert moving.max() <= 10.1
    assert np.quantile(moving, 0.05) >= 1.4
    assert np.abs(np.diff(drive.motion.pose_M3[:, 2])).sum() > 2 * np.pi * 0.9


def test_lists_to_tune_and_to_evaluate_share_no_scene() -> None:
    assert {spec.split for spec in TUNING} == {"val"}
    assert {spec.split for spec in EVALUATION} == {"test"}
    assert len([spec for spec in EVALUATION if spec.scene == "street"]) >= 3
    # `make demo` replays the one; the map's factors were chosen on the other.
    seen = {("room", 3), ("street", 0)}
    assert not seen & {(spec.scene, spec.index) for spec in EVALUATION}
    seeds = [
        {make_scene(spec.scene, spec.split, spec.index).room.seed for spec in specs[:2]}
        for specs in (TUNING, EVALUATION)
    ]
    assert not seeds[0] & seeds[1]
    assert max(seeds[0]) < scene_seed("test", 0) <= min(seeds[1])


def test_the_same_spec_is_the_same_drive_and_pictures_are_read_again(tmp_path: Path) -> None:
    first = list(make_drive(SMALL, tmp_path).frames())
    files = sorted(tmp_path.rglob("*.npz"))
    written = [path.stat().st_mtime_ns for path in files]
    again = list(make_drive(SMALL, tmp_path).frames())
    fresh = list(make_drive(SMALL, keep=False).frames())
    assert files
    assert written == [path.stat().st_mtime_ns for path in files]
    assert len(first) == 16
    for one, two, three in zip(first, again, fresh, strict=True):
        assert one.stamp_ns == two.stamp_ns
        assert (one.rgb == two.rgb).all()
        assert (one.depth == two.depth).all()
        assert (one.rgb == three.rgb).all()
    other = make_drive(replace(SMALL, fov_deg=60.0), tmp_path)
    assert (next(other.frames()).rgb != first[0].rgb).any()


def test_depth_and_scan_agree_where_both_look() -> None:
    """A beam of the lidar and the pixel that looks at its end tell the same distance."""
    lidar = Lidar(noise_m=0.0, range_max=30.0)
    drive = make_drive(replace(SMALL, size_hw=(120, 160), lidar=lidar, seconds=0.3), keep=False)
    frame = next(drive.frames())
    scan = drive.scans.range_SA[0]
    angles = lidar.angles
    ends = np.stack([scan * np.cos(angles), scan * np.sin(angles), 0 * scan, 1 + 0 * scan])
    T_world_laser = drive.T_world_base_N44[0] @ drive.scans.T_base_laser
    in_cam = np.linalg.inv(frame.T_world_cam) @ T_world_laser @ ends
    ahead = in_cam[2] > 0.3
    u, v = (drive.K @ in_cam[:3, ahead] / in_cam[2, ahead])[:2].round().astype(int)
    inside = (u >= 0) & (u < 160) & (v >= 0) & (v < 120)
    assert inside.sum() > 20
    seen = frame.depth[v[inside], u[inside]]
    error = np.abs(seen - in_cam[2, ahead][inside])
    assert np.median(error) < 0.02, error
    assert (error < 0.1).mean() > 0.8


def test_a_lidar_that_hangs_upside_down_measures_the_same_world() -> None:
    faults = Faults(lidar_upside_down=True)
    spec = replace(SMALL, lidar=Lidar(noise_m=0.0), seconds=0.2)
    ends = []
    for each in (spec, replace(spec, faults=faults)):
        drive = make_drive(each, keep=False)
        angles = drive.scans.lidar.angles
        scan = drive.scans.range_SA[0]
        points = np.stack([scan * np.cos(angles), scan * np.sin(angles), 0 * scan, 1 + 0 * scan])
        ends.append((drive.scans.T_base_laser @ points)[:3])
    assert not np.allclose(ends[0], ends[1], atol=0.05)
    assert np.allclose(ends[0], ends[1][:, ::-1], atol=0.02)


def test_exact_wheels_give_the_true_way_and_worn_ones_two_percent() -> None:
    exact = make_drive(DriveSpec("room", 0, wheels=EXACT))
    true = np.linalg.inv(exact.motion.T_world_base_M44[0]) @ exact.motion.T_world_base_M44
    wheels = exact.odometry
    at = np.rint((wheels.stamp_M - wheels.stamp_M[0]) / 1e9 / TICK_S).astype(int)
    assert np.abs(wheels.T_odom_base_M44[:, :2, 3] - true[at][:, :2, 3]).max() < 0.01
    ways = []
    for seed in range(24):
        drive = replace(DriveSpec("mirror", 0), seed=seed, odometry_hz=10.0)
        path = make_drive(drive).odometry.T_odom_base_M44[:, :2, 3]
        ways.append(np.linalg.norm(np.diff(path, axis=0), axis=1).sum())
    share = np.array(ways) / make_drive(DriveSpec("mirror", 0)).length_m
    assert 0.011 < share.std() < 0.03
    assert abs(share.mean() - 1.0) < 0.015


def test_what_goes_wrong_is_seen_in_the_samples() -> None:
    base = replace(SMALL, wheels=EXACT, seconds=12.0, odometry_hz=10.0, rate_hz=1.0)
    good = make_drive(base, keep=False)

    def odometry(**faults: Any) -> np.ndarray:
        return make_drive(
            replace(base, faults=Faults(**faults)), keep=False
        ).odometry.T_odom_base_M44

    plain = good.odometry.T_odom_base_M44
    assert np.allclose(odometry(odometry_reset_at_s=6.0)[60, :2, 3], 0.0, atol=0.02)
    frozen = odometry(odometry_frozen_at_s=5.0, odometry_frozen_for_s=3.0)
    assert (frozen[50:79] == frozen[50]).all()
    assert np.allclose(frozen[85:], plain[85:])
    doubled = odometry(odometry_factor=2.0)
    assert abs(np.linalg.norm(doubled[30, :2, 3]) - 2 * np.linalg.norm(plain[30, :2, 3])) < 0.02
    slipped = odometry(slip_at_s=1.0, slip_for_s=5.0)
    assert np.linalg.norm(slipped[-1, :2, 3] - plain[-1, :2, 3]) > 0.2
    carried = make_drive(replace(base, faults=Faults(kidnap_at_s=4.0, kidnap_by_s=6.0)), keep=False)
    jump = np.linalg.norm(np.diff(carried.T_world_base_N44[:, :2, 3], axis=0), axis=1)
    assert jump.max() > 0.8
    steps = np.diff(carried.odometry.T_odom_base_M44[:, :2, 3], axis=0)
    assert np.linalg.norm(steps, axis=1).max() < 0.1
    dark = make_drive(
        replace(base, faults=Faults(cover_camera_at_s=3.0, cover_camera_for_s=4.0)), keep=False
    )
    means = [frame.rgb.mean() for frame in dark.frames()]
    assert max(means[3:7]) < 12.0 < min(means[:3] + means[7:])
    broken = make_drive(replace(base, faults=Faults(lidar_invalid_share=0.3)), keep=False).scans
    assert 0.2 < (~(np.isfinite(broken.range_SA) & (broken.range_SA > 0))).mean() < 0.4


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"camera_info": "upside down"}, "camera_info is 'upside down', expected one of"),
        ({"lidar_invalid_share": 1.5}, r"lidar_invalid_share is 1.5, expected 0\.\.1"),
        ({"tf_stops_for_s": -1.0}, "tf_stops_for_s is -1.0, expected 0 or more seconds"),
        ({"odometry_factor": 0.0}, "odometry_factor is 0.0, expected above 0"),
    ],
)
def test_faults_that_make_no_sense_are_refused(given: dict[str, object], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Faults(**given)  # type: ignore[arg-type]


def test_twin_rooms_look_the_same_and_lie_apart() -> None:
    drive = make_drive(DriveSpec("twins", 0, size_hw=(60, 80), supersample=1), keep=False)
    apart = np.array([4.32, 0.0, 0.0])
    T = drive.T_world_cam_N44[120:121]
    moved = T.copy()
    moved[0, :3, 3] += apart if T[0, 0, 3] < 0 else -apart
    from g2vlm_demo.pictures import Lens, Photographer

    lens = Lens(drive.K, (60, 80), 1)
    one, two = Photographer(drive.scene.room, lens, drive.T_world_cam_N44).take(
        np.concatenate([T, moved])
    )
    assert np.abs(one.depth - two.depth).mean() < 0.01
    assert np.abs(one.rgb.astype(int) - two.rgb).mean() < 6.0


def test_a_mirror_shows_the_room_and_its_depth_is_the_glass() -> None:
    drive = make_drive(DriveSpec("mirror", 0, size_hw=(60, 80), supersample=1), keep=False)
    facing = np.flatnonzero(drive.T_world_cam_N44[:, 0, 2] > 0.95)[:1]
    from g2vlm_demo.pictures import Lens, Photographer

    room = drive.scene.room
    lens = Lens(drive.K, (60, 80), 1)
    truth = Photographer(room, lens, drive.T_world_cam_N44, 0.0)
    seen = Photographer(room, lens, drive.T_world_cam_N44)
    (glass,), (through,) = (each.take(drive.T_world_cam_N44[facing]) for each in (truth, seen))
    behind = through.depth > glass.depth + 0.5
    gap = -float(drive.T_world_cam_N44[facing[0], 0, 3])
    assert behind.mean() > 0.1
    assert np.allclose(glass.depth[behind], gap, atol=0.12 * gap)
    assert (glass.depth == through.depth)[~behind].mean() > 0.95
    assert (glass.rgb == through.rgb).all()


def test_a_pipeline_gets_everything_in_the_order_of_time() -> None:
    drive = make_drive(replace(SMALL, stereo_m=0.1, seconds=0.5), keep=False)
    items = list(pipeline_inputs(drive))
    assert [type(item) for item in items[:2]] == [Extrinsics, Extrinsics]
    stamped = [item for item in items if not isinstance(item, Extrinsics)]
    stamps = [item.stamp_ns for item in stamped]
    assert stamps == sorted(stamps)
    counts = {
        kind: sum(isinstance(item, kind) for item in stamped)
        for kind in (InputFrame, OdometrySample, PointSample)
    }
    assert counts == {InputFrame: 12, OdometrySample: 26, PointSample: 6}
    bare = list(pipeline_inputs(drive, odometry=False, scan=False, known_K=False))
    assert {type(item) for item in bare} == {Extrinsics, InputFrame}
    assert all(item.K is None for item in bare if isinstance(item, InputFrame))


def test_a_stereo_pair_is_shifted_by_its_baseline() -> None:
    drive = make_drive(replace(SMALL, size_hw=(120, 160), stereo_m=0.12, seconds=0.1), keep=False)
    frame = next(drive.frames())
    assert frame.right is not None
    left, right = frame.rgb.mean(axis=2), frame.right.mean(axis=2)
    v, u = np.mgrid[20:100, 60:140]
    shift = drive.K[0, 0] * 0.12 / frame.depth[v, u]
    moved = np.abs(right[v, np.rint(u - shift).astype(int).clip(0)] - left[v, u])
    still = np.abs(right[v, u] - left[v, u])
    assert np.median(moved) <= np.median(still)
    assert moved.mean() < 0.6 * still.mean()
