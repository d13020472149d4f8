# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""`g2vlm export check`: right exports pass, wrong ones are found, unusable input is explained."""

from __future__ import annotations

import json
import shutil
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from g2vlm_export.check_cli import main
from g2vlm_export.forms import onnx_forms
from g2vlm_export.reference import TorchReference
from onnx import numpy_helper

from g2vlm_model.cli import main as g2vlm
from g2vlm_model.model import G2VLM
from g2vlm_model.runtimes.export_folder import MANIFEST
from g2vlm_model.runtimes.vouched import file_sha256
from g2vlm_model.tokenizer import Tokenizer
from tests.exports import Exports


def _checked(*arguments: object, out: Path) -> tuple[int, dict[str, Any]]:
    code = main([*(str(one) for one in arguments), "--json", str(out)])
    return code, json.loads(out.read_text(encoding="utf-8"))


def _worst(report: dict[str, Any]) -> dict[tuple[str, str], float]:
    """Form and output -> share of the tolerance that the largest error takes."""
    worst: dict[tuple[str, str], float] = {}
    for row in report["rows"]:
        share = row["max_error"] / row["tolerance"] if row["tolerance"] else row["max_error"]
        key = (row["form"], row["name"])
        worst[key] = max(worst.get(key, 0.0), share)
    return worst


def test_nano_agrees_with_torch_on_real_pictures(
    nano_export: Path, data_folder: Path, tmp_path: Path
) -> None:
    pictures = data_folder / "7scenes_redkitchen"
    code, report = _checked(
        *(nano_export, "--pictures", pictures, "--windows", 3, "--step", 4),
        out=tmp_path / "report.json",
    )
    worst = _worst(report)
    assert code == 0, worst
    assert report["passed"]
    for form in ("onnx", "onnx streaming", "golden geometry", "golden expert"):
        for output in ("local_points", "rotation9", "translation", "keys", "values", "hidden"):
            assert worst[(form, output)] < 0.2, (form, output, worst[(form, output)])
    for output in ("text", "tokens", "probabilities"):
        assert ("answers", output) in worst, "the answers were not compared"
    cases = {row["case"] for row in report["rows"] if row["form"] == "onnx"}
    assert {"1x84x112", "2x112x84", "3x56x112", "4x112x112"} < cases
    assert sum(case.startswith("pictures") for case in cases) == 3


def test_torch_is_gone_before_a_graph_is_loaded(
    tiny_export: Path, exports: Exports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once they would take the memory of two models."""
    models: list[weakref.ref[G2VLM]] = []

    class Watched(TorchReference):
        def __init__(self, model: G2VLM, tokenizer: Tokenizer) -> None:
            super().__init__(model, tokenizer)
            models.append(weakref.ref(model))

    def forms(*how: Any) -> Any:
        assert [model() for model in models] == [None]
        return onnx_forms(*how)

    monkeypatch.setattr("g2vlm_export.torch_says.TorchReference", Watched)
    monkeypatch.setattr("g2vlm_export.check_cli.onnx_forms", forms)
    code, report = _checked(
        tiny_export, "--model", exports.tiny_model(), out=tmp_path / "report.json"
    )
    assert code == 0
    assert 0 < report["peak_rss_bytes"]["torch"] <= report["peak_rss_bytes"]["all"]


def test_a_changed_weight_is_found(tiny_export: Path, exports: Exports, tmp_path: Path) -> None:
    """One of many weights, by one percent: the hash is right, the numbers are not."""
    folder = shutil.copytree(tiny_export, tmp_path / "export")
    model = onnx.load(str(folder / "geometry.onnx"))
    weight = max(
        (one for one in model.graph.initializer if len(one.dims) == 2),
        key=lambda one: float(np.abs(numpy_helper.to_array(one)).sum()),
    )
    changed = numpy_helper.to_array(weight) * np.float32(1.01)
    weight.CopyFrom(numpy_helper.from_array(changed, weight.name))
    onnx.save(model, str(folder / "geometry.onnx"))
    _vouch(folder, "geometry.onnx")
    code, report = _checked(folder, "--model", exports.tiny_model(), out=tmp_path / "report.json")
    assert code == 1
    assert not report["passed"]
    failed = {row["form"] for row in report["rows"] if not row["passed"]}
    assert {"onnx", "golden geometry"} <= failed


def _vouch(folder: Path, name: str) -> None:
    """Put the hash of a changed file into the manifest."""
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    path = folder / name
    manifest["files"][name] = {"sha256": file_sha256(path), "bytes": path.stat().st_size}
    (folder / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")


def test_folders_of_exports_are_searched(
    tiny_export: Path,
    static_export: Path,
    exports: Exports,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One of them serves one size, orthogonalises, and has the operators of before opset 20."""
    for name, folder in (("static", static_export), ("free", tiny_export)):
        shutil.copytree(folder, tmp_path / "all" / name)
    model = exports.tiny_model()
    code, report = _checked(tmp_path / "all", "--model", model, out=tmp_path / "report.json")
    assert code == 0, report
    assert "| rotation " in capsys.readouterr().out
    cases: dict[str, set[str]] = {}
    for row in report["rows"]:
        cases.setdefault(Path(row["export"]).name, set()).add(row["case"])
    assert set(cases) == {"static", "free"}
    forms = {(Path(row["export"]).name, row["form"]) for row in report["rows"]}
    assert {(name, f"onnx{more}") for name in cases for more in ("", ", reconstruct")} <= forms
    assert "2x42x56" in cases["static"]
    assert len({case for case in cases["free"] if "x" in case}) >= 4


@pytest.mark.parametrize("cut", ["geometry.onnx", "goldens.safetensors", MANIFEST])
def test_damage_is_explained(
    tiny_export: Path, tmp_path: Path, cut: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(tiny_export, tmp_path / "export")
    content = (folder / cut).read_bytes()
    (folder / cut).write_bytes(content[: len(content) // 2])
    assert g2vlm(["export", "check", str(folder)]) == 2
    told = capsys.readouterr().err
    assert cut in told
    assert "export the model again" in told


def test_unusable_arguments_are_explained(
    tiny_export: Path, exports: Exports, tmp_path: Path
) -> None:
    with pytest.raises(FileNotFoundError, match="no export folder"):
        main([str(tmp_path / "nothing")])
    with pytest.raises(FileNotFoundError, match="is no export folder"):
        main([str(tmp_path)])
    with pytest.raises(ValueError, match="say with --model"):
        main([str(tiny_export)])
    with pytest.raises(ValueError, match="is an export of"):
        main([str(tiny_export), "--model", "nano"])
    model = str(exports.tiny_model())
    with pytest.raises(ValueError, match="--frames is 0"):
        main([str(tiny_export), "--model", model, "--pictures", str(tmp_path), "--frames", "0"])
    with pytest.raises(FileNotFoundError, match="give one that holds pictures"):
        main([str(tiny_export), "--model", model, "--pictures", str(tmp_path / "none")])
    (tmp_path / "broken.png").write_bytes(b"no picture")
    some = ["--pictures", str(tmp_path), "--frames", "1", "--windows", "1"]
    with pytest.raises(ValueError, match=r"broken\.png is no picture"):
        main([str(tiny_export), "--model", model, *some])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_engines_are_checked_on_the_device(
    nano_export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("G2VLM_CACHE", str(tmp_path / "cache"))
    assert g2vlm(["export", "tensorrt", "--onnx", str(nano_export), "--profile", "desktop"]) == 0
    code, report = _checked(nano_export, out=tmp_path / "report.json")
    worst = _worst(report)
    assert code == 0, worst
    assert ("tensorrt", "local_points") in worst, report["exports"]
