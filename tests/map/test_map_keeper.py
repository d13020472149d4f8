# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Maps that are kept: saved, loaded, found again in the right units, or an honest no."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from g2vlm_map.events import Event, MapChanged, SegmentStarted
from g2vlm_map.map_keeper import MapFileError
from g2vlm_map.mapping.loops import turn_deg
from g2vlm_map.mapping.place_options import LoopOptions, MemoryOptions
from g2vlm_map.options import PipelineOptions
from g2vlm_map.pipeline import Pipeline
from g2vlm_map.scale.estimate import ScaleEstimate
from g2vlm_map.sensing import Extrinsics
from tests.helpers import wait_for
from tests.map.mapping.boxes import Box, look
from tests.map.mapping.drives import Drive, circuit
from tests.map.placed import mounted
from tests.ros.scripted_runtime import ScriptedRuntime

ROOM = Box(41)
METRIC = ScaleEstimate(True, math.log(1.2), 0.05, sources=("odometry",), reason="")


class Robot:
    """A started pipeline whose map is filled by a drive instead of by passes."""

    def __init__(self, runtime: ScriptedRuntime | None = None, **options: Any) -> None:
        self.events: list[Event] = []
        runtime = runtime or ScriptedRuntime()
        self.pipeline = Pipeline(runtime, PipelineOptions(**options), self.events.append)
        self.pipeline.start()
        self.drive = Drive(self.pipeline.mapper.graph, seed=5)

    def go(self, box: Box, poses: list[np.ndarray], unit: float = 1.0) -> None:
        """Keyframes at these poses, looked for as those of passes are."""
        self.drive.unit = unit
        for T in poses:
            segment = self.pipeline.mapper.segment
            placed = self.drive.go(box, [T], segment=segment)[0]
            self.pipeline._keeper._hear(placed)
            assert self.pipeline._keeper.closer.wait_idle(20)

    def causes(self) -> list[str]:
        return [event.cause for event in self.events if isinstance(event, MapChanged)]

    def reason(self, code: str) -> str:
        texts = {one.code: one.text for one in self.pipeline.snapshot().reasons}
        return texts.get(code, "")

    def world_pose(self, number: int) -> np.ndarray:
        """True pose of a keyframe relative to the first of the map."""
        pose: np.ndarray = np.linalg.inv(self.drive.truth[1]) @ self.drive.truth[number]
        return pose


