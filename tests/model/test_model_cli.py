# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""`g2vlm model`: what it says of sound models, and of others."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from g2vlm_model.checkpoint import model_id, model_on_meta
from g2vlm_model.cli import main as g2vlm
from g2vlm_model.config import ModelConfig
from g2vlm_model.model_cli import OTHER, PARTS, describe, frames_of_a_test, main, part_of
from g2vlm_model.model_folder import WEIGHTS_FILE
from tests.runtimes.model_folders import small_config, write_model


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "small", small_config())


def test_every_weight_of_the_published_model_belongs_to_a_part() -> None:
    names = [name for name, _ in model_on_meta(ModelConfig.g2vlm_2b()).named_parameters()]
    assert {part_of(name) for name in names} == set(PARTS)
    assert part_of("match.read.weight") == OTHER


def test_info(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert g2vlm(["model", "info", str(small)]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{model_id(small)}: 0.5 M weights, ")
    assert "geometric expert" in said
    assert "other than published: mark_style text" in said
    assert "no calibration.json" in said
    assert " fits" in said
    assert g2vlm(["model", "info", "--json", str(small)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads(json.dumps(describe(str(small)))) | {"fits": found["fits"]}
    assert sum(found["parts"].values()) == found["weights"]


def test_what_is_no_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert g2vlm(["model", "info", str(tmp_path)]) == 2
    assert "text_config.json is missing" in capsys.readouterr().err
    assert g2vlm(["model", "fetch", str(tmp_path / "nowhere")]) == 2
    assert "no model folder" in capsys.readouterr().err


def test_a_sound_model(small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "report.json"
    assert main(["verify", str(small), "--device", "cpu", "--out", str(out)]) == 0
    assert "it answers: ok" in capsys.readouterr().out
    report = json.loads(out.read_text())
    assert report["sound"]
    assert report["model"]["model_id"] == model_id(small)
    assert report["runs"]["precision"] == "fp32"
    assert set(report["norms"]) == set(PARTS)
    assert report["seconds"].keys() == {"load", "observe", "answer"}


def zero(tensors: dict[str, torch.Tensor]) -> None:
    tensors["language_model.model.layers.1.mlp_moe_geo.up_proj.weight"].zero_()


def blind(tensors: dict[str, torch.Tensor]) -> None:
    tensors["dino2llm.weight"].mul_(1e-12)


@pytest.mark.parametrize(
    ("damage", "check", "words"),
    [
        (zero, "weights", "never trained: language_model.model.layers.1.mlp_moe_geo.up_proj"),
        (blind, "the picture matters", "another one has the same depth"),
    ],
)
def test_models_that_are_not_sound(
    small: Path,
    tmp_path: Path,
    damage: Callable[[dict[str, torch.Tensor]], None],
    check: str,
    words: str,
) -> None:
    folder = shutil.copytree(small, tmp_path / "model")
    tensors = load_file(str(folder / WEIGHTS_FILE))
    damage(tensors)
    save_file(tensors, str(folder / WEIGHTS_FILE))
    out = tmp_path / "report.json"
    assert main(["verify", str(folder), "--device", "cpu", "--out", str(out)]) == 1
    assert json.loads(out.read_text())["checks"][check].startswith(words)


def test_the_frames_of_a_test_are_always_the_same() -> None:
    one, two = frames_of_a_test(), frames_of_a_test(shift=50)
    assert [int(frame.image.sum()) for frame in one.frames] == [19198137, 19186134]
    assert (one.frames[0].image != two.frames[0].image).mean() > 0.9
    assert (one.frames[0].image[:, 12:] == one.frames[1].image[:, :-12]).all()
