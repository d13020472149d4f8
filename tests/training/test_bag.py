# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""`g2vlm dataset bag` and `check`: recordings of a known room to shards, and what is refused."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from g2vlm_replay.node.bag_writer import BagWriter
from g2vlm_training.dataset_cli import main
from g2vlm_training.datasets.bag import write_bags
from g2vlm_training.datasets.bag_frames import BagPlan
from g2vlm_training.datasets.base import Clip, DataError
from g2vlm_training.datasets.mixture import ClipPool
from g2vlm_training.datasets.recording import RecordingChoice, open_recorded
from g2vlm_training.datasets.shards import Shard

from g2vlm_model.interface.whole_files import only_writer
from tests.helpers import REPO, full_disk
from tests.replay.bags import NS, OPTICAL, Scribe, translation
from tests.training.layout_folders import Truth, make_truth, pinhole

FRAMES = 16
STEP_NS = NS // 5
PLAN = BagPlan(frames=5, gap_s=0.5, val_share=0.25)
BESIDE = translation(0.05, 0.01, -0.02)  # the depth sensor in the camera's axes


def say_nothing(line: str) -> None:
    """In the place of print."""


def write_drive(
    path: Path,
    *,
    poses: str = "truth",
    depth: str = "registered",
    info: bool = True,
    frames: int = FRAMES,
    change: Callable[[int, np.ndarray], np.ndarray] = lambda index, pose: pose,
) -> Truth:
    """A bag of the room: 16 frames at 5 Hz, poses and depth of some kind."""
    truth = make_truth(pinhole(55.0, 33.0, 22.5), frames=frames)
    mount = translation(0.1, 0.0, 0.3)
    sensor = make_truth(pinhole(30.0, 23.5, 17.5), (36, 48), frames)
    with BagWriter(path) as writer:
        scribe = Scribe(writer)
        scribe.tf("/tf_static", NS, "base", OPTICAL, mount)
        if depth.startswith("beside") and depth != "beside, no tf":
            scribe.tf("/tf_static", NS, OPTICAL, "depth_optical", BESIDE)
        for i, exact in enumerate(truth.T_world_cam):
            ns, pose = 10 * NS + i * STEP_NS, change(i, exact)
            T_world_base = pose @ np.linalg.inv(mount)
            if poses == "truth":
                scribe.pose("/ground_truth/pose", ns, pose)
            elif poses == "tf":
                scribe.tf("/tf", ns, "map", "odom", translation(0.3))
                scribe.tf("/tf", ns, "odom", "base", np.linalg.inv(translation(0.3)) @ T_world_base)
            elif poses == "odometry":
                scribe.odometry("/odom", ns, "base", T_world_base)
            if info:
                scribe.info("/camera/camera_info", ns, (48, 64), truth.K)
            scribe.image("/camera/image_raw", ns, truth.rgb[i], "rgb8")
            _write_depth(scribe, depth, ns, truth.depth[i], sensor_depth(exact, sensor.K))
            if depth.startswith("beside") and depth != "beside, no info":
                scribe.info("/depth/camera_info", ns, (36, 48), sensor.K)
    return truth


def sensor_depth(T_world_cam: np.ndarray, K: np.ndarray) -> np.ndarray:
    """Depth of the room as the sensor beside the camera sees it."""
    from tests.training.layout_folders import HALF

    pose = T_world_cam @ BESIDE
    v, u = np.mgrid[:36, :48]
    directions = np.stack([u, v, np.ones_like(u)], -1) @ np.linalg.inv(K).T @ pose[:3, :3].T
    return np.asarray(((np.sign(directions) * HALF - pose[:3, 3]) / directions).min(-1))


def _write_depth(
    scribe: Scribe, kind: str, ns: int, registered: np.ndarray, beside: np.ndarray
) -> None:
    if kind == "registered":
        scribe.image("/camera/depth", ns, registered.astype(np.float32), "32FC1")
    elif kind.startswith("beside"):
        scribe.image("/depth/depth", ns, beside.astype(np.float32), "32FC1", "depth_optical")
    elif kind == "metres as millimetres":
        scribe.image("/camera/depth", ns, registered.astype(np.uint16), "16UC1")
    elif kind == "millimetres as metres":
        scribe.image("/camera/depth", ns, (registered * 1000).astype(np.float32), "32FC1")


