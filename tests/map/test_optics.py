# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Known rays, averaged ones, rigs that are rigid, and pixels that show nothing."""

from __future__ import annotations

import dataclasses
import math
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray

from g2vlm_map.answers.measure import points_at
from g2vlm_map.clouds import cloud, depth_image, depth_pair, scene_cloud
from g2vlm_map.dense.dense_map import DenseMap, DenseRules
from g2vlm_map.dense.obstacles import obstacles_around
from g2vlm_map.dense.options import DenseOptions
from g2vlm_map.frame_optics import CameraFrame, FrameOptics
from g2vlm_map.mapping.keyframe import Keyframe, View
from g2vlm_map.optics import Optics
from g2vlm_map.options import CloudOptions, DepthOptions
from g2vlm_map.poses import inverse, rigid, rotation
from g2vlm_map.rig import at_one_instant, metres_per_unit, pose_at, poses_of_views
from g2vlm_map.scale.estimate import ScaleEstimate
from g2vlm_map.scale.options import ScaleOptions
from g2vlm_map.sensing import Extrinsics
from g2vlm_model.interface import Frame, FrameWindow, GeometryPrediction, PixelMark
from tests.map.bench import Make
from tests.map.box_world import mount

HW = (24, 32)  # of the model's picture
FRAME_HW = (120, 160)
K_FRAME = np.array([[150.0, 0, 78.2], [0, 151.0, 61.4], [0, 0, 1]])
Floats = NDArray[np.float64]


def frame(stamp_s: float, camera: str = "front", K: Floats | None = K_FRAME) -> Frame:
    image = np.zeros((*FRAME_HW, 3), np.uint8)
    stamp_ns = round(stamp_s * 1e9)
    return Frame(image, stamp_ns, f"{camera}_optical", camera, f"{camera}@{stamp_s}", K)


def guessed(
    frames: list[Frame], focal: float = 26.0, T: Floats | None = None
) -> GeometryPrediction:
    """What a model says that takes the camera for one of another focal length."""
    count, (height, width) = len(frames), HW
    K = np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])
    v, u = np.mgrid[0:height, 0:width]
    z = np.random.default_rng(3).uniform(1, 6, (count, height, width))
    rays = np.stack([(u - K[0, 2]) / focal, (v - K[1, 2]) / focal, np.ones(HW)], -1)
    local = (z[..., None] * rays).astype(np.float32)
    poses = np.tile(np.eye(4), (count, 1, 1)) if T is None else T
    world = local @ poses[:, None, :3, :3].transpose(0, 1, 3, 2) + poses[:, None, None, :3, 3]
    return GeometryPrediction(
        local_points=local,
        world_points=world.astype(np.float32),
        T_world_cam=poses.astype(np.float32),
        confidence=np.ones((count, *HW), np.float32),
        valid=np.ones((count, *HW), bool),
        K=np.tile(K, (count, 1, 1)).astype(np.float32),
        colors=np.zeros((count, *HW, 3), np.uint8),
        confidence_source="head",
    )


def test_cloud_depth_and_k_say_the_same() -> None:
    """Reprojecting the depth with the K that goes with it gives the cloud, to rounding."""
    frames = [frame(1.0), frame(1.1)]
    T = np.stack([np.eye(4), rigid(rotation(np.array([0.1, -0.2, 0.05])), np.array([0.3, 0, 1.0]))])
    before = guessed(frames, T=T)
    geometry = Optics("front").corrected(before, FrameWindow(tuple(frames)))
    shrink = np.array([HW[1] / FRAME_HW[1], HW[0] / FRAME_HW[0]])
    np.testing.assert_allclose(
        geometry.K[1, [0, 1], [0, 1]], np.array([150, 151]) * shrink, rtol=1e-6
    )
    np.testing.assert_allclose(
        geometry.K[1, :2, 2], np.array([78.7, 61.9]) * shrink - 0.5, rtol=1e-6
    )
    np.testing.assert_array_equal(geometry.local_points[..., 2], before.local_points[..., 2])
    for index in range(2):
        depth = depth_image(geometry, index, 1.7, 0.0).astype(np.float64)
        K = geometry.K[index].astype(np.float64)
        v, u = np.mgrid[0 : HW[0], 0 : HW[1]]
        rays = np.stack([(u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1], np.ones(HW)], -1)
        reprojected = depth[..., None] * rays
        points = cloud(geometry, slice(index, index + 1), None, 1.7, CloudOptions(organized=True))
        got = np.stack([points[axis] for axis in "xyz"], -1)
        miss = np.linalg.norm(got - reprojected, axis=-1) / depth
        assert miss.max() < 1e-5, miss.max()
        world = geometry.local_points[index] @ T[index, :3, :3].T + T[index, :3, 3]
        np.testing.assert_allclose(geometry.world_points[index], world, atol=1e-5)
    # The model's own points miss the camera's rays by what its guess is off.
    assert np.abs(before.local_points[..., 0] - geometry.local_points[..., 0]).max() > 0.1


