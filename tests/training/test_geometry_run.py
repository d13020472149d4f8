# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""`g2vlm evaluate geometry`: from data to files, and every way in which it can be refused."""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from g2vlm_training.datasets.base import Clip, DataError
from g2vlm_training.datasets.batch import batch_of, pixels_of
from g2vlm_training.datasets.views import model_clip
from g2vlm_training.evaluate.examine import Examiner
from g2vlm_training.evaluate.geometry_run import GeometryOptions, run_geometry
from g2vlm_training.evaluate.windows import Known, known_of, mean_depth_of, plan_windows, predict
from g2vlm_training.evaluate_cli import main
from g2vlm_training.gasp.gasp_heads import LayerTap
from g2vlm_training.gasp.gasp_readers import GeometricReader
from g2vlm_training.stages.tokens import nano_tokenizer
from PIL import Image

from g2vlm_model.generate import reconstruct, reconstruct_prefix
from g2vlm_model.tokenizer import prompt_ids
from tests.training.layout_folders import WRITERS
from tests.training.tiny import tiny_model

SIZE = (60, 80)
K = np.array([[70.0, 0, 39.5], [0, 70.0, 29.5], [0, 0, 1]])


class Wall:
    """A sequence in memory: a camera slides past a printed wall 2 m ahead."""

    def __init__(
        self,
        name: str = "wall",
        frames: int = 6,
        *,
        broken: int = -1,
        empty: bool = False,
        posed: bool = True,
    ) -> None:
        self.name, self.frames, self.broken, self.empty = name, frames, broken, empty
        self.posed = posed
        rng = np.random.default_rng(0)
        blocks = rng.integers(0, 255, (40, 80, 3), np.uint8)
        self.wall = np.asarray(Image.fromarray(blocks).resize((400, 200), Image.Resampling.BICUBIC))

    @property
    def size_hw(self) -> tuple[int, int]:
        return SIZE

    def __len__(self) -> int:
        return self.frames

    def read(self, frames: Sequence[int]) -> Clip:
        if self.broken in frames:
            raise DataError(f"{self.name}: frame {self.broken} is damaged")
        count = len(frames)
        poses = np.tile(np.eye(4), (count, 1, 1))
        poses[:, 0, 3] = [0.2 * k for k in frames]  # 7 pixels a frame at 2 m
        depth = np.full((count, *SIZE), 0.0 if self.empty else 2.0, np.float32)
        rgb = np.stack([self.wall[70:130, 50 + 7 * k : 130 + 7 * k] for k in frames])
        if not self.posed:
            poses[:] = np.eye(4)
        posed = np.full(count, self.posed)
        return Clip(rgb, depth, poses, np.tile(K, (count, 1, 1)), name=self.name, posed=posed)


@pytest.fixture(scope="module")
def examiner() -> Examiner:
    flat = torch.ones(6, 8)
    model = tiny_model(conv_stem=0).eval()
    prompts = prompt_ids(nano_tokenizer(700), model.config.tokens)
    return Examiner(model, prompts, flat, flat)