@pytest.fixture
def robots() -> Iterator[list[Robot]]:
    made: list[Robot] = []
    yield made
    for robot in made:
        robot.pipeline.stop()


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A room mapped once, its scale known."""
    robot = Robot()
    robot.go(ROOM, circuit(24))
    robot.pipeline._scale.restore(METRIC)
    path = robot.pipeline.save_map(tmp_path_factory.mktemp("maps") / "room").path
    robot.pipeline.stop()
    return path


def loaded(robots: list[Robot], path: Path) -> Robot:
    robot = Robot()
    robots.append(robot)
    text = robot.pipeline.load_map(path)
    assert "24 keyframes" in text
    robot.drive.begin()
    robot.drive.truth = dict(enumerate(circuit(24), start=1))
    return robot


def test_a_map_is_found_again_within_ten_keyframes_in_its_own_units(
    robots: list[Robot], saved: Path
) -> None:
    assert saved.suffix == ".g2map"
    robot = loaded(robots, saved)
    assert "not found" not in robot.reason("NOT_LOCALISED")
    assert robot.reason("NOT_LOCALISED")
    before = robot.pipeline.world
    assert len(before.keyframes) == 24
    assert not before.scale.metric, "metres before anybody knows where we are"
    robot.go(ROOM, [look(0.1 * k - 0.2, 0.2, 0.5 + 0.05 * k) for k in range(8)], unit=1.6)
    assert robot.causes()[:2] == ["loaded", "localized"]
    assert not robot.reason("NOT_LOCALISED")
    world = robot.pipeline.world
    assert {one.segment for one in world.keyframes} == {1}
    assert world.segment == 1
    assert world.version > before.version
    assert world.scale.log_scale == pytest.approx(METRIC.log_scale, abs=0.02)
    for placed in world.keyframes[24:]:
        T = robot.world_pose(placed.keyframe.number)
        assert np.linalg.norm(placed.T_map_body[:3, 3] - T[:3, 3]) < 0.15
        assert turn_deg(placed.T_map_body[:3, :3].T @ T[:3, :3]) < 5


def test_an_unknown_place_gets_an_honest_no(robots: list[Robot], saved: Path) -> None:
    robot = loaded(robots, saved)
    assert robot.pipeline.localize().T_map_body is None
    robot.go(Box(77), circuit(10))
    found = robot.pipeline.localize()
    assert found.T_map_body is None
    assert "not found with the newest 6 keyframes" in found.text
    assert robot.reason("NOT_LOCALISED")
    assert robot.causes() == ["loaded"]
    assert not robot.pipeline.world.scale.metric


def test_localize_looks_where_the_hint_says_and_elsewhere_where_that_is_wrong(
    robots: list[Robot], saved: Path
) -> None:
    for hint in (look(0, 0, 0), look(500, 0, 0)):
        robot = loaded(robots, saved)
        poses = [look(0.1 * k - 0.2, 0.2, 0.5 + 0.05 * k) for k in range(3)]
        robot.drive.go(ROOM, poses, segment=robot.pipeline.mapper.segment)
        found = robot.pipeline.localize(hint)
        assert found.T_map_body is not None, found.text
        assert "keyframes with" in found.text
        assert robot.causes() == ["loaded", "localized"]


def test_a_robot_that_is_already_there_is_told_where(robots: list[Robot], saved: Path) -> None:
    robot = loaded(robots, saved)
    robot.go(ROOM, [look(0.1 * k - 0.2, 0.2, 0.5 + 0.05 * k) for k in range(4)])
    robot.pipeline._scale.restore(METRIC)
    found = robot.pipeline.localize()
    assert found.T_map_body is not None
    if robot.pipeline.world.scale.metric:
        assert found.T_map_base is not None
        assert found.covariance_66 is not None


def test_a_map_of_another_model_changes_nothing(robots: list[Robot], saved: Path) -> None:
    runtime = ScriptedRuntime()
    info = dataclasses.replace(runtime.info, model_id="another-0")
    runtime.info = info
    robot = Robot(runtime)
    robots.append(robot)
    robot.go(ROOM, circuit(4))
    with pytest.raises(MapFileError, match="'another-0' runs"):
        robot.pipeline.load_map(saved)
    assert len(robot.pipeline.world.keyframes) == 4
    assert "another-0" in robot.reason("MAP_FILE_FAILED")


def test_a_map_of_another_camera_is_put_away_at_its_first_keyframe(
    robots: list[Robot], saved: Path
) -> None:
    robot = loaded(robots, saved)
    placed = robot.drive.go(ROOM, circuit(1), segment=robot.pipeline.mapper.segment)[0]
    view = placed.keyframe.views[0]
    other = dataclasses.replace(view, K=view.K * np.array([[1.3], [1.3], [1.0]]))
    keyframe = dataclasses.replace(placed.keyframe, views=(other,))
    robot.pipeline._keeper._hear(dataclasses.replace(placed, keyframe=keyframe))
    assert "another camera" in robot.reason("MAP_FILE_FAILED")
    assert not robot.reason("NOT_LOCALISED")
    assert len(robot.pipeline.world.keyframes) == 1
    closer = robot.pipeline._keeper.closer
    assert closer.wait_idle(20)
    assert closer.culler.megabytes == pytest.approx(placed.keyframe.nbytes / 1e6)
    assert len(closer.search._indices["words"]) == 1
    assert robot.causes() == ["loaded", "culled"]


def test_a_file_that_is_there_is_kept_unless_asked(
    robots: list[Robot], saved: Path, tmp_path: Path
) -> None:
    robot = Robot()
    robots.append(robot)
    with pytest.raises(MapFileError, match="nothing to save"):
        robot.pipeline.save_map(tmp_path / "empty")
    robot.go(ROOM, circuit(3))
    path = tmp_path / "room.g2map"
    path.write_bytes(b"of somebody else")
    with pytest.raises(MapFileError, match="there already"):
        robot.pipeline.save_map(path, overwrite=False)
    assert path.read_bytes() == b"of somebody else"
    done = robot.pipeline.save_map(path)
    assert (done.keyframes, done.bytes) == (3, path.stat().st_size)


def test_a_loaded_map_has_the_level_axes_of_its_file(robots: list[Robot], tmp_path: Path) -> None:
    """The segment that it takes the place of had the same number and other axes."""
    first, second = Robot(), Robot()
    robots += [first, second]
    first.pipeline.sense(Extrinsics("camera", mounted(tilt=0.2)))
    first.go(ROOM, circuit(24))
    before = first.pipeline.world
    assert before.up_source == "base"
    path = first.pipeline.save_map(tmp_path / "room").path
    second.pipeline.sense(Extrinsics("camera", mounted(tilt=-0.4)))
    second.go(Box(77), circuit(3))
    assert second.pipeline.world.segment == 1
    assert not np.allclose(second.pipeline.world.T_level_map, before.T_level_map)
    second.pipeline.load_map(path)
    second.drive.begin()
    second.go(ROOM, [look(0.1 * k - 0.2, 0.2, 0.5 + 0.05 * k) for k in range(8)])
    after = second.pipeline.world
    assert "localized" in second.causes()
    assert (after.segment, after.up_source) == (1, "base")
    np.testing.assert_allclose(after.T_level_map, before.T_level_map, atol=1e-9)


def test_a_reset_forgets_the_loaded_map(robots: list[Robot], saved: Path) -> None:
    robot = loaded(robots, saved)
    robot.pipeline.reset()
    assert not robot.reason("NOT_LOCALISED")
    assert not robot.pipeline.world.keyframes
    wait_for(lambda: len([e for e in robot.events if isinstance(e, SegmentStarted)]) == 3, 5.0)


def test_a_reset_forgets_which_way_was_up(robots: list[Robot]) -> None:
    """A map that is loaded later has segments of the same numbers, and maybe no axes of its own."""
    robot = Robot()
    robots.append(robot)
    robot.go(ROOM, circuit(2))
    assert robot.pipeline.world.segment in robot.pipeline._view._axes._levels
    robot.pipeline.reset()
    assert not robot.pipeline._view._axes._levels


def test_keyframes_that_are_culled_are_told_and_gone_from_everything(robots: list[Robot]) -> None:
    """The map's version stays: nothing of those that are kept has moved."""
    robot = Robot(map=MemoryOptions(max_memory_mb=1), loops=LoopOptions(enabled=False))
    robots.append(robot)
    robot.go(ROOM, circuit(66, turns=1.5))
    changes = [event for event in robot.events if isinstance(event, MapChanged)]
    culled = [event for event in changes if event.cause == "culled"]
    world, culler = robot.pipeline.world, robot.pipeline._keeper.closer.culler
    went = sum(int(event.text.split()[0]) for event in culled)
    assert went == culler.culled == 66 - len(world.keyframes) > 3
    assert f"{len(world.keyframes)} are kept in" in culled[-1].text
    assert [event.version for event in changes] == [world.version] * len(culled)
    kept = {placed.keyframe.number for placed in world.keyframes}
    named = {int(number) for event in culled for number in re.findall(r"\d+", event.text)[1:2]}
    assert named
    assert not named & kept
