# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What is refused: engines of another machine, damaged ones, graphs and words that do not fit."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import pytest
from g2vlm_export import to_tensorrt
from g2vlm_export.ladder import LadderExhaustedError
from g2vlm_export.tensorrt_build import GraphBuilder
from g2vlm_export.tensorrt_cli import main
from g2vlm_export.to_tensorrt import EngineOrder, build_engines
from onnx import TensorProto, helper

from g2vlm_model.runtimes.export_folder import ExportFolder
from g2vlm_model.runtimes.machine import Gpu, GpuMissingError, TensorRT, find_gpu
from g2vlm_model.runtimes.tensorrt.engines import EngineFolder, EngineRefusedError, Profile

from .conftest import RTX_4090, TARGETS, words

ORIN = Gpu(0, "Orin (nvgpu)", "8.7", "540.4.0")


def test_engines_of_another_machine_are_refused(
    static_engines: Path, static_export: Path, rtx: TensorRT
) -> None:
    digest = ExportFolder.open(static_export).digest
    older = replace(rtx, version="1.6.1.120")
    with pytest.raises(
        EngineRefusedError, match=r"builder_version: built with 1\.7.*, here is 1\.6"
    ):
        EngineFolder.open(static_engines, older, RTX_4090, digest)
    with pytest.raises(EngineRefusedError, match=r"for sm86, sm89, sm120, here is sm87 \(Orin"):
        EngineFolder.open(static_engines, rtx, ORIN, digest)
    with pytest.raises(EngineRefusedError, match="built from the export"):
        EngineFolder.open(static_engines, rtx, RTX_4090, "f" * 64)
    own = replace(
        EngineFolder.read(static_engines).manifest,
        targets=(),
        gpu=RTX_4090.name,
        compute_capability=RTX_4090.compute_capability,
        driver=RTX_4090.driver,
    )
    assert own.refusals(rtx, RTX_4090) == ()
    updated = own.refusals(rtx, replace(RTX_4090, driver="580.1"))
    assert updated == ("driver: built with 570.86.15, here is 580.1",)
    assert len(own.refusals(rtx, ORIN)) == 3


@pytest.mark.parametrize("damage", ["cut off", "changed", "missing", "no manifest", "not JSON"])
def test_damaged_engines_are_refused(
    static_engines: Path, tmp_path: Path, rtx: TensorRT, damage: str
) -> None:
    copy = Path(shutil.copytree(static_engines, tmp_path / "copy"))
    plan, manifest = copy / "geometry.engine", copy / "engines.json"
    content = plan.read_bytes()
    if damage == "cut off":
        plan.write_bytes(content[:-1000])
    elif damage == "changed":
        plan.write_bytes(content[:500] + bytes([content[500] ^ 1]) + content[501:])
    elif damage == "missing":
        plan.unlink()
    elif damage == "no manifest":
        manifest.unlink()
    else:
        manifest.write_text(manifest.read_text()[:100])
    with pytest.raises((EngineRefusedError, FileNotFoundError), match="build it again here"):
        EngineFolder.open(copy, rtx, RTX_4090)


def test_engines_that_others_may_write_are_refused(static_engines: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(static_engines, tmp_path / "copy"))
    copy.chmod(0o777)
    with pytest.raises(PermissionError, match="others may write"):
        EngineFolder.read(copy)


def test_a_check_that_was_left_to_the_device_is_noted(static_engines: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(static_engines, tmp_path / "copy"))
    folder = EngineFolder.read(copy)
    assert not folder.manifest.checked
    assert "left to the device" in folder.manifest.engines["geometry"].check
    folder.mark_checked({"geometry": "1 of 1 golden windows pass"})
    again = EngineFolder.read(copy).manifest
    assert again.checked
    assert again.engines["geometry"].check == "1 of 1 golden windows pass"


