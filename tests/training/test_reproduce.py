# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The harness of the paper's comparisons: studies, runs that are kept, verdicts, one encoder."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from g2vlm_training.datasets.batch import DEVIATION, MEAN
from g2vlm_training.reproduce.cli import main
from g2vlm_training.reproduce.single_encoder import SharedEncoder, share_encoder
from g2vlm_training.reproduce.study import Metric, load_study, study_names
from g2vlm_training.reproduce.table import study_table, verdict
from g2vlm_training.run.resume import differences
from g2vlm_training.run.start import runs_of

from g2vlm_model.checkpoint import load_model, resolve_folder
from g2vlm_model.config import ModelConfig
from g2vlm_model.preprocess import semantic_rows
from tests.training.tiny import tiny_model

STUDY = """
asks: Which is it?
paper: the first one.
base:
  windows: [[2, 2]]
  log_steps: 1
  model:
    {text: {num_hidden_layers: 2}, vit: {depth: 1}, dino: {num_hidden_layers: 1}}
phases:
  geometry: {steps: 2}
  answers: {stage: semantic, steps: 1, questions: 4}
variants:
  one: {}
  other: {phases: [geometry]}
  shared: {shared_encoder: true}
metrics:
  abs_rel: {lower: true}
"""


def test_shipped_studies_are_read_and_differ_where_they_say() -> None:
    assert {"attention", "encoders", "objectives", "options", "pretraining"} <= set(study_names())
    for name in study_names():
        study = load_study(name)
        assert len({str(variant) for variant in study.variants}) == len(study.variants) >= 2
    options = load_study("options")
    (_, config), *_ = options.variants[0].phases
    assert config.model.match_width > 0
    off = {variant.name: variant.phases[0][1] for variant in options.variants}
    assert off["no match injection"].model.match_width == 0
    assert off["no correspondence"].extra.correspondence == 0.0


@pytest.mark.parametrize("name", ["gasp", "gasp_rank", "gasp_layers"])
def test_lines_of_gasps_studies_differ_in_the_supervision_alone(name: str) -> None:
    """Same start, data, steps and questions; else they would compare something else too."""
    study = load_study(name)
    assert len({variant.start for variant in study.variants}) == 1
    shipped = ModelConfig.from_folder(resolve_folder(study.variants[0].start))
    first, *others = [dataclasses.asdict(variant.phases[0][1]) for variant in study.variants]
    assert first["gasp"]["together"], "lines see equal windows and questions"
    for variant, other in zip(study.variants[1:], others, strict=True):
        keys = {key for key, *_ in differences(first, other)}
        assert keys, variant.name
        assert all(key.startswith(("gasp.", "lora.")) for key in keys), (variant.name, keys)
        assert other["gasp"]["together"]
    assert all(phases[0][1].model == shipped for phases in (v.phases for v in study.variants))
    assert study.variants[0].phases == load_study("gasp").variants[0].phases, "trained once for all"


OPTIONS_STUDY = """
asks: Does it do as it is told?
paper: it should.
base: {windows: [[1, 2]], log_steps: 1, questions: 4, steps: 1, stage: semantic}
phases:
  answers: {}
variants:
  plain: {}
  tasks: {change: {tasks: [turn]}}
  precision: {change: {precision: bf16}}
  probing: {change: {probing: 0.5}}
  recompute: {change: {recompute: true}}
metrics:
  answer_loss: {lower: true}
"""


def test_a_study_trains_as_its_lines_say(tiny_shards: Path, tmp_path: Path) -> None:
    file = tmp_path / "options.yaml"
    file.write_text(OPTIONS_STUDY)
    command = ["--data", str(tiny_shards), "--out", str(tmp_path), "--studies", str(file)]
    assert main([*command, "--seeds", "1", "--windows", "1", "--clips", "3"]) == 0
    lines = {
        path.stem.removesuffix("-1"): json.loads(path.read_text())["measured"]
        for path in (tmp_path / "options").glob("*.json")
    }
    losses = {name: line["answers.train_loss"] for name, line in lines.items()}
    assert losses["tasks"] != losses["plain"], "other questions"
    assert losses["precision"] != losses["plain"]
    assert losses["precision"] == pytest.approx(losses["plain"], rel=0.02)
    assert losses["recompute"] == losses["plain"]
    assert {name for name, line in lines.items() if "answers.train_probe" in line} == {"probing"}
    file.write_text(OPTIONS_STUDY.replace("questions: 4", "sources: [{layout: tum}]"))
    with pytest.raises(ValueError, match="sources is set, but the windows of a study come from"):
        load_study(str(file))


GASP_STUDY = """
asks: Does it match?
paper: yes.
start: nano
base: {windows: [[1, 3]], log_steps: 1, questions: 2, warmup: 1, precision: fp32}
phases:
  gasp: {stage: gasp, steps: 2, gasp: {grids: [4], queries: 1.0}, lora: {rank: 4}}
variants:
  matches: {}
  questions only: {change: {gasp: {language: 1.0}}}
metrics:
  pck: {lower: false}
"""


def test_a_study_of_gasp_measures_matches_and_categories(tiny_shards: Path, tmp_path: Path) -> None:
    file = tmp_path / "matching.yaml"
    file.write_text(GASP_STUDY)
    command = [
        *("--data", str(tiny_shards), "--out", str(tmp_path / "out"), "--studies", str(file)),
        *("--seeds", "1", "--windows", "1", "--clips", "3", "--width", "56", "--height", "42"),
    ]  # fmt: skip
    assert main(command) == 0
    measured = {
        path.stem: json.loads(path.read_text())["measured"]
        for path in (tmp_path / "out" / "matching").glob("*.json")
    }
    one, other = measured["matches-1"], measured["questions-only-1"]
    assert 0 < one["pck_chance"] < 1
    assert one["left_gap"] == 2
    assert {"pck_0", "pck_3", "pck_far", "correlation"} <= set(one)
    assert {"answers_all", "answers_multi_view"} <= set(one)
    assert one["gasp.train_query_match"] > 0
    assert "gasp.train_query_match" not in other
    assert one["abs_rel"] == other["abs_rel"], "neither may change the geometry"


