# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""`g2vlm export onnx`: the folder, what is refused, and that nothing half-written is left."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from g2vlm_export import cli
from g2vlm_export.export_onnx import Exporter, export_onnx
from g2vlm_export.manifest import replaced_folder, save_goldens
from g2vlm_export.to_onnx import ExportOptions

from g2vlm_model.checkpoint import load_model, save_model
from g2vlm_model.mot import MixtureLayer
from g2vlm_model.runtimes.export_folder import MANIFEST, ExportFolder, Golden
from tests.exports import Exports
from tests.helpers import full_disk
from tests.runtimes.model_folders import small_config

STATIC = "2,42,56"


@pytest.fixture
def model(exports: Exports) -> Path:
    return exports.tiny_model()


def run(*words: object) -> int:
    return cli.main(["onnx", *map(str, words)])


@pytest.mark.slow
def test_the_command_writes_a_folder_and_tells_how_far_it_is(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "deep" / "out"
    assert run("--model", model, "--out", out, "--static", STATIC, "--progress", "json") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    fractions = [line["fraction"] for line in lines]
    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[-1]) == (0.0, 1.0)
    assert [line["stage"] for line in lines][:3] == [
        "computing goldens",
        "loading the model",
        "tracing",
    ]
    assert lines[-1]["seconds_left"] == 0.0
    folder = ExportFolder.open(out)
    assert {path.name for path in out.iterdir()} == {MANIFEST, *folder.manifest.files}
    assert {"geometry.onnx", "text_config.json", "tokenizer.json"} <= set(folder.manifest.files)
    assert not [path for path in out.parent.iterdir() if path != out]
    content = folder.graph("geometry").read_bytes()
    assert b"g2vlm_model" not in content, "the graph holds paths of the source code"
    assert len(folder.manifest.largest) == 8
    assert 2e5 < folder.manifest.parameters < 3e5
    assert run("--model", model, "--out", out, "--static", STATIC) == 2
    assert "--force" in capsys.readouterr().err
    assert ExportFolder.open(out).digest == folder.digest


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--parts", "kv"], "the others build on geometry: add it"),
        (["--parts", "geometry,colour"], "expected some of"),
        (["--parts", "geometry,semantic"], "add kv"),
        (["--static", "2,42"], "expected N,H,W such as 4,84,112"),
        (["--static", "2,43,56"], "multiples of the patch 14"),
        (["--static", "0,42,56"], "at least one frame"),
        (["--model", "nowhere"], "no model folder nowhere"),
    ],
)
def test_bad_arguments_are_explained(
    model: Path,
    tmp_path: Path,
    words: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("--model", model, "--out", tmp_path / "out", *words) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_an_opset_that_there_is_not_is_refused() -> None:
    with pytest.raises(SystemExit, match="2"):
        run("--out", "out", "--opset", "17")
    with pytest.raises(ValueError, match=r"opset is 17, expected 18 .* or 23"):
        ExportOptions(opset=17)
    with pytest.raises(ValueError, match="precision is 'int2'"):
        ExportOptions(precision="int2")


@pytest.mark.parametrize(
    ("config", "options", "message"),
    [
        ({"geometry_attention": "frame_causal"}, {}, "give --static N,H,W"),
        ({"dino_attention": "compat"}, {"parts": ("geometry", "streaming")}, "leave the part"),
    ],
)
def test_what_a_model_cannot_be_exported_as_is_explained(
    config: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        ExportOptions(**options).check(small_config(**config))


def test_a_damaged_model_leaves_nothing_behind(model: Path, tmp_path: Path) -> None:
    broken = shutil.copytree(model, tmp_path / "broken")
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"model\.safetensors"):
        export_onnx(broken, tmp_path / "out")
    weights.unlink()
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors"):
        export_onnx(broken, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["broken"]


def test_a_full_disk_leaves_what_was_there(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / MANIFEST).write_text("old")
    noise = np.random.default_rng(0).random((200, 1000))
    golden = Golden("geometry", "1x14x14", {"pictures": noise}, {})
    with (
        full_disk(100_000),
        pytest.raises(OSError, match=r"no space left .* give --out on another disk") as caught,
        replaced_folder(out, force=True) as folder,
    ):
        save_goldens(folder, [golden])
    assert caught.value.errno == errno.EFBIG
    assert (out / MANIFEST).read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_interrupted_export_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), replaced_folder(tmp_path / "out", force=False) as folder:
        (folder / "geometry.onnx").write_bytes(b"half")
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_no_export_is_never_replaced(tmp_path: Path) -> None:
    out = tmp_path / "photos"
    out.mkdir()
    with replaced_folder(out, force=False) as folder:  # an empty one is as good as none
        (folder / "one").write_text("1")
    with (
        pytest.raises(FileExistsError, match="is no export"),
        replaced_folder(out, force=True),
    ):
        pytest.fail("it must not come to writing")
    assert (out / "one").read_text() == "1"


@pytest.mark.parametrize(
    ("gain", "refused"), [(2e5, True), pytest.param(1e4, False, marks=pytest.mark.slow)]
)
def test_half_precision_that_would_overflow_is_refused(
    model: Path, tmp_path: Path, gain: float, refused: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """As with the few huge channels of large vision transformers."""
    network, tokenizer = load_model(model)
    layer_0 = network.trunk.layers[0]
    assert isinstance(layer_0, MixtureLayer)
    assert layer_0.geometric.mlp_scale is not None
    layer_0.geometric.down_proj.weight.data.mul_(gain)
    layer_0.geometric.mlp_scale.data.div_(gain)
    save_model(tmp_path / "loud", network, tokenizer)
    exporter = Exporter(tmp_path / "loud", "fp16")
    options = ExportOptions(precision="fp16", static_nhw=(2, 42, 56))
    layer = "trunk.layers.0.geometric.down_proj"
    if refused:
        with pytest.raises(ValueError, match=f"{layer} gives numbers up to .* --precision fp32"):
            exporter.write(tmp_path / "out", options)
        assert not (tmp_path / "out").exists()
    else:
        written = exporter.write(tmp_path / "out", options)
        assert written.largest[0].layer == layer
        assert 16376 < written.largest[0].value < 65504
        assert layer in caplog.text
        assert exporter.write(tmp_path / "again", options) == written, "not the same bytes"