@pytest.mark.parametrize("isolate", [False, True])
def test_predictions_are_those_of_the_published_pass(isolate: bool) -> None:
    """Behind the reconstruct prompt; only where patches see patches alone it may be left out."""
    model = tiny_model(conv_stem=0, isolate_geometry=isolate).eval()
    prompts = prompt_ids(nano_tokenizer(700), model.config.tokens)
    window = batch_of([model_clip(Wall().read([0, 2, 4]), model.config)])
    with torch.no_grad():
        wanted = reconstruct(model, pixels_of(window.rgb_BN3HW), prompts)
        grid_hw = (window.grid[0] // 14, window.grid[1] // 14)
        bare = model.geometry_pass(model.encode_geometry(pixels_of(window.rgb_BN3HW)), grid_hw)
        bare_points = model.decode_geometry(bare.hidden_BNPD, grid_hw).local_points_BNHW3[0]
    said = predict(model, prompts, window)
    for mine, theirs in (
        (said.points_NHW3, wanted.local_points_BNHW3[0]),
        (said.T_world_cam_N44, wanted.T_world_cam_BN44[0]),
    ):
        off = (mine - theirs).abs()
        assert off.max() < 1e-5, f"max {off.max():.3g}, mean {off.mean():.3g}"
    assert bool((said.points_NHW3 - bare_points).abs().max() > 1e-4) == (not isolate)


def test_the_analysis_reads_behind_the_reconstruct_prompt() -> None:
    model = tiny_model(conv_stem=0, isolate_geometry=False).eval()
    prompts = prompt_ids(nano_tokenizer(700), model.config.tokens)
    reader = GeometricReader(model, prompts)
    window = batch_of([reader.sized(Wall().read([0, 2]))] * 2)
    with torch.no_grad(), LayerTap(reader.layers, projections=True) as tap:
        grid_hw = reader.read(window)
        heard = [tap.queries[layer.index] for layer in reader.layers]
    with torch.no_grad(), LayerTap(reader.layers, projections=True) as tap:
        tokens = model.encode_geometry(pixels_of(window.rgb_BN3HW))
        cache = reconstruct_prefix(model, prompts, 2)
        assert cache.length == len(prompts.reconstruct)
        model.geometry_pass(tokens, grid_hw, cache=cache)
        for layer, mine in zip(reader.layers, heard, strict=True):
            torch.testing.assert_close(mine, tap.queries[layer.index], atol=1e-5, rtol=0)
    with torch.no_grad(), LayerTap(reader.layers, projections=True) as tap:
        model.geometry_pass(tokens, grid_hw)
        last = reader.layers[-1].index
        assert bool((heard[-1] - tap.queries[last]).abs().max() > 1e-3)


def test_rows_and_numbers_of_a_known_scene(examiner: Examiner) -> None:
    options = GeometryOptions(frames=(1, 2, 3), windows=3, refined=2)
    tables = {table.frames: table for table in run_geometry(examiner, [Wall()], options)}
    rows = {row["row"]: row for row in tables[3].summary()}
    assert rows["head"]["windows"] == 3
    assert rows["head"]["pairs"] == 9
    assert rows["refined"]["windows"] == 2
    assert rows["mean-depth map"]["metrics"]["abs_rel"]["value"] < 1e-5
    assert rows["mean-depth map"]["metrics"]["normal_mean_deg"]["value"] < 1e-2
    assert rows["identity motion"]["metrics"]["rotation_median_deg"]["value"] < 0.1
    assert rows["identity motion"]["metrics"]["auc30"]["value"] == 0.0
    assert rows["best constant axis"]["metrics"]["rta5"]["value"] == 1.0
    assert set(rows) >= {"two-view, 80 px", "two-view, 56 px", "mean-depth map of these frames"}
    assert "head - mean-depth map" in " ".join(tables[3].gains())
    single = {row["row"] for row in tables[1].summary()}
    assert single == {"head", "mean-depth map", "mean-depth map of these frames"}


def test_refined_poses_hold_where_there_is_texture(examiner: Examiner) -> None:
    (table,) = run_geometry(examiner, [Wall()], GeometryOptions(frames=(2,), windows=2, refined=2))
    rows = {row["row"]: row for row in table.summary()}
    assert rows["refined"]["metrics"]["rotation_median_deg"]["value"] < 3.0
    assert (
        rows["refined"]["metrics"]["rotation_median_deg"]["value"]
        < (rows["head"]["metrics"]["rotation_median_deg"]["value"])
    )


def test_windows_that_cannot_be_read_are_counted(examiner: Examiner) -> None:
    options = GeometryOptions(frames=(2,), windows=10, refined=0)
    mixed = [Wall("good"), Wall("damaged", broken=1), Wall("dark", empty=True)]
    (table,) = run_geometry(examiner, mixed, options)
    assert len(table.scored) + len(table.refused) == 10
    reasons = " ".join(table.refused.values())
    assert "frame 1 is damaged" in reasons
    assert "depth is known for 0.0%" in reasons
    with pytest.raises(ValueError, match="none of 5 windows could be read"):
        run_geometry(examiner, [Wall(empty=True)], options)


def test_what_the_data_know_is_measured_and_the_rest_named(examiner: Examiner) -> None:
    options = GeometryOptions(frames=(1, 2), windows=2, refined=1)
    blind, lost = Wall("dark", empty=True), Wall("lost", posed=False)
    known = known_of([blind], 0)
    assert known == Known(depth=False, poses=True)
    assert known.unmeasured.startswith("these data know no depth: depth, points, normals")
    (table,) = run_geometry(examiner, [blind], options, known)
    rows = {row["row"]: set(row["metrics"]) for row in table.summary()}
    assert {"rotation_median_deg", "auc30", "rra5"} <= rows["head"] & rows["refined"]
    assert not {"abs_rel", "accuracy_mean", "normal_mean_deg", "matched"} & rows["head"]
    with pytest.raises(ValueError, match="single frames have no motion"):
        run_geometry(examiner, [blind], GeometryOptions(frames=(1,)), known)
    known = known_of([lost], 0)
    assert known == Known(depth=True, poses=False)
    single, pair = run_geometry(examiner, [lost], options, known)
    alone, both = ({r["row"]: set(r["metrics"]) for r in t.summary()} for t in (single, pair))
    assert {"abs_rel", "normal_mean_deg"} <= both["head"] & both["mean-depth map"]
    assert "accuracy_mean" in alone["head"], "points of a frame need no pose"
    assert not {"accuracy_mean", "rotation_median_deg", "matched"} & both["head"]
    with pytest.raises(ValueError, match=r"nothing can be measured: .*none has depth or a pose"):
        known_of([Wall(empty=True, posed=False)], 0)


def test_longer_windows_start_at_the_same_places() -> None:
    places = [
        [(plan.sequence.name, plan.frames[0]) for plan in plan_windows(walls, n, 2, 5, 7, 3)]
        for walls in [[Wall("a", 9), Wall("b", 9)]]
        for n in (2, 3)
    ]
    assert places[0] == places[1]
    assert plan_windows([Wall(frames=9)], 3, 2, 1, 7)[0].frames[1:] != ()


@pytest.mark.parametrize(
    ("frames", "stride", "words"),
    [(7, 1, "longest of 1 sequences has 6"), (3, 3, "spans 7 frames"), (0, 1, "at least 1")],
)
def test_windows_that_do_not_fit_are_refused(frames: int, stride: int, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        plan_windows([Wall()], frames, stride, 1, 0)


def test_mean_depth_of_frames_leaves_out_what_is_unknown(examiner: Examiner) -> None:
    config = examiner.model.config
    own = mean_depth_of([Wall(), Wall("damaged", broken=1)], config, seed=0)
    torch.testing.assert_close(own, torch.ones_like(own))
    with pytest.raises(ValueError, match="depth is known in none"):
        mean_depth_of([Wall(empty=True)], config, seed=0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tum")
    WRITERS["tum"](root)
    return root


def test_command_writes_numbers_windows_and_report(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "out"
    words = ["geometry", "--dataset", "tum", "--root", str(folder), "--frames", "1,2"]
    assert main([*words, "--windows", "2", "--refine-windows", "1", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "2 frames: 2 windows of 1 sequences" in said
    assert "not a learned result" in said
    content = json.loads((out / "geometry.json").read_text())
    head = content["tables"][1]["rows"][0]
    assert head["row"] == "head"
    value = head["metrics"]["abs_rel"]
    assert value["low"] <= value["value"] <= value["high"]
    with (out / "windows.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    mine = [
        float(line["abs_rel"]) for line in lines if (line["frames"], line["row"]) == ("2", "head")
    ]
    assert np.mean(mine) == pytest.approx(value["value"], rel=1e-4)
    report = (out / "report.html").read_text()
    assert report.count("data:image/png;base64,") >= 3
    assert not re.search(r"(src|href)=\"http", report)
    assert f"{value['value']:.3f}" in report
    assert main(["tables", str(out / "geometry.json"), "--metrics", "abs_rel", "--interval"]) == 0
    said = capsys.readouterr().out
    assert f"| head | 2 | {value['value']:.3f} ({value['low']:.3f} to" in said
    assert "| head | 1 frames | 2 frames |" in said


def test_a_report_that_cannot_be_drawn_is_refused_before_the_work(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "g2vlm_training.evaluate.geometry_report", raising=False)
    monkeypatch.setitem(sys.modules, "jinja2", None)
    words = ["geometry", "--dataset", "tum", "--root", str(folder), "--out", str(tmp_path / "out")]
    with pytest.raises(ValueError, match=r"jinja2 is missing: pip install 'g2vlm_ros\[train\]'"):
        main(words)
    assert not (tmp_path / "out").exists()


def test_numbers_are_kept_where_drawing_fails(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("g2vlm_training.evaluate.geometry_report.write_report", fails)
    words = ["geometry", "--dataset", "tum", "--root", str(folder), "--frames", "2"]
    with pytest.raises(OSError, match="no space left"):
        main([*words, "--windows", "1", "--refine-windows", "0", "--out", str(tmp_path)])
    assert json.loads((tmp_path / "geometry.json").read_text())["tables"]
    assert len((tmp_path / "windows.csv").read_text().splitlines()) > 5


def test_command_prints_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["geometry", "--dataset", "tum", "--root", str(folder), "--frames", "2"]
    assert main([*words, "--windows", "1", "--refine-windows", "0", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["model"].startswith("nano@")
    assert [table["frames"] for table in content["tables"]] == [2]


def test_tables_refuse_other_files(tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    other.write_text("[1, 2]")
    with pytest.raises(ValueError, match=r"is no geometry\.json"):
        main(["tables", str(other)])


def test_command_refuses_bad_input(folder: Path, tmp_path: Path) -> None:
    words = ["geometry", "--root", str(folder), "--windows", "1"]
    with pytest.raises(ValueError, match="--dataset is 'kitti', expected synthetic or one of"):
        main([*words, "--dataset", "kitti"])
    with pytest.raises(ValueError, match="lower --frames or --stride"):
        main([*words, "--dataset", "tum", "--frames", "50"])
    with pytest.raises((FileNotFoundError, DataError)):
        main([*words, "--dataset", "scannet"])
    with pytest.raises(FileNotFoundError):
        main(["geometry", "--root", str(tmp_path / "missing")])
    with pytest.raises(SystemExit):
        main([*words, "--dataset", "tum", "--frames", "2,many"])
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with pytest.raises(OSError, match="file"):
        main([*words, "--dataset", "tum", "--out", str(blocked / "out")])
