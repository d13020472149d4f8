# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Measured depth in the place of the model's: what a keyframe keeps, what is said where it fails.

Shape letters: N frames, H W pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.depth_source import play, poses, simulated
from benchmarks.instant_runtime import InstantScene
from benchmarks.obstacle_drives import Drive, DriveOptions, drives
from benchmarks.obstacle_scores import score
from benchmarks.obstacle_worlds import Posed
from g2vlm_map.clouds import depth_image
from g2vlm_map.dense.dense_map import DenseRules
from g2vlm_map.depth_fill import filled, fit, laid_over
from g2vlm_map.options import DepthOptions
from g2vlm_map.poses import rigid, rotation
from g2vlm_map.sensing import DepthSample
from g2vlm_model.interface import FrameWindow, GeometryPrediction
from tests.map.bench import Bench, Make
from tests.ros.scripted_runtime import HEIGHT, WIDTH, ScriptedRuntime

Floats32 = NDArray[np.float32]
K_MODEL = np.array([[25.6, 0, 16.0], [0, 25.6, 12.0], [0, 0, 1]])  # of the scripted runtime
K_SENSOR = np.array([[51.2, 0, 32.5], [0, 51.2, 24.5], [0, 0, 1]])
SENSOR_HW = (48, 64)


def slope(hw: tuple[int, int], near: float = 1.0, far: float = 4.0) -> Floats32:
    """A wall that leads away to the right."""
    return np.tile(np.linspace(near, far, hw[1], dtype=np.float32), (hw[0], 1))


# What depth images become on the model's pixels.


def test_registered_depth_is_taken_ray_by_ray() -> None:
    depth = slope(SENSOR_HW)
    laid = laid_over(DepthSample(0, "camera", depth, K_SENSOR), K_MODEL, (HEIGHT, WIDTH))
    u = (np.arange(WIDTH) - 16) / 25.6 * 51.2 + 32.5
    np.testing.assert_array_equal(laid[3, :-1], depth[0, np.rint(u).astype(int).clip(0, 63)][:-1])


def test_what_the_sensor_does_not_see_has_no_depth() -> None:
    narrow = K_SENSOR.copy()
    narrow[[0, 1], [0, 1]] *= 2  # half the field of view
    depth = slope(SENSOR_HW)
    depth[0, 0], depth[0, 1], depth[0, 2] = np.nan, -1.0, np.inf
    laid = laid_over(DepthSample(0, "camera", depth, narrow), K_MODEL, (HEIGHT, WIDTH))
    assert 0.2 < (laid > 0).mean() < 0.3
    assert np.isfinite(laid).all()
    assert not laid[:, :7].any()
    assert not laid[:5].any()


@pytest.mark.parametrize("size", [SENSOR_HW, (24, 32)], ids=["finer", "coarser"])
def test_a_sensor_beside_the_camera_is_moved_into_its_axes(size: tuple[int, int]) -> None:
    """A plane at 2 m across the camera, seen by a sensor 0.3 m to the right that is turned."""
    T = rigid(rotation(np.array([0.0, -0.1, 0.0])), np.array([0.3, 0.0, 0.05]))
    K = K_SENSOR.copy()
    K[:2] *= size[1] / SENSOR_HW[1]
    v, u = np.mgrid[0 : size[0], 0 : size[1]]
    rays = np.stack([(u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1], np.ones(size)], -1)
    z = (2.0 - T[2, 3]) / (rays @ T[2, :3])
    sample = DepthSample(0, "camera", z.astype(np.float32), K, T)
    laid = laid_over(sample, K_MODEL, (HEIGHT, WIDTH))
    assert (laid > 0).mean() > 0.5
    np.testing.assert_allclose(laid[laid > 0], 2.0, rtol=0.02)


def test_holes_are_filled_without_a_step_by_a_model_that_errs_slowly() -> None:
    """The model is in another unit and errs by a quarter over the picture."""
    true = slope((96, 128))
    model = (true / 3 * np.exp(np.linspace(-0.12, 0.12, 128))).astype(np.float32)
    seen = true.copy()
    seen[30:60, 40:80] = 0
    fitted = fit(seen, model)
    assert fitted is not None
    assert fitted.log_metres == pytest.approx(np.log(3), abs=0.02)
    made = filled(seen, model, fitted)
    hole = seen == 0
    np.testing.assert_array_equal(made[~hole], seen[~hole])
    assert np.abs(np.log(made[hole] / true[hole])).max() < 0.03
    assert np.abs(np.log(3 * model[hole] / true[hole])).max() > 0.04  # by the factor alone