def written(path: Path, out: Path, plan: BagPlan = PLAN) -> dict[str, list[Clip]]:
    """Clips of the shards of one bag by split."""
    write_bags([path], out, plan, tell=say_nothing)
    return {
        split: [
            clip.read(range(len(clip)))
            for shard in sorted(out.glob(f"{split}-*.tar"))
            for clip in Shard(shard).clips
        ]
        for split in ("train", "val")
    }


def test_a_bag_becomes_what_training_reads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = write_drive(tmp_path / "drive")
    out = tmp_path / "out"
    words = [str(tmp_path / "drive"), "--out", str(out), "--frames", "5", "--gap", "0.5"]
    assert main(["bag", *words, "--val-share", "0.25"]) == 0
    said = capsys.readouterr().out
    assert "10 frames to train on, 4 to validate with; left out: 2 between training" in said
    pool = ClipPool(out, "train")
    assert [len(clip) for clip in pool.clips] == [5, 5]
    clip = pool.clips[1].read(range(5))
    np.testing.assert_allclose(clip.T_world_cam, truth.T_world_cam[5:10], atol=1e-6)
    np.testing.assert_allclose(clip.depth, truth.depth[5:10], rtol=1e-3)
    np.testing.assert_array_equal(clip.rgb, truth.rgb[5:10])
    np.testing.assert_allclose(clip.K, np.broadcast_to(truth.K, (5, 3, 3)))
    assert (clip.all_posed, clip.metric, clip.clean, clip.scene) == (True, True, False, None)
    told = json.loads((out / "bag.json").read_text())["recordings"][0]
    assert told["nearest_train_to_val_s"] == pytest.approx(0.6), "no frame of one near the other"
    assert told["agreement"] > 0.95
    page = (out / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 2
    assert "between training and validation" in page
    assert main(["check", str(out)]) == 0
    assert "3 sequences, 14 frames; 3 looked at, 0 whose" in capsys.readouterr().out


@pytest.mark.parametrize("poses", ["truth", "tf", "odometry"])
def test_poses_come_from_the_best_source_and_from_the_one_that_is_named(
    tmp_path: Path, poses: str
) -> None:
    truth = write_drive(tmp_path / "drive", poses=poses)
    for asked in ("auto", poses):
        recorded = open_recorded(tmp_path / "drive", RecordingChoice(asked))
        assert recorded.path_of_camera is not None
        assert recorded.path_of_camera.source == poses
        for pose, wanted in zip(recorded.poses, truth.T_world_cam, strict=True):
            assert pose is not None
            np.testing.assert_allclose(pose, wanted, atol=1e-6)
    other = {"truth": "odometry", "tf": "truth", "odometry": "tf"}[poses]
    with pytest.raises(DataError, match=r"drive has no (true poses|poses by)"):
        open_recorded(tmp_path / "drive", RecordingChoice(other))


@pytest.mark.slow
def test_a_map_of_its_own_gives_poses_where_nothing_else_does() -> None:
    """The room of the replay's yardstick, its truth not looked at: keyframes, up to scale."""
    room = REPO / "tests" / "data" / "room" / "room.mcap"
    truth = open_recorded(room, RecordingChoice("truth"))
    own = open_recorded(room, RecordingChoice("map", depth=False))
    assert own.path_of_camera is not None
    assert not own.path_of_camera.metric
    both = [i for i, pose in enumerate(own.poses) if pose is not None]
    assert len(both) >= 8
    mine, theirs = (
        np.stack([poses[i] for i in both])  # type: ignore[misc]
        for poses in (own.poses, truth.poses)
    )
    turn = np.linalg.inv(mine[:-1, :3, :3]) @ mine[1:, :3, :3]
    true_turn = np.linalg.inv(theirs[:-1, :3, :3]) @ theirs[1:, :3, :3]
    cosine = (np.trace(turn.transpose(0, 2, 1) @ true_turn, axis1=1, axis2=2) - 1) / 2
    assert np.degrees(np.median(np.arccos(cosine.clip(-1, 1)))) < 5


def test_depth_of_a_sensor_beside_the_camera_is_laid_over_it(tmp_path: Path) -> None:
    truth = write_drive(tmp_path / "drive", depth="beside")
    clips = written(tmp_path / "drive", tmp_path / "out")["train"]
    clip = clips[1]
    known = clip.depth > 0
    assert known.mean() > 0.6
    off = np.abs(clip.depth[known] / truth.depth[5:10][known] - 1)
    assert np.median(off) < 0.02, f"median {np.median(off):.3f}, mean {off.mean():.3f}"


@pytest.mark.parametrize(
    ("depth", "why"),
    [
        ("beside, no tf", "TF does not say where the sensor of /depth/depth sits"),
        ("beside, no info", "there is no CameraInfo beside /depth/depth"),
    ],
)
def test_depth_that_cannot_be_laid_over_is_left_out_and_said(
    tmp_path: Path, depth: str, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_drive(tmp_path / "drive", depth=depth)
    out = ["--out", str(tmp_path / "out"), "--frames", "5"]
    assert main(["bag", str(tmp_path / "drive"), *out]) == 0
    assert why in capsys.readouterr().out
    assert why in (tmp_path / "out" / "report.html").read_text()
    (clip, *_) = ClipPool(tmp_path / "out", "train").clips
    assert not clip.read(range(len(clip))).depth.any(), "posed frames without depth are kept"
    assert main(["check", str(tmp_path / "out")]) == 0


def test_frames_without_a_pose_are_taken_where_they_are_asked_for(tmp_path: Path) -> None:
    truth = write_drive(tmp_path / "drive", poses="none")
    nothing = dataclasses.replace(PLAN, choice=RecordingChoice("none"))
    with pytest.raises(DataError, match="no frame can be used: 16 no pose"):
        write_bags([tmp_path / "drive"], tmp_path / "a", nothing, tell=say_nothing)
    assert not any((tmp_path / "a").iterdir())
    clips = written(tmp_path / "drive", tmp_path / "b", dataclasses.replace(nothing, unposed=True))[
        "train"
    ]
    assert [len(clip) for clip in clips] == [5, 5]
    assert clips[0].posed is not None
    assert not clips[0].posed.any()
    assert (clips[0].T_world_cam == np.eye(4)).all()
    np.testing.assert_allclose(clips[0].depth, truth.depth[:5], rtol=1e-3)
    assert main(["check", str(tmp_path / "b")]) == 0


def test_several_bags_and_whole_ones_for_validation(tmp_path: Path) -> None:
    for name in "abc":
        write_drive(tmp_path / name, frames=8)
    paths = [tmp_path / name for name in "abc"]
    taken = write_bags(paths[:2], tmp_path / "out", PLAN, paths[2:], tell=say_nothing)
    found = [(len(one.frames("train")), len(one.frames("val"))) for one in taken]
    assert found == [(8, 0), (8, 0), (0, 8)]
    clips = {split: ClipPool(tmp_path / "out", split).clips for split in ("train", "val")}
    assert [len(clip) for clip in clips["train"]] == [4, 4, 4, 4]
    assert [len(clip) for clip in clips["val"]] == [4, 4]
    with pytest.raises(ValueError, match="given twice"):
        write_bags([paths[0], paths[0]], tmp_path / "two", PLAN, tell=say_nothing)


def test_frames_come_at_the_rate_without_holes_and_not_while_it_stands(tmp_path: Path) -> None:
    first = make_truth(pinhole(55.0, 33.0, 22.5), frames=1).T_world_cam[0]
    write_drive(tmp_path / "still", change=lambda i, pose: first if i < 4 else pose)
    left_out: Counter[str] = Counter()
    recorded = open_recorded(tmp_path / "still")
    from g2vlm_training.datasets.bag_frames import planned

    planned(recorded, PLAN, 0.0, left_out)
    assert left_out["the camera stood"] == 3
    left_out.clear()
    slow = planned(recorded, dataclasses.replace(PLAN, rate_hz=2.0), 0.0, left_out)
    stamps = recorded.stamps_ns[[i for run in slow for i in run.frames]]
    assert np.diff(stamps).min() >= 0.45 * NS
    assert sum(left_out.values()) + len(stamps) == FRAMES
    holed = dataclasses.replace(
        recorded, stamps_ns=recorded.stamps_ns + 3 * NS * (np.arange(FRAMES) >= 8)
    )
    runs = planned(holed, dataclasses.replace(PLAN, frames=48), 0.0, Counter())
    assert [run.frames[-1] for run in runs] == [7, 15]


def test_large_pictures_become_smaller_with_their_lens(tmp_path: Path) -> None:
    truth = write_drive(tmp_path / "drive")
    plan = dataclasses.replace(PLAN, width=32)
    clip = written(tmp_path / "drive", tmp_path / "out", plan)["train"][0]
    assert clip.size_hw == (24, 32)
    np.testing.assert_allclose(clip.K[0, 0, 0], truth.K[0, 0] / 2)
    assert main(["check", str(tmp_path / "out")]) == 0


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"info": False}, "has no intrinsics, expected a CameraInfo beside /camera/image_raw"),
        ({"depth": "metres as millimetres"}, "metres where millimetres are said"),
        ({"depth": "millimetres as metres"}, "these are millimetres, not metres"),
        ({"frames": 1}, "no frame can be used: 1 alone in time"),
    ],
)
def test_bags_that_cannot_be_used_are_refused(
    tmp_path: Path, options: dict[str, object], why: str
) -> None:
    write_drive(tmp_path / "drive", **options)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=why):
        write_bags([tmp_path / "drive"], tmp_path / "out", PLAN, tell=say_nothing)
    assert not any((tmp_path / "out").iterdir()), "nothing is left behind"