def test_lines_are_trained_once_and_kept(
    tiny_shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "which.yaml"
    file.write_text(STUDY)
    command = [
        *("--data", str(tiny_shards), "--out", str(tmp_path / "out"), "--studies", str(file)),
        *("--seeds", "4", "--windows", "2", "--clips", "3"),
    ]  # fmt: skip
    assert main(command) == 0
    results = {path.name: path for path in (tmp_path / "out" / "which").glob("*.json")}
    assert set(results) == {"one-4.json", "other-4.json", "shared-4.json"}
    one = json.loads(results["one-4.json"].read_text())["measured"]
    other = json.loads(results["other-4.json"].read_text())["measured"]
    assert one["abs_rel"] == other["abs_rel"] > 0, "the phase that both have is the same run"
    assert one["answer_loss"] > 0
    assert "answer_loss" not in other
    shared = json.loads(results["shared-4.json"].read_text())["measured"]
    assert shared["parameters"] < one["parameters"]
    assert shared["answer_loss"] > 0
    assert len(list((tmp_path / "out" / "runs").iterdir())) == 4
    changed = {path: path.stat().st_mtime_ns for path in results.values()}
    assert main(command) == 0
    assert changed == {path: path.stat().st_mtime_ns for path in results.values()}
    assert "| one | 1 |" in capsys.readouterr().out
    assert main([*command, "--models"]) == 0
    folders = tmp_path / "out" / "models" / "which"
    assert {path.name for path in folders.iterdir()} == {"one-4", "other-4"}, (
        "no layout for one encoder"
    )
    model, _ = load_model(folders / "one-4")
    assert sum(p.numel() for p in model.parameters()) == one["parameters"]
    assert json.loads(runs_of(folders / "one-4")["semantic"])["steps"] == 1
    with pytest.raises(ValueError, match=r"one-4\.json was made with another"):
        main([*command, "--scale", "2"])


def test_what_was_not_measured_is_a_dash() -> None:
    study = load_study("options")
    first, second = (variant.name for variant in study.variants[:2])
    table = study_table(study, {first: [{"abs_rel": 0.25}], second: [{"abs_rel": 0.5}]})
    assert f"| {first} | 1 | 0.250 | - |" in table
    assert "abs_rel: yes" in table
    assert "auc30: not shown" in table


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("asks: Which is it?", r"expected the keys .*'asks'"),
        ("abs_rel: {lower: true}", "no metrics, a comparison needs"),
        ("phases: [geometry]", "no phase 'geometric'"),
        (
            "  other: {phases: [geometry]}\n  shared: {shared_encoder: true}",
            "1 variant, a comparison",
        ),
    ],
)
def test_wrong_studies_are_refused(tmp_path: Path, change: str, says: str) -> None:
    replaced = {
        "asks: Which is it?": "",
        "abs_rel: {lower: true}": "",
        "phases: [geometry]": "phases: [geometric]",
    }.get(change, "")
    file = tmp_path / "wrong.yaml"
    file.write_text(STUDY.replace(change, replaced))
    with pytest.raises(ValueError, match=says):
        load_study(str(file))
    with pytest.raises(FileNotFoundError, match="attention"):
        load_study("gravity")


def test_a_verdict_needs_every_seed() -> None:
    error, score = Metric("error", lower=True), Metric("score", lower=False)
    assert verdict(error, [1.0, 1.2], [1.3, 1.4]) == "yes"
    assert verdict(error, [1.0, 1.35], [1.3, 1.4]) == "not shown"
    assert verdict(score, [1.0, 1.2], [1.3, 1.4]) == "no"


def test_one_encoder_sees_what_the_semantic_one_sees() -> None:
    """Rows of a picture through either door give the same patches, in their own order."""
    model = tiny_model()
    shared = SharedEncoder(model.vit)
    picture = np.random.default_rng(0).integers(0, 255, (56, 56, 3), np.uint8)
    pixels = torch.from_numpy(picture).permute(2, 0, 1).float() / 255
    pixels = (pixels - torch.tensor(MEAN)[:, None, None]) / torch.tensor(DEVIATION)[:, None, None]
    seen: list[torch.Tensor] = []
    model.vit.patch_embed.register_forward_hook(lambda module, args, out: seen.append(out))
    rows = semantic_rows(model.config, [picture])
    with torch.no_grad():
        tokens = shared(pixels[None, None])
        model.vit(rows.rows_NRC, rows.grid_hw)
    torch.testing.assert_close(seen[0], seen[1], atol=1e-4, rtol=1e-4)
    assert tokens.shape == (1, 1, 16, 32)
    changed = pixels.clone()
    changed[:, 30:40, 5:10] += 1.0
    shared.vit.blocks = torch.nn.ModuleList()
    with torch.no_grad():
        moved = (shared(changed[None, None]) - shared(pixels[None, None])).abs().amax(-1)[0, 0]
    assert moved.nonzero().flatten().tolist() == [8]


def test_one_encoder_has_one_set_of_weights() -> None:
    model = tiny_model()
    share_encoder(model)
    names = [name for name, _ in model.named_parameters()]
    assert any(name.startswith("dino.vit.") for name in names)
    assert not any(name.startswith("vit.") for name in names)