def test_a_tenth_of_wild_readings_hardly_counts() -> None:
    true, rng = slope((96, 128)), np.random.default_rng(0)
    seen = true.copy()
    seen[rng.random(seen.shape) < 0.1] = 9.0
    seen[40:56, 50:80] = 0
    fitted = fit(seen, true)
    assert fitted is not None
    hole = seen == 0
    assert np.abs(np.log(filled(seen, true, fitted)[hole] / true[hole])).max() < 0.03


# In a pipeline: the wall of the scripted runtime leads away, and is 2 m per unit.

UNIT_M = 2.0


def leads_away(geometry: GeometryPrediction) -> GeometryPrediction:
    local = geometry.local_points.copy()
    local *= (slope((HEIGHT, WIDTH)) / local[..., 2])[..., None]
    valid = geometry.valid.copy()
    valid[:, :2] = False  # the model says nothing of the upper rows
    return replace(geometry, local_points=local, valid=valid)


@pytest.fixture
def start(bench: Make) -> Callable[..., Bench]:
    def make(source: str, **depth: Any) -> Bench:
        runtime = ScriptedRuntime()
        runtime.break_geometry = leads_away
        return bench(runtime, depth=replace(DepthOptions(source=source), **depth))

    return make


def sensed(bench: Bench, count: int = 1, **changes: object) -> None:
    """Frames, each with a depth image of its stamp."""
    for _ in range(count):
        depth = UNIT_M * slope(SENSOR_HW)
        depth[:, :16] = 0  # a quarter of the picture has no reading
        made = DepthSample(round((bench.stamp_s + 0.1) * 1e9), "camera", depth, K_SENSOR)
        bench.pipeline.sense(replace(made, **changes))  # type: ignore[arg-type]
        bench.scenes(1)


@pytest.mark.parametrize("source", ["sensor", "fused"])
def test_a_keyframe_has_the_sensors_depth(start: Callable[..., Bench], source: str) -> None:
    bench = start(source)
    sensed(bench, 3)
    view = bench.pipeline.world.keyframes[-1].keyframe.views[0]
    assert view.metres == 1.0
    assert not bench.reason("DEPTH_MISSING")
    depth = view.depth_HW.astype(np.float32)
    np.testing.assert_allclose(depth[5, 10:], UNIT_M * slope((HEIGHT, WIDTH))[5, 10:], rtol=0.04)
    assert (view.confidence_HW[:, 10:] == 255).all()
    if source == "sensor":
        assert not depth[:, :7].any()
        assert not view.confidence_HW[:, :7].any()
    else:
        np.testing.assert_allclose(depth[5, :7], UNIT_M * slope((HEIGHT, WIDTH))[5, :7], rtol=0.04)
        assert not depth[:2, :7].any()  # neither of them says anything


def test_published_depth_is_that_of_the_sensor_and_in_its_metres(
    start: Callable[..., Bench],
) -> None:
    bench = start("sensor")
    sensed(bench, 25)
    world, record = bench.pipeline.world, bench.pipeline.scene
    assert record is not None
    assert world.scale.metric
    assert world.scale.sources == ("depth",)
    assert world.scale.sigma < 0.1
    metres = record.scale * world.scale.metres_per_unit
    image = depth_image(record.scene.geometry, -1, metres, 0.0)
    assert np.isnan(image).mean() < 0.1  # the scene itself still is the model's
    image = depth_image(record.geometry, -1, metres, 0.0)
    assert np.isnan(image[:, :7]).all()
    np.testing.assert_allclose(image[5, 10:], UNIT_M * slope((HEIGHT, WIDTH))[5, 10:], rtol=0.05)


def test_depth_speaks_of_the_scale_once(start: Callable[..., Bench]) -> None:
    """Not as a range beside the model, too, that the map's own depth is."""
    bench = start("fused")
    sensed(bench, 25)
    assert set(bench.pipeline._scale._tracks) == {"depth"}
    bench = start("model")
    sensed(bench, 25)
    assert set(bench.pipeline._scale._tracks) == {"range"}
    assert bench.pipeline.world.keyframes[-1].keyframe.views[0].metres == 0


