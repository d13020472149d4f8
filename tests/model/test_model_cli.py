# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""`g2vlm model`: what it says of sound models, and of others."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from g2vlm_model.checkpoint import model_id, model_on_meta
from g2vlm_model.cli import main as g2vlm
from g2vlm_model.config import ModelConfig
from g2vlm_model.interface import FrameWindow
from g2vlm_model.model_cli import OTHER, PARTS, describe, main, part_of
from g2vlm_model.model_folder import WEIGHTS_FILE
from g2vlm_model.runtimes import load_runtime
from g2vlm_model.runtimes.trial_frames import trial_window
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


def test_files_of_two_models(
    small: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Headers say it: no weight is read, nothing is written."""
    folder = shutil.copytree(small, tmp_path / "model")
    text = json.loads((folder / "text_config.json").read_text())
    monkeypatch.chdir(tmp_path)
    changes = {
        "vocab_size": (250, "tokens, text_config.json says vocab_size 250"),
        "num_hidden_layers": (3, "missing language_model.model.layers.2."),
    }
    for name, (value, said) in changes.items():
        (folder / "text_config.json").write_text(json.dumps(text | {name: value}))
        for words in (["model", "info"], ["export", "onnx", "--out", "out", "--model"]):
            assert g2vlm([*words, str(folder)]) == 2
            assert said in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"model"}


def test_a_sound_model(small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "report.json"
    assert main(["verify", str(small), "--device", "cpu", "--out", str(out)]) == 0
    assert "it answers: ok" in capsys.readouterr().out
    report = json.loads(out.read_text())
    assert report["sound"]
    assert report["model"]["model_id"] == model_id(small)
    assert report["runs"]["precision"] == "fp32"
    assert set(report["norms"]) == set(PARTS)
    assert report["checks"].pop("the published code agrees").startswith("skipped: no --published")
    assert set(report["checks"].values()) == {"ok"}
    held = report["rss_bytes"]
    assert 0 < held["loaded"] <= held["loading"] <= held["peak"]
    assert report["seconds"].keys() == report["cpu_seconds"].keys() == {
        "load", "observe", "observe one, known", "observe one, new", "answer", "answer again",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--precision", "fp61"], "precision is 'fp61', expected auto, fp32"),
        (["--device", "gpu"], "device is 'gpu', expected auto, cpu, cuda or cuda:N"),
        (["--device", "cpu", "--precision", "fp16"], "does not compute in; choose auto"),
        (["--out", "."], "--out is ., a folder; give a file"),
        (["--out", "/proc/report.json"], "/proc"),
    ],
)
def test_words_that_are_wrong_say_nothing_of_a_model(
    small: Path,
    words: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """And are said before anything is loaded."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("g2vlm_model.model_verify._loaded", None)
    assert g2vlm(["model", "verify", str(small), *words]) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


NAME = "language_model.model.layers.1.mlp_moe_geo.up_proj.weight"


def zero(tensors: dict[str, torch.Tensor]) -> None:
    tensors[NAME].zero_()


def blind(tensors: dict[str, torch.Tensor]) -> None:
    tensors["dino2llm.weight"].mul_(1e-12)


def nan(tensors: dict[str, torch.Tensor]) -> None:
    tensors[NAME][0, 0] = torch.nan


def infinite(tensors: dict[str, torch.Tensor]) -> None:
    tensors[NAME][0, 0] = torch.inf


def whole_numbers(tensors: dict[str, torch.Tensor]) -> None:
    tensors[NAME] = torch.ones_like(tensors[NAME], dtype=torch.int32)


def of_another_size(tensors: dict[str, torch.Tensor]) -> None:
    tensors[NAME] = tensors[NAME][:, :-1].contiguous()


@pytest.mark.parametrize(
    ("damage", "check", "words"),
    [
        (zero, "weights", f"never trained: {NAME}"),
        (blind, "the picture matters", "another one has the same depth"),
        (nan, "weights", f"NaN or infinity in {NAME}"),
        (infinite, "loads", f"holds weights from -.* to inf in {NAME}"),
        (whole_numbers, "files", f"holds {NAME} as I32, weights must be one of"),
        (of_another_size, "files", rf"{NAME} is \[96, 63\], the configs say \[96, 64\]"),
    ],
)
def test_models_that_are_not_sound(
    small: Path,
    tmp_path: Path,
    damage: Callable[[dict[str, torch.Tensor]], None],
    check: str,
    words: str,
) -> None:
    """Each has its report all the same."""
    folder = shutil.copytree(small, tmp_path / "model")
    tensors = load_file(str(folder / WEIGHTS_FILE))
    damage(tensors)
    save_file(tensors, str(folder / WEIGHTS_FILE))
    out = tmp_path / "report.json"
    assert main(["verify", str(folder), "--device", "cpu", "--out", str(out)]) == 1
    report = json.loads(out.read_text())
    assert re.search(words, report["checks"][check]), report["checks"]
    assert not report["sound"]


def recon(folder: Path, pictures: list[NDArray[np.uint8]]) -> dict[str, NDArray[Any]]:
    """Stands for the published code: the same geometry, in a world that is no camera's."""
    frames = trial_window(2, *pictures[0].shape[:2]).frames
    assert all((frame.image == one).all() for frame, one in zip(frames, pictures, strict=True))
    runtime = load_runtime("torch", folder, "cpu", prompt_mode="published")
    geometry = runtime.observe(FrameWindow(frames)).geometry
    runtime.close()
    T_any_world = np.eye(4)
    T_any_world[:3] = [[0, -1, 0, 3], [1, 0, 0, -2], [0, 0, 1, 1]]
    poses = T_any_world @ geometry.T_world_cam
    return {"local_points": geometry.local_points[None], "camera_poses": poses[None]}


def recon_of_another(folder: Path, pictures: list[NDArray[np.uint8]]) -> dict[str, NDArray[Any]]:
    found = recon(folder, pictures)
    return found | {"local_points": 1.1 * found["local_points"]}


def test_the_published_code_is_compared(small: Path, tmp_path: Path) -> None:
    out, name = tmp_path / "report.json", "the published code agrees"
    words = ["verify", str(small), "--device", "cpu", "--out", str(out), "--published"]
    assert main([*words, f"{__name__}:recon"]) == 0
    report = json.loads(out.read_text())
    assert report["checks"][name] == "ok"
    assert report["runs"]["prompt"] == "published"
    assert report["published_code"]["points_relative_max"] < 1e-5
    assert report["published_code"]["rotation_deg"] < 0.05
    assert main([*words, f"{__name__}:recon_of_another"]) == 1
    assert re.match(r"its points are 1\d\.\d+% of", json.loads(out.read_text())["checks"][name])
    for wrong in ("no.such.module:recon", f"{__name__}:nothing", __name__):
        assert g2vlm(["model", *words, wrong]) == 2


def test_the_frames_of_a_trial_are_always_the_same() -> None:
    one, two = trial_window(2, 224, 224), trial_window(2, 224, 224, shift=50)
    assert [int(frame.image.sum()) for frame in one.frames] == [19198137, 19186134]
    assert (one.frames[0].image != two.frames[0].image).mean() > 0.9
    assert (one.frames[0].image[:, 12:] == one.frames[1].image[:, :-12]).all()
