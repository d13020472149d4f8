# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Real engines, compiled without a GPU by TensorRT-RTX, and what is refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import onnx
import pytest
from g2vlm_export.tensorrt_cli import main
from g2vlm_export.to_tensorrt import EngineOrder, build_engines

from g2vlm_model.runtimes.export_folder import ExportFolder
from g2vlm_model.runtimes.machine import TensorRT
from g2vlm_model.runtimes.tensorrt.engines import EngineFolder, EngineRefusedError, Profile

from ..exports import Exports
from .conftest import RTX_4090, TARGETS, words

WINDOWS = Profile((1, 84, 112), (2, 84, 112), (4, 84, 112))


def weight_bytes(path: Path) -> int:
    """Of the matrices of a graph."""
    weights = onnx.load(path).graph.initializer
    return sum(len(weight.raw_data) for weight in weights if len(weight.dims) > 1)


@pytest.mark.slow
def test_nano_for_many_sizes_in_two_graphs(
    rtx: TensorRT, nano_export: Path, tmp_path: Path
) -> None:
    """float32 at opset 23: attentions are one node each, which may be taken apart."""
    source = ExportFolder.open(nano_export)
    order = EngineOrder(source, WINDOWS, rtx, None, TARGETS, check=False)
    manifest = build_engines(order, tmp_path)
    assert list(manifest.engines) == ["encoder", "expert"]
    assert (manifest.targets, manifest.gpu, manifest.checked) == (TARGETS, "", False)
    for name, engine in manifest.engines.items():
        nodes = Counter(node.op_type for node in onnx.load(source.graph(name)).graph.node)
        assert (engine.rung, engine.reasons) == ("fp32", ())
        assert nodes["Attention"] > 0
        assert engine.layers["ATTENTION_INPUT"] == nodes["Attention"]
        assert engine.layers.get("SOFTMAX", 0) == nodes["Softmax"]
        assert engine.bytes == (tmp_path / engine.file).stat().st_size
        assert engine.bytes > weight_bytes(source.graph(name))
    assert EngineFolder.open(tmp_path, rtx, RTX_4090, source.digest).manifest == manifest


def check_half_precision(path: Path, windows: Profile, rtx: TensorRT, out: Path) -> None:
    """The engine has every attention as one kernel, and weights in half precision."""
    source = ExportFolder.open(path)
    order = EngineOrder(source, windows, rtx, None, TARGETS, check=False)
    manifest = build_engines(order, out)
    assert list(manifest.engines) == ["geometry"]
    engine = manifest.engines["geometry"]
    assert engine.rung == "fp16 fused"
    nodes = Counter(node.op_type for node in onnx.load(source.graph("geometry")).graph.node)
    fused = source.manifest.opset == 23
    attentions = nodes["Attention" if fused else "Softmax"]
    assert attentions > 0
    assert engine.layers["ATTENTION_INPUT" if fused else "SOFTMAX"] == attentions
    assert engine.bytes > weight_bytes(source.graph("geometry"))


@pytest.mark.slow
def test_half_precision_for_many_sizes(rtx: TensorRT, half_export: Path, tmp_path: Path) -> None:
    windows = Profile((1, 42, 56), (2, 42, 56), (4, 42, 56))
    check_half_precision(half_export, windows, rtx, tmp_path)


@pytest.mark.slow
def test_half_precision_for_one_size(rtx: TensorRT, nanos_options: Path, tmp_path: Path) -> None:
    check_half_precision(nanos_options, Profile(*[(4, 56, 42)] * 3), rtx, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("opset", "windows"),
    [(18, WINDOWS), (23, Profile(*[(2, 84, 112)] * 3))],
    ids=["opset 18, many sizes", "opset 23, one size"],
)
def test_nano_in_half_precision(
    rtx: TensorRT, exports: Exports, tmp_path: Path, opset: int, windows: Profile
) -> None:
    path = exports.nano(parts=("geometry", "kv"), precision="fp16", opset=opset)
    check_half_precision(path, windows, rtx, tmp_path)
    (engine,) = tmp_path.glob("*.engine")
    weights = weight_bytes(ExportFolder.open(path).graph("geometry"))
    assert engine.stat().st_size < 5 * weights


def test_the_command_writes_what_its_manifest_vouches_for(
    static_engines: Path, static_export: Path, rtx: TensorRT
) -> None:
    source = ExportFolder.open(static_export)
    folder = EngineFolder.open(static_engines, rtx, RTX_4090, source.digest)
    assert folder.plan("geometry").parent == static_engines
    assert folder.manifest.profile == Profile(*[(2, 42, 56)] * 3)
    assert sorted(path.name for path in static_engines.iterdir()) == [
        "engines.json",
        "geometry.engine",
    ]
    with pytest.raises(EngineRefusedError, match="has no engine of 'encoder', it has geometry"):
        folder.plan("encoder")


@pytest.mark.slow
def test_what_crashes_tensorrt_is_built_in_another_form(
    rtx: TensorRT, tiny_export: Path, tmp_path: Path
) -> None:
    """Version 1.7.1 ends with SIGSEGV on grouped heads at opset 23 in float32."""
    source = ExportFolder.open(tiny_export)
    windows = Profile((1, 42, 56), (2, 42, 56), (4, 42, 56))
    manifest = build_engines(
        EngineOrder(source, windows, rtx, None, TARGETS, check=False), tmp_path
    )
    engine = manifest.engines["geometry"]
    assert engine.bytes == (tmp_path / engine.file).stat().st_size > 0
    assert all("SIGSEGV" in reason for reason in engine.reasons), engine.reasons
    assert (engine.rung == "fp32 decomposed") == bool(engine.reasons)


def start(source: Path, out: Path) -> subprocess.Popen[str]:
    """Start a build in a process group of its own."""
    command = [sys.executable, "-m", "g2vlm_model.cli", "export", "tensorrt"]
    return subprocess.Popen(
        [*command, *words(source, out, "--progress", "json")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def first_stage(process: subprocess.Popen[str]) -> dict[str, Any]:
    """The first line of progress that is about the compiler's work."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("{"):
            stage: dict[str, Any] = json.loads(line)
            return stage
    raise AssertionError(f"no progress: {process.stderr and process.stderr.read()}")


def test_a_build_killed_half_way_is_started_again(
    rtx: TensorRT, nano_export: Path, tmp_path: Path, static_export: Path
) -> None:
    out = tmp_path / "engines"
    with start(nano_export, out) as process:
        stage = first_stage(process)
        assert set(stage) == {"stage", "fraction", "seconds_left"}
        assert stage["stage"].startswith("encoder, fp32: ")
        os.killpg(process.pid, signal.SIGKILL)
    assert not (out / "engines.json").exists()
    with pytest.raises(FileNotFoundError, match=r"holds no engines\.json; build it again"):
        EngineFolder.read(out)
    assert main(words(static_export, out)) == 0
    assert sorted(path.name for path in out.iterdir()) == ["engines.json", "geometry.engine"]


def test_ctrl_c_ends_a_build_cleanly(rtx: TensorRT, nano_export: Path, tmp_path: Path) -> None:
    out = tmp_path / "engines"
    with start(nano_export, out) as process:
        first_stage(process)
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors
    assert "was cancelled" in errors
    assert "Traceback" not in errors
    assert list(out.iterdir()) == []