def test_a_unit_that_changes_from_pass_to_pass_is_nothing_to_the_map(
    start: Callable[..., Bench],
) -> None:
    bench = start("sensor")
    bench.runtime.scales = [1.0, 1.7, 0.6, 1.3, 0.8, 2.2]
    sensed(bench, 7)
    for placed in bench.pipeline.world.keyframes:
        depth = placed.depth()[5, 20] * bench.pipeline.world.scale.metres_per_unit
        assert depth == pytest.approx(UNIT_M * slope((HEIGHT, WIDTH))[5, 20], rel=0.06)


def test_where_depth_begins_late_the_map_keeps_its_unit(start: Callable[..., Bench]) -> None:
    bench = start("fused")
    bench.scenes(3)
    assert "no depth image of it has come" in bench.reason("DEPTH_MISSING")
    before = bench.pipeline.world.keyframes[-1]
    sensed(bench, 3)
    after = bench.pipeline.world.keyframes[-1]
    assert not bench.reason("DEPTH_MISSING")
    assert after.keyframe.views[0].metres == pytest.approx(UNIT_M, rel=0.05)
    assert after.depth()[5, 20] == pytest.approx(before.depth()[5, 20], rel=0.05)


def test_where_depth_stops_the_models_goes_on_in_metres(start: Callable[..., Bench]) -> None:
    bench = start("sensor", wait_s=0.01)
    sensed(bench, 3)
    bench.scenes(3)
    assert "the depth image nearest to it is 0.300 s older" in bench.reason("DEPTH_MISSING")
    placed = bench.pipeline.world.keyframes[-1]
    assert placed.keyframe.views[0].metres == 0
    assert placed.depth()[5, 20] == pytest.approx(UNIT_M * slope((HEIGHT, WIDTH))[5, 20], rel=0.06)
    sensed(bench, 1)
    assert not bench.reason("DEPTH_MISSING")


def test_depth_that_comes_behind_its_picture_is_waited_for(start: Callable[..., Bench]) -> None:
    bench = start("sensor", wait_s=5.0)
    sensed(bench, 3)
    stamp_ns = round((bench.stamp_s + 0.1) * 1e9)
    bench.add()
    bench.pipeline.sense(DepthSample(stamp_ns, "camera", UNIT_M * slope(SENSOR_HW), K_SENSOR))
    assert bench.pipeline.wait(10.0)
    assert bench.pipeline.world.keyframes[-1].keyframe.views[0].metres


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"depth_HW": 1000 * UNIT_M * slope(SENSOR_HW)}, "these are millimetres, not metres"),
        ({"depth_HW": np.zeros(SENSOR_HW, np.float32)}, "readings on 0.0% of the picture"),
        ({"depth_HW": np.full(SENSOR_HW, np.nan, np.float32)}, "readings on 0.0% of the picture"),
        ({"depth_HW": UNIT_M * slope(SENSOR_HW)[:, ::-1]}, "does not fit the picture"),
        ({"camera": "rear"}, "no depth image of it has come"),
        ({"stamp_ns": 10_000}, "s older, depth.tolerance_s is 0.02"),
    ],
    ids=["millimetres", "zero", "NaN", "mirrored", "other camera", "other clock"],
)
def test_depth_that_is_none_is_left_out_and_told(
    start: Callable[..., Bench], changes: dict[str, object], told: str
) -> None:
    bench = start("fused", wait_s=0.01)
    sensed(bench, 3, **changes)
    assert told in bench.reason("DEPTH_MISSING")
    assert len(bench.pipeline.world.keyframes) == 3  # nothing is lost by it
    assert not any(one.keyframe.views[0].metres for one in bench.pipeline.world.keyframes)
    assert not bench.pipeline.world.scale.metric


@pytest.mark.parametrize(
    "changes",
    [
        {"K": np.full((3, 3), np.nan)},
        {"K": np.zeros((3, 3))},
        {"depth_HW": np.zeros((4, 4, 3), np.float32)},
        {"depth_HW": np.zeros((0, 4), np.float32)},
    ],
    ids=["K NaN", "K zero", "three channels", "empty"],
)
def test_a_depth_image_without_sense_is_refused(
    start: Callable[..., Bench], changes: dict[str, object]
) -> None:
    bench = start("sensor", wait_s=0.01)
    sensed(bench, 2, **changes)
    assert "depth of camera 'camera' is" in bench.reason("SENSOR_REFUSED")
    assert bench.reason("DEPTH_MISSING")