def test_poses_that_are_no_numbers_are_refused_by_name(tmp_path: Path) -> None:
    write_drive(tmp_path / "drive", change=lambda i, pose: pose if i != 3 else pose * np.nan)
    with pytest.raises(DataError, match="not finite"):
        open_recorded(tmp_path / "drive", RecordingChoice("truth"))


def test_an_empty_and_a_cut_off_bag(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with BagWriter(tmp_path / "empty") as writer:
        Scribe(writer).tf("/tf_static", NS, "base", OPTICAL, translation(0.1))
    with pytest.raises(DataError, match="no topic with colour frames"):
        write_bags([tmp_path / "empty"], tmp_path / "a", PLAN, tell=say_nothing)
    write_drive(tmp_path / "drive")
    (file,) = (tmp_path / "drive").glob("*.mcap")
    cut = tmp_path / "cut.mcap"
    cut.write_bytes(file.read_bytes()[: int(0.6 * file.stat().st_size)])
    assert main(["bag", str(cut), "--out", str(tmp_path / "b"), "--frames", "3"]) == 0
    said = capsys.readouterr().out
    assert "cut.mcap: 1 chunks are damaged and read in part" in said
    told = json.loads((tmp_path / "b" / "bag.json").read_text())["recordings"][0]
    assert 2 <= told["train"] < FRAMES
    (tmp_path / "junk.mcap").write_bytes(b"nothing of a bag")
    with pytest.raises(DataError, match="cannot be read as a bag"):
        write_bags([tmp_path / "junk.mcap"], tmp_path / "c", PLAN, tell=say_nothing)


def test_a_folder_in_use_is_left_alone(tmp_path: Path) -> None:
    write_drive(tmp_path / "drive")
    out = tmp_path / "out"
    out.mkdir()
    with only_writer(out), pytest.raises(BlockingIOError, match="another process writes there"):
        write_bags([tmp_path / "drive"], out, PLAN, tell=say_nothing)
    (out / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match="is not empty; give a folder that is, or a new one"):
        write_bags([tmp_path / "drive"], out, PLAN, tell=say_nothing)
    assert (out / "mine.txt").read_text() == "mine"


def test_a_full_disk_leaves_nothing_and_the_next_try_goes(tmp_path: Path) -> None:
    write_drive(tmp_path / "drive")
    with full_disk(50_000), pytest.raises(OSError, match="File too large"):
        write_bags([tmp_path / "drive"], tmp_path / "out", PLAN, tell=say_nothing)
    assert [path.name for path in tmp_path.iterdir()] == ["drive", "out"] or not any(
        (tmp_path / "out").iterdir()
    )
    write_bags([tmp_path / "drive"], tmp_path / "out", PLAN, tell=say_nothing)
    assert (tmp_path / "out" / "report.html").is_file()
