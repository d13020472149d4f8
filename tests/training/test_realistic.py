# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Furnished scenes: exact depth, light that adds up, glass, mirrors, sky, things that stand."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from g2vlm_training.datasets.mixture import ClipPool
from g2vlm_training.datasets.realistic import RenderPlan, render_furnished, render_shards
from g2vlm_training.synthetic import PATH_STYLES, camera_path, intrinsics, scene_seed
from g2vlm_training.synthetic.models import ModelsError, Sources, build_library
from g2vlm_training.synthetic.models.embree import Tracer
from g2vlm_training.synthetic.paths import look_rotation, surface_gaps
from g2vlm_training.synthetic.questions import TASKS, View, ask
from g2vlm_training.synthetic.realistic import (
    FurnishedScene,
    Photographer,
    furnished_scene,
    open_stock,
)
from g2vlm_training.synthetic.realistic.assembly import Assembly
from g2vlm_training.synthetic.realistic.daylight import Day, Lamp, lighting
from g2vlm_training.synthetic.realistic.kinds import Stock
from g2vlm_training.synthetic.realistic.surfaces import Surfaces
from g2vlm_training.synthetic.room import SceneKind

from tests.training.furniture import model_row, write_archive

pytest.importorskip("embreex", reason="needs the extra scenes: pip install '.[scenes]'")
pytest.importorskip("pyoidn", reason="needs the extra scenes: pip install '.[scenes]'")
pytest.importorskip("trimesh", reason="needs the extra scenes: pip install '.[scenes]'")