def graph_with(path: Path, operator: str, opset: int, **attributes: object) -> Path:
    """A graph of one node."""
    info = helper.make_tensor_value_info
    node = helper.make_node(operator, ["x"], ["y"], name="the_node", **attributes)
    shape, kind = ["N", 4], TensorProto.INT32 if operator == "BitCast" else TensorProto.FLOAT
    graph = helper.make_graph(
        [node], "g", [info("x", TensorProto.FLOAT, shape)], [info("y", kind, shape)]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    onnx.save_model(model, path)
    return path


def test_an_opset_that_cannot_be_read_says_what_to_export(rtx: TensorRT, tmp_path: Path) -> None:
    path = graph_with(tmp_path / "new.onnx", "BitCast", 26, to=TensorProto.INT32)
    with pytest.raises(
        ValueError, match=r"cannot read .*new\.onnx: BitCast the_node: .*--opset 18"
    ):
        GraphBuilder(rtx).build(path, {"x": ((1, 4), (2, 4), (3, 4))}, tmp_path / "e")
    assert not (tmp_path / "e").exists()


@pytest.mark.parametrize(
    ("ranges", "reason"),
    [
        ({}, r"input 'x' has the shape \(-1, 4\), and no range"),
        ({"x": ((1, 5), (2, 5), (3, 5))}, r"the profile asks for \(1, 5\)"),
    ],
)
def test_ranges_that_do_not_fit_are_refused(
    rtx: TensorRT, tmp_path: Path, ranges: dict[str, Any], reason: str
) -> None:
    path = graph_with(tmp_path / "g.onnx", "Relu", 18)
    with pytest.raises(ValueError, match=reason):
        GraphBuilder(rtx).build(path, ranges, tmp_path / "e")


def test_a_broken_file_is_refused(rtx: TensorRT, tiny_export: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.onnx"
    path.write_bytes((tiny_export / "geometry.onnx").read_bytes()[:5000])
    with pytest.raises(ValueError, match=r"cannot read .*cut\.onnx"):
        GraphBuilder(rtx).build(path, {}, tmp_path / "e")


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (["--profile", "custom"], "needs --min, --opt and --max"),
        (["--min", "1,42,56"], "belong to --profile custom"),
        (["--profile", "desktop"], "exported for windows of 2x42x56 only"),
        (["--targets", "sm87"], "does not compile for sm87.*engines of a Jetson"),
        (["--targets", "sm1"], "does not compile for sm1, it does for sm75"),
        (["--onnx", "nowhere"], "no export folder nowhere"),
    ],
)
def test_bad_words_are_refused(
    rtx: TensorRT, static_export: Path, tmp_path: Path, more: list[str], reason: str
) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=reason):
        main(words(static_export, tmp_path / "out", *more))
    assert not (tmp_path / "out").exists()


def test_engines_that_are_there_are_not_overwritten_unasked(
    static_engines: Path, static_export: Path
) -> None:
    before = (static_engines / "engines.json").read_bytes()
    with pytest.raises(FileExistsError, match=r"holds engines already.*--force"):
        main(words(static_export, static_engines))
    assert (static_engines / "engines.json").read_bytes() == before


def test_without_a_gpu_the_command_says_how_to_go_on(
    rtx: TensorRT, static_export: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("g2vlm_model.runtimes.machine.CUDA_LIBRARY", "libnothing.so")
    find_gpu.cache_clear()
    with pytest.raises(ValueError, match=r"no CUDA driver.*--build-only --out DIR"):
        main(["--onnx", str(static_export), "--flavour", "tensorrt_rtx"])
    with pytest.raises(ValueError, match="--build-only and --targets need --out"):
        main(["--onnx", str(static_export), "--flavour", "tensorrt_rtx", "--build-only"])
    find_gpu.cache_clear()


def test_a_profile_without_golden_windows_is_refused(rtx: TensorRT, tiny_export: Path) -> None:
    source = ExportFolder.open(tiny_export)
    with pytest.raises(ValueError, match="covers none of the golden windows 1x42x56"):
        EngineOrder(source, Profile(*[(7, 28, 28)] * 3), rtx, None, TARGETS, check=False)
    with pytest.raises(ValueError, match="expected multiples of the model's patch, 14"):
        EngineOrder(source, Profile(*[(2, 40, 56)] * 3), rtx, None, TARGETS, check=False)


FULL = """
import resource, sys
from g2vlm_model.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))
sys.exit(main(["export", "tensorrt", *sys.argv[1:]]))
"""


def test_a_disk_that_is_full_at_the_end_of_a_build(
    rtx: TensorRT, static_export: Path, tmp_path: Path
) -> None:
    out = tmp_path / "engines"
    command = [sys.executable, "-c", FULL, *words(static_export, out)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert "no space left for the build (File too large)" in done.stderr
    assert "take a larger disk (--out" in done.stderr
    assert list(out.iterdir()) == []


def test_a_disk_that_is_too_small_is_refused_before_the_build(
    rtx: TensorRT, static_export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1_000_000))
    monkeypatch.setattr(to_tensorrt, "run_apart", lambda *_: pytest.fail("it was begun"))
    with pytest.raises(OSError, match=r"1 MB free, about \d+ MB are needed"):
        main(words(static_export, tmp_path / "engines"))


@pytest.mark.slow
def test_engines_that_cannot_be_checked_are_refused(
    rtx: TensorRT, static_export: Path, tmp_path: Path
) -> None:
    """The device that was to run them cannot: no rung passes, and nothing is left."""
    try:
        find_gpu()
    except GpuMissingError:
        pass
    else:
        pytest.skip("there is a GPU, which can run the engines")
    source = ExportFolder.open(static_export)
    windows = Profile(*[(2, 42, 56)] * 3)
    order = EngineOrder(source, windows, rtx, RTX_4090, ("sm89",), check=True)
    with pytest.raises(LadderExhaustedError, match="the engine is refused: fp32: ") as raised:
        build_engines(order, tmp_path)
    for rung in ("fp32: ", "fp32 decomposed: "):
        assert rung + "GpuMissingError: no CUDA driver" in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_the_command_needs_no_torch() -> None:
    """A robot that answers with exported graphs builds its engines without it."""
    code = "import sys, g2vlm_export.tensorrt_cli; print(*({'torch', 'onnx'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "\n"), done.stderr