def test_without_k_the_models_is_averaged_over_the_run() -> None:
    optics = Optics("front")
    generator = np.random.default_rng(5)
    published = []
    for count in range(60):
        frames = [frame(1 + count / 10, K=None)]
        focal = 26 * math.exp(generator.normal(0, 0.08)) if count != 30 else 500.0
        geometry = optics.corrected(guessed(frames, focal), FrameWindow(tuple(frames)))
        published.append(float(geometry.K[0, 0, 0]))
    (estimate,) = optics.cameras
    assert (estimate.camera, estimate.source, estimate.passes) == ("front", "model", 60)
    assert estimate.spread == pytest.approx(0.08, abs=0.03)
    assert estimate.focal_px == pytest.approx(26 * 160 / 32, rel=0.03)
    assert np.ptp(np.log(published[20:])) < 0.05, "the K that is published does not wobble"
    assert np.abs(np.diff(np.log(published[20:]))).max() < 0.02
    x, z = geometry.local_points[0, 5, 9, [0, 2]]
    assert x / z == pytest.approx((9 - geometry.K[0, 0, 2]) / geometry.K[0, 0, 0], rel=1e-5)


def test_the_models_own_focal_length_is_kept_beside_a_given_one() -> None:
    """Where K is wrong by a tenth, the ratio says so against that of a right one."""
    ratios = []
    for factor in (1.0, 1.1):
        optics = Optics("front")
        K = K_FRAME * [[factor], [factor], [1.0]]
        for count in range(5):
            frames = [frame(1 + count / 10, K=K)]
            optics.corrected(guessed(frames), FrameWindow(tuple(frames)))
        (estimate,) = optics.cameras
        assert estimate.source == "camera_info"
        assert estimate.focal_px == pytest.approx(150.0 * factor)
        assert estimate.model_focal_px == pytest.approx(130.0)
        ratios.append(estimate.log_ratio)
    assert ratios[0] - ratios[1] == pytest.approx(math.log(1.1), abs=1e-6)


def test_what_a_frame_does_not_show_is_no_point() -> None:
    rim = np.zeros((12, 16), bool)
    rim[:, :4] = True
    dark = CameraFrame(**vars(frame(1.0)), optics=FrameOptics(rim_HW=rim))
    geometry = Optics("front").corrected(guessed([dark]), FrameWindow((dark,)))
    assert not geometry.valid[0, :, :8].any()
    assert geometry.valid[0, :, 8:].all()
    assert (geometry.confidence[0, :, :8] == 0).all()
    assert np.isnan(depth_image(geometry, 0, 1.0, 0.0)[:, :8]).all()
    assert len(cloud(geometry, slice(0, 1), None, 1.0, CloudOptions(min_confidence=0.0))) == 24 * 24