SIZE = (42, 56)
NAMES = {
    "Chair": (45, 50, 90), "Table": (140, 80, 75), "Sofa": (180, 85, 85), "Bed": (140, 200, 60),
    "Coffee table": (90, 50, 45), "Desk": (140, 70, 75), "Shelves": (80, 35, 180),
    "TV": (80, 15, 50),
    "Wardrobe": (120, 60, 200), "Dresser with drawers": (100, 45, 80), "Plant": (50, 50, 120),
    "Book": (15, 20, 3), "Laptop": (34, 25, 3), "Vase": (12, 12, 25), "Coffee mug": (9, 8, 10),
    "Plate": (22, 22, 2), "Backpack": (30, 30, 45), "Cardboard box": (50, 40, 30),
    "Ceiling lamp": (30, 30, 8), "Armchair": (80, 80, 85), "Bush": (120, 120, 110),
}  # fmt: skip
GREY = np.full((8, 16, 3), 1.0, np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library of boxes with the names of furniture."""
    work = tmp_path_factory.mktemp("furniture")
    rows = []
    for number, (name, size) in enumerate(NAMES.items(), start=1):
        category = {"Bush": "Exterior", "Ceiling lamp": "Lights"}.get(name, "Living room")
        rows.append(model_row(number, name, size, category=category))
    return build_library(work / "library", Sources((write_archive(work / "B.sh3f", rows),)), print)


@pytest.fixture(scope="module")
def stock(folder: Path) -> Stock:
    return open_stock(folder)


@pytest.fixture(scope="module")
def room(stock: Stock) -> FurnishedScene:
    return furnished_scene(scene_seed("test", 3), stock, "indoor")


@functools.cache
def _bare(stock: Stock) -> FurnishedScene:
    return furnished_scene(scene_seed("test", 3), stock, "outdoor")


@pytest.fixture(scope="module")
def scenes(stock: Stock) -> list[FurnishedScene]:
    """Some rooms of different plans."""
    return [furnished_scene(scene_seed("test", index), stock, "indoor") for index in range(3)]


def _scene(
    stock: Stock, build: Assembly, sky: np.ndarray = GREY, lamps: tuple[Lamp, ...] = (),
    kind: SceneKind = "outdoor",
) -> FurnishedScene:  # fmt: skip
    """What an assembly holds, under a sky without sun."""
    day = Day(sky.astype(np.float32), None, np.zeros(3, np.float32))
    return replace(
        _bare(stock),
        kind=kind,
        objects=tuple(build.objects),
        triangles=build.triangles(),
        looks=build.looks(),
        lighting=lighting(day, (), lamps),
    )


def _looking(x: float, y: float, z: float, yaw: float = 0.0, pitch: float = 0.0) -> np.ndarray:
    T_world_cam = np.eye(4)
    T_world_cam[:3, :3] = look_rotation(yaw, pitch)
    T_world_cam[:3, 3] = (x, y, z)
    return T_world_cam


def _ground(stock: Stock) -> tuple[Assembly, int]:
    build = Assembly(np.random.default_rng(0), stock.library)
    grey = build.material((0.5, 0.5, 0.5))
    build.quad((-50, -50, 0), (100, 0, 0), (0, 100, 0), grey)
    return build, grey


def test_depth_and_normals_are_those_of_the_ray_through_the_pixels_centre(stock: Stock) -> None:
    build, _ = _ground(stock)
    camera = Photographer(_scene(stock, build))
    K, T_world_cam = intrinsics(70.0, SIZE), _looking(1.0, 2.0, 1.3, 0.4, -0.7)
    depth, normal, number = camera.truth(T_world_cam, K, SIZE)
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    local = np.stack([(x - K[0, 2]) / K[0, 0], (y - K[1, 2]) / K[1, 1], np.ones(SIZE)], axis=-1)
    down = (local @ T_world_cam[:3, :3].T)[..., 2]
    expected = np.where(down < 0, -1.3 / np.minimum(down, -1e-9), 0)
    expected = np.where(expected < 60, expected, 0)
    np.testing.assert_allclose(depth, expected, rtol=2e-5)
    up = T_world_cam[:3, :3].T @ (0, 0, 1)
    np.testing.assert_allclose(
        normal[depth > 0], np.tile(up, (int((depth > 0).sum()), 1)), atol=1e-6
    )
    assert not normal[depth == 0].any()
    assert not number.any()


def test_a_matt_ground_under_an_even_sky_sends_back_its_albedo(stock: Stock) -> None:
    """The white furnace: irradiance pi, so radiance is albedo times one."""
    build, _ = _ground(stock)
    light = Photographer(_scene(stock, build), rays=8).light_of(
        _looking(0, 0, 2, 0, -1.5), intrinsics(50, SIZE), SIZE
    )
    assert light.mean() == pytest.approx(0.5, rel=0.05)


def test_a_closed_box_is_dark_and_a_lamp_lights_it(stock: Stock) -> None:
    build, grey = _ground(stock)
    build.box((0, 0, 1.5), (4, 4, 3), grey)
    K, pose = intrinsics(80, SIZE), _looking(-1.5, 0, 1.5)
    dark = Photographer(replace(_scene(stock, build, kind="indoor"), size=(4.0, 4.0, 3.0)))
    assert dark.light_of(pose, K, SIZE).max() < 1e-4  # no light leaks in
    lamp = Lamp.panel(np.array([0, 0, 2.9]), (0.3, 0.3), np.full(3, 1.0))
    scene = replace(_scene(stock, build, lamps=(lamp,), kind="indoor"), size=(4.0, 4.0, 3.0))
    lit = Photographer(scene)
    floor = lit.light_of(_looking(0, 0, 1.0, 0, -1.5), K, SIZE)
    # Straight below, 2.9 m away: E = radiance x area / d^2 = 4 / 2.9^2, and what walls add.
    direct = 0.5 / np.pi * 4 / 2.9**2
    assert direct < floor[18:24, 24:32].mean() < 3 * direct
    assert lit.light_of(pose, K, SIZE).min() > 0.1 * direct


def test_depth_goes_through_glass_and_the_picture_is_tinted(stock: Stock) -> None:
    build, grey = _ground(stock)
    build.quad((5, -20, 0), (0, 40, 0), (0, 0, 20), grey)
    K, pose = intrinsics(60, SIZE), _looking(0, 0, 1.5)
    clear = Photographer(_scene(stock, build))
    green = build.material((0.1, 0.9, 0.1), -1, 0.04, 0.3)
    build.quad((2, -20, 0), (0, 40, 0), (0, 0, 20), green)
    glazed = Photographer(_scene(stock, build))
    without, behind = (camera.truth(pose, K, SIZE)[0] for camera in (clear, glazed))
    np.testing.assert_allclose(behind, without, rtol=1e-4)
    tint = glazed.light_of(pose, K, SIZE).mean((0, 1)) / clear.light_of(pose, K, SIZE).mean((0, 1))
    assert tint[1] > 1.15 * tint[0]


def test_a_mirror_has_its_own_depth_and_shows_what_is_behind_the_camera(stock: Stock) -> None:
    build, _ = _ground(stock)
    red = build.material((0.7, 0.02, 0.02))
    build.quad((-4, -20, 0), (0, 40, 0), (0, 0, 20), red)
    build.quad((3, -20, 0), (0, 40, 0), (0, 0, 20), build.material((0.8, 0.8, 0.8), -1, 0.9))
    camera, K, pose = Photographer(_scene(stock, build)), intrinsics(40, SIZE), _looking(0, 0, 5)
    depth = camera.truth(pose, K, SIZE)[0]
    np.testing.assert_allclose(depth, 3.0, rtol=1e-5)
    middle = camera.light_of(pose, K, SIZE)[15:27, 20:36].mean((0, 1))
    assert middle[0] > 3 * middle[1]


def test_the_sky_has_no_depth_and_the_panorama_lies_as_documented(stock: Stock) -> None:
    """Column 0.5 of the width along +x, a quarter of the way to the left along +y."""
    sky = np.zeros((64, 128, 3), np.float32)
    sky[:, 64 - 8 : 64 + 8, 0] = 1.0
    sky[:, 32 - 8 : 32 + 8, 1] = 1.0
    build, _ = _ground(stock)
    camera, K = Photographer(_scene(stock, build, sky)), intrinsics(20, SIZE)
    for yaw, channel in ((0.0, 0), (np.pi / 2, 1)):
        pose = _looking(0, 0, 1, yaw, 0.4)
        depth, normal, number = camera.truth(pose, K, SIZE)
        assert not depth.any()
        assert not normal.any()
        assert not number.any()
        light = camera.light_of(pose, K, SIZE).mean((0, 1))
        assert light[channel] > 0.9
        assert np.delete(light, channel).max() < 0.05


def test_holes_of_a_texture_are_holes(stock: Stock) -> None:
    build, _ = _ground(stock)
    picture = np.full((32, 32, 4), 200, np.uint8)
    picture[:, 16:, 3] = 0
    leaf = build.material((1, 1, 1), build.texture(picture))
    build.quad((2, 10, -8), (0, -20, 0), (0, 0, 20), leaf)
    depth = Photographer(_scene(stock, build)).truth(
        _looking(0, 0, 1.5), intrinsics(60, SIZE), SIZE
    )[0]
    np.testing.assert_allclose(depth[:15, :26], 2.0, rtol=1e-5)
    assert not depth[:15, 30:].any()


def test_a_seed_is_a_scene_and_a_picture(stock: Stock, room: FurnishedScene) -> None:
    again = furnished_scene(room.seed, stock, "indoor")
    assert again.objects == room.objects
    pose, K = camera_path(room, 0, 1, "hand"), intrinsics(65, SIZE)
    first, second = (Photographer(scene).take(pose, K, SIZE) for scene in (room, again))
    np.testing.assert_array_equal(first.rgb, second.rgb)
    np.testing.assert_array_equal(first.depth, second.depth)
    assert furnished_scene(room.seed + 1, stock, "indoor").objects != room.objects


def test_points_of_one_view_are_seen_by_the_others(room: FurnishedScene) -> None:
    """No ray from another camera passes a point without stopping there or before it."""
    K, path = intrinsics(70, SIZE), camera_path(room, 1, 3, "hand", step=0.1)
    frames = Photographer(room, rays=1).take(path, K, SIZE)
    v, u = np.mgrid[: SIZE[0], : SIZE[1]]
    known = frames.depth[0] > 0
    z = frames.depth[0].astype(np.float64)
    local = np.stack([(u - K[0, 2]) / K[0, 0] * z, (v - K[1, 2]) / K[1, 1] * z, z], axis=-1)
    points = (local @ path[0, :3, :3].T + path[0, :3, 3])[known]
    centre = path[2, :3, 3]
    toward = (points - centre).astype(np.float32)
    origin = np.tile(centre.astype(np.float32), (len(points), 1))
    met = Surfaces(room).meet(origin, toward)
    assert known.mean() > 0.5
    assert (met.face_R >= 0).all()
    assert met.t_R.max() < 1 + 1e-3
    assert (np.abs(met.t_R - 1) < 1e-3).mean() > 0.6


def test_nothing_floats_sinks_or_stands_outside(scenes: list[FurnishedScene]) -> None:
    checked = 0
    for scene in scenes:
        hung = ("lamp", "window", "picture", "mirror", "curtain", "rug", "monitor")
        triangles = scene.triangles
        for thing in scene.objects:
            note, board = (thing.name, thing.size[1] < 0.005), (thing.name, thing.size[2] < 0.03)
            if thing.name in hung or note == ("paper", True) or board == ("shelf", True):
                continue
            x, y, z = thing.centre
            assert any(a < x < c and b < y < d for a, b, c, d in scene.floors), thing
            others = triangles.face_F3[triangles.object_F != thing.object_id]
            start = np.array([[x, y, z]], np.float32)
            below = Tracer(triangles.position_V3, others).hits(
                start, np.array([[0, 0, -1]], np.float32)
            )
            gap = float(below.t_R[0]) - thing.size[2] / 2
            assert abs(gap) < 0.03, f"{thing} of {scene.seed} is {gap:.3f} m above what bears it"
            checked += 1
    assert checked > 40


def test_colours_are_those_of_the_surface(room: FurnishedScene) -> None:
    """The boxes are painted red unless the room tinted them."""
    named = [thing.colour for thing in room.objects if thing.name in ("chair", "book", "table")]
    assert named.count("red") > 0.4 * len(named) > 0


@pytest.mark.parametrize("style", PATH_STYLES)
def test_cameras_keep_clear_and_inside(scenes: list[FurnishedScene], style: str) -> None:
    for scene in scenes:
        path = camera_path(scene, 0, 6, style)  # type: ignore[arg-type]
        places = path[:, :3, 3]
        assert surface_gaps(scene, places).min() > 0.05
        inside = [any(a < x < c and b < y < d for a, b, c, d in scene.floors) for x, y, _ in places]
        assert np.mean(inside) > 0.9 or scene.kind == "outdoor"


def test_shards_are_resumed_bounded_and_give_questions(folder: Path, tmp_path: Path) -> None:
    plan = RenderPlan(folder, "val", rooms=2, lengths=(4,), sizes=(SIZE,), rays=1, spacing=0.8)
    (first,) = render_shards(tmp_path, plan, 0, 1)
    content = first.read_bytes()
    first.touch()
    before = first.stat().st_mtime_ns
    assert list(render_shards(tmp_path, plan, 0, 1)) == [first]
    assert first.stat().st_mtime_ns == before
    first.unlink()
    assert next(iter(render_shards(tmp_path, plan, 0, 1))).read_bytes() == content
    assert list(render_shards(tmp_path, plan, 0, 9, most_gib=1e-6)) == []
    clips = ClipPool(tmp_path, "val").clips
    assert [len(clip) for clip in clips] == [4, 4]
    asked = 0
    for clip in clips:
        window = clip.read(range(4))
        assert window.normals is not None
        assert (window.depth > 0).mean() > 0.3
        assert window.scene is not None
        assert window.object_id is not None
        view = View(
            window.scene.objects, window.depth, window.object_id, window.T_world_cam, window.K,
            window.scene.room_size, window.scene.floor_area,
        )  # fmt: skip
        rng = np.random.default_rng(0)
        asked += sum(ask(view, task, rng) is not None for task in TASKS)
    assert asked > 10


@pytest.mark.slow
def test_processes_write_what_one_writes(folder: Path, tmp_path: Path) -> None:
    plan = RenderPlan(folder, "val", rooms=1, lengths=(2,), sizes=(SIZE,), rays=1, spacing=0.8)
    alone, beside = tmp_path / "alone", tmp_path / "beside"
    one = sorted(render_shards(alone, plan, 0, 2))
    two = sorted(render_shards(beside, plan, 0, 2, processes=2))
    assert [path.name for path in one] == [path.name for path in two]
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]


def test_a_missing_library_is_named(tmp_path: Path) -> None:
    plan = RenderPlan(tmp_path / "none")
    with pytest.raises(ModelsError, match="make it with `g2vlm dataset models"):
        render_furnished(plan, 0, SIZE)
    with pytest.raises(ValueError, match="expected heights and widths from 14"):
        RenderPlan(tmp_path, sizes=((3, 9),))