def test_depth_images_that_nobody_asks_for_take_no_room(start: Callable[..., Bench]) -> None:
    bench = start("model")
    sensed(bench, 3)
    assert not bench.pipeline._depth._samples
    assert not bench.reason("DEPTH_MISSING")


def test_memory_of_samples_is_bounded(start: Callable[..., Bench]) -> None:
    bench = start("sensor")
    depth = np.ones((480, 640), np.float32)
    for stamp in range(200):
        bench.pipeline.sense(DepthSample(stamp, "camera", depth, K_SENSOR))
    assert sum(one.depth_HW.nbytes for one in bench.pipeline._depth._samples) <= 64 * 2**20


# On a drive with truth, whose model errs by a factor of each pass and slowly over the picture.


class Erring(ScriptedRuntime):
    """True depth and poses of a drive, made wrong."""

    def __init__(self, drive: Drive) -> None:
        super().__init__()
        self._drive = drive

    def observe(
        self, window: FrameWindow, *, cancelled: Callable[[], bool] | None = None
    ) -> InstantScene:
        rng = np.random.default_rng(window.frames[-1].stamp_ns)
        index = [frame.stamp_ns // 500_000_000 - 1 for frame in window.frames]
        depth = self._drive.depth_NHW[index][:, ::2, ::2].astype(np.float64)
        size = depth.shape[1:]
        v, u = np.mgrid[0 : size[0], 0 : size[1]]
        K = self._drive.K.copy()
        K[:2, :2] /= 2
        K[:2, 2] = (K[:2, 2] + 0.5) / 2 - 0.5
        slow = rng.normal(0, 0.15) * (u / size[1] - 0.5) + rng.normal(0, 0.15) * (v / size[0] - 0.5)
        depth *= np.exp(slow + rng.normal(0, 0.25)) / 3
        rays = np.stack([(u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1], np.ones(size)], -1)
        local = (depth[..., None] * rays).astype(np.float32)
        T = (
            np.linalg.inv(self._drive.T_world_cam_N44[index[0]])
            @ self._drive.T_world_cam_N44[index]
        )
        T[:, :3, 3] /= 3
        geometry = GeometryPrediction(
            local_points=local,
            world_points=local,
            T_world_cam=T.astype(np.float32),
            confidence=np.full(depth.shape, 0.8, np.float32),
            valid=depth > 0,
            K=np.tile(K, (len(index), 1, 1)).astype(np.float32),
            colors=self._drive.rgb_NHW3[index][:, ::2, ::2],
            confidence_source="head",
        )
        return InstantScene(window, geometry, {"total": 0.0}, None)


@cache
def room() -> Drive:
    return next(drives("val", 1, DriveOptions(frames=24, size_hw=(168, 224))))


@cache
def numbers(source: str) -> dict[str, float]:
    drive = room()
    posed = Posed(drive.rgb_NHW3, drive.depth_NHW, drive.T_world_cam_N44, drive.K, drive.T_base_cam)
    world = play(Erring(drive), posed, simulated(drive.depth_NHW, 3), source)
    found = poses(world, posed)
    if world.scale.metric:
        found |= score(drive, world, DenseRules()).numbers
    return found


@pytest.mark.slow  # two dozen keyframes, three times
def test_the_map_of_a_drive_is_in_the_sensors_metres() -> None:
    for source in ("sensor", "fused"):
        found = numbers(source)
        assert found["metric"], source
        assert found["true / said metre"] == pytest.approx(1.0, abs=0.05), (source, found)
        # .06 to .10 were seen: what is left is the path's shape, not its metres.
        assert found["ATE SE3 m"] < 0.15, (source, found)


@pytest.mark.slow  # two dozen keyframes, three times
def test_obstacles_of_a_drive_are_where_they_are() -> None:
    for source in ("sensor", "fused"):
        found = numbers(source)
        assert found["recall"] > 0.9, (source, found)
        assert found["free but occupied"] < 0.03, (source, found)
        assert found["phantoms per 10 m"] < 2, (source, found)