def sky_left(geometry: GeometryPrediction) -> GeometryPrediction:
    """The left half of every picture shows nothing solid, whatever its points say."""
    invalid = np.zeros(geometry.valid.shape, bool)
    invalid[..., : geometry.image_size[1] // 2] = True
    return dataclasses.replace(geometry, invalid=invalid)


def test_what_the_model_calls_invalid_is_in_no_output(bench: Make) -> None:
    """One mask for all: cloud, depth on both grids, keyframes, marks, dense map and obstacles."""
    leftmost = {}
    for name, change in (("before", None), ("after", sky_left)):
        one = bench(scale=ScaleOptions(fixed=1.0))
        one.runtime.break_geometry = change
        one.pipeline.sense(Extrinsics("camera", mount(pitch_deg=0.0)))
        one.scenes(4)
        record, world = one.pipeline.scene, one.pipeline.world
        assert record is not None
        assert world.scale.metric
        points = scene_cloud(record, CloudOptions(min_confidence=0.0, source="newest"))
        pairs = [
            depth_pair(record, record.newest, DepthOptions(min_confidence=0.0, grid=grid))
            for grid in ("model", "camera")
        ]
        shares = [np.isfinite(pair.depth_HW) for pair in pairs]
        view = world.keyframes[-1].keyframe.views[0]
        plain = DenseRules(DenseOptions(sweep=False))
        voxels = DenseMap(plain).update(world).voxels
        recent = DenseMap(plain).around(world)
        obstacles_P3 = obstacles_around(recent, plain.obstacles)
        places = points_at(record.geometry, record.window, [PixelMark(record.newest, 2.0, 60.0)])
        leftmost[name] = {
            "cloud": bool((points["x"] < -0.05).any()),
            "depth": bool(shares[0][:, :16].any()),
            "fine depth": bool(shares[1][:, : shares[1].shape[1] // 2].any()),
            "keyframe": bool(view.depth_HW[:, :16].any()),
            "confidence": bool(view.confidence_HW[:, :16].any()),
            "voxels": bool((voxels.mean_V3[:, 1] > 0.1).any()),  # level axes: left is +y
            "obstacles": bool((obstacles_P3[:, 1] > 0.1).any()),
            "mark": bool(places.found.any()),
        }
        assert len(points), name
        assert len(voxels), name
        assert (obstacles_P3[:, 1] < -0.1).any(), name
        assert shares[1][:, shares[1].shape[1] // 2 + 4 :].all(), name
    assert all(leftmost["before"].values()), leftmost["before"]
    assert not any(leftmost["after"].values()), leftmost["after"]


def test_a_mask_that_is_none_is_refused(bench: Make) -> None:
    one = bench()
    one.runtime.break_geometry = lambda said: dataclasses.replace(
        said,
        invalid=np.zeros(said.valid.shape, np.uint8),
    )
    one.add()
    one.add()
    assert "invalid is uint8 (2, 24, 32), expected bool" in one.becomes("RUNTIME_FAILED")


def moving(stamp_s: float) -> Floats:
    """Pose of the reference on a circle, metres."""
    return rigid(rotation(np.array([0, stamp_s * 0.5, 0])), np.array([stamp_s, 0, 0.2 * stamp_s]))


EXTRINSICS = {
    "front": rigid(np.eye(3), np.array([0.2, 0.0, 0.1])),
    "left": rigid(rotation(np.array([0, -np.pi / 2, 0])), np.array([0.0, 0.0, -0.1])),
    "back": rigid(rotation(np.array([0, np.pi, 0])), np.array([-0.1, 0.0, -0.4])),
}
RIG = inverse(EXTRINSICS["front"])


@pytest.mark.parametrize("late_s", [0.0, 0.04])
def test_cameras_that_share_no_view_are_where_the_rig_holds_them(late_s: float) -> None:
    """Also with stamps of their own, and whatever the model guesses of them."""
    frames, truth, said = [], [], []
    scale = 0.5  # units of the pass per metre
    for count in range(4):
        for camera, T_base_cam in EXTRINSICS.items():
            stamp_s = 1 + 0.1 * count + (0.0 if camera == "front" else late_s)
            T = moving(stamp_s) @ RIG @ T_base_cam
            T[:3, 3] *= scale
            frames.append(frame(stamp_s, camera))
            truth.append(T)
            said.append(T if camera == "front" else np.eye(4))  # a wild guess
    geometry = Optics("front").corrected(
        guessed(frames, T=np.stack(said)), FrameWindow(tuple(frames)), EXTRINSICS, 1 / scale
    )
    np.testing.assert_allclose(geometry.T_world_cam, np.stack(truth), atol=2e-3)
    local = geometry.local_points[1].reshape(-1, 3)
    world = local @ truth[1][:3, :3].T + truth[1][:3, 3]
    np.testing.assert_allclose(geometry.world_points[1].reshape(-1, 3), world, atol=0.02)


def test_a_rig_without_extrinsics_stays_where_the_model_has_it() -> None:
    frames = [frame(1.0), frame(1.0, "left")]
    said = np.stack([np.eye(4), rigid(np.eye(3), np.array([1.0, 2.0, 3.0]))])
    for known in ({}, {"left": EXTRINSICS["left"]}):
        geometry = Optics("front").corrected(
            guessed(frames, T=said), FrameWindow(tuple(frames)), known
        )
        np.testing.assert_allclose(geometry.T_world_cam, said)


def test_the_baseline_says_how_long_a_unit_is_where_the_model_agrees_with_it() -> None:
    known = [rigid(np.eye(3), np.array([0.5, 0, 0])), rigid(np.eye(3), np.array([0, 0.2, 0]))]
    model = [rigid(np.eye(3), np.array([0.2, 0.05, 0])), rigid(np.eye(3), np.array([0, -1.0, 0]))]
    assert metres_per_unit(model, known) == pytest.approx(2.5)
    assert metres_per_unit(model[1:], known[1:]) is None
    frames = [frame(1.0), frame(1.0, "back")]
    said = np.stack([np.eye(4), rigid(np.eye(3), np.array([9.0, 0, 0]))])
    geometry = Optics("front").corrected(
        guessed(frames, T=said), FrameWindow(tuple(frames)), EXTRINSICS
    )
    expected = (RIG @ EXTRINSICS["back"])[:3, :3]
    np.testing.assert_allclose(geometry.T_world_cam[1], rigid(expected, np.zeros(3)), atol=1e-6)


@pytest.mark.parametrize("metric", [True, False])
def test_a_known_scale_goes_before_the_models_baselines(metric: bool) -> None:
    optics = Optics("front")
    optics.note_scale(2.0, ScaleEstimate(metric=metric, log_scale=math.log(0.25), sigma=0.05))
    frames = [frame(1.0), frame(1.0, "back")]
    known = RIG @ EXTRINSICS["back"]
    said = known.copy()
    said[:3, 3] *= 10.0  # a tenth of a metre in one unit
    said_N44 = np.stack([np.eye(4), said])
    geometry = optics.corrected(guessed(frames, T=said_N44), FrameWindow(tuple(frames)), EXTRINSICS)
    metres = 2.0 * 0.25 if metric else 0.1
    np.testing.assert_allclose(geometry.T_world_cam[1, :3, 3], known[:3, 3] / metres, rtol=1e-5)


def test_poses_between_and_beyond() -> None:
    stamps = [0, 100, 200]
    poses = [rigid(rotation(np.array([0, 0, 0.1 * k])), np.array([k, 0.0, 0])) for k in range(3)]
    for stamp_ns, k in ((50, 0.5), (150, 1.5), (200, 2.0), (260, 2.6), (-40, -0.4), (900, 3.0)):
        expected = rigid(rotation(np.array([0, 0, 0.1 * k])), np.array([k, 0.0, 0]))
        np.testing.assert_allclose(pose_at(stamps, poses, stamp_ns), expected, atol=1e-12)
    np.testing.assert_array_equal(pose_at([7], poses[:1], 99), poses[0])


def view_at(stamp_s: float, camera: str) -> View:
    return View(
        camera=camera,
        frame_id=camera,
        stamp_ns=round(stamp_s * 1e9),
        T_body_cam=np.eye(4),
        K=np.eye(3),
        image_hw=HW,
        depth_HW=np.ones(HW, np.float16),
        confidence_HW=np.full(HW, 255, np.uint8),
        color_HW3=np.zeros((*HW, 3), np.uint8),
        feature_F2=np.zeros((0, 2), np.float32),
        descriptor_FE=np.zeros((0, 32), np.uint8),
    )


def test_views_lie_where_the_rig_was_at_their_own_time() -> None:
    stamps = (1.0, 1.2, 1.4, 9.0)  # a gap before the last
    keyframes = []
    for number, stamp_s in enumerate(stamps):
        views = tuple(
            view_at(stamp_s + ahead_s, name)
            for name, ahead_s in (("front", 0.0), ("left", 0.05), ("back", -0.08))
        )
        keyframes.append(Keyframe(number + 1, views[0].stamp_ns, str(number), views, {}))
    found = poses_of_views(keyframes, [moving(stamp_s) for stamp_s in stamps])
    for keyframe, poses in zip(keyframes[1:2], found[1:2], strict=True):
        for view, pose in zip(keyframe.views, poses, strict=True):
            np.testing.assert_allclose(pose, moving(view.stamp_ns / 1e9), atol=1e-3)
    np.testing.assert_array_equal(found[0][2], moving(1.0))  # nothing before it
    np.testing.assert_array_equal(found[2][1], moving(1.4))  # the next is too far away
    np.testing.assert_array_equal(found[3][1], moving(9.0))
    front, left, _ = keyframes[0].views
    assert at_one_instant(front, front)
    assert not at_one_instant(front, left), "their baseline is not the rig's while it moves"


def test_scenes_of_a_pipeline_lie_on_known_rays(bench: Make) -> None:
    one = bench()
    k = [150.0, 0.0, 80.0, 0.0, 150.0, 60.0, 0.0, 0.0, 1.0]
    one.pipeline.calibrate("camera", SimpleNamespace(height=120, width=160, k=k))
    one.scenes(3)
    record = one.pipeline.scene
    assert record is not None
    assert record.geometry.K[0, 0, 0] == pytest.approx(150 * 32 / 160)
    assert record.geometry.K[0, 0, 0] != record.scene.geometry.K[0, 0, 0]
    (camera,) = one.pipeline.snapshot().cameras
    assert (camera.source, camera.focal_px, camera.passes) == ("camera_info", 150.0, 2)


def test_a_rig_is_one_rigid_keyframe_in_the_map(bench: Make) -> None:
    rig = ("front", "back")
    one = bench(cameras=rig)
    for camera in rig:
        one.pipeline.sense(Extrinsics(camera, EXTRINSICS[camera]))
    for _ in range(3):
        one.add(*rig)
        assert one.pipeline.wait(10.0)
    record = one.pipeline.scene
    assert record is not None
    front, back = record.geometry.T_world_cam[list(record.moment)].astype(np.float64)
    np.testing.assert_allclose(
        (inverse(front) @ back)[:3, :3], (RIG @ EXTRINSICS["back"])[:3, :3], atol=1e-5
    )
