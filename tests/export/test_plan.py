# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The plan against what processes really take, and what it refuses."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from g2vlm_export import devices, tensorrt_cli
from g2vlm_export.devices import DEVICES, MIB, find_device
from g2vlm_export.footprint import Passes, pass_bytes, weight_bytes
from g2vlm_export.plan import Request, check_fits, plan_windows, refusal
from g2vlm_export.plan_cli import main

from benchmarks.shapes import SHAPES, write_random_folder
from g2vlm_model.checkpoint import load_model, resolve_folder
from g2vlm_model.config import ModelConfig
from g2vlm_model.preprocess import geometric_size
from g2vlm_model.runtimes.machine import TensorRT
from tests.export.conftest import RTX_4090
from tests.helpers import REPO
from tests.model.tiny import tiny_config

sys.path.insert(0, str(REPO / "scripts"))

import write_jetson_tables
from write_published_folder import published_config, write_folder

FRAMES = 8
BAND = 0.15  # of weights, passes and one scene
ARENAS = 10 * MIB  # the allocator keeps this much more or less from one process to the next
MEASURE = """
import ctypes, gc, sys
import numpy as np
import torch
from g2vlm_model.interface import Frame, FrameWindow
from g2vlm_model.runtimes import load_runtime

torch.set_num_threads(1)
model, frames, height, width = sys.argv[1], *map(int, sys.argv[2:])
rng = np.random.default_rng(0)
def window(frames, height, width):
    shape = (height, width, 3)
    pictures = [rng.integers(0, 255, shape, dtype=np.uint8) for _ in range(frames)]
    named = enumerate(pictures)
    return FrameWindow(tuple(Frame(one, i, "c", "c", f"{shape} {i}") for i, one in named))
# Whatever is imported on the way is imported now; what this run took goes back to the system.
runtime = load_runtime("torch", model="nano", device="cpu", precision="fp32")
runtime.observe(window(2, 32, 64)).close()
runtime.close()
del runtime
gc.collect()
ctypes.CDLL(None).malloc_trim(0)
def resident_kib(field):
    # Not ru_maxrss: a process starts with that of the one which started it.
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(field))
before = resident_kib("VmRSS")
runtime = load_runtime("torch", model=model, device="cpu", precision="fp32")
scene = runtime.observe(window(frames, height, width))
print((resident_kib("VmHWM") - before) * 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read the Linux way")
@pytest.mark.parametrize("name", ["nano", pytest.param("mid", marks=pytest.mark.slow)])
def test_model_part_is_what_a_process_takes(name: str, tmp_path: Path) -> None:
    shape = SHAPES[name]
    height, width = (84, 112) if name == "nano" else (shape.height, shape.width)
    model = name if name == "nano" else str(write_random_folder(shape, tmp_path))
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, model, *map(str, (FRAMES, height, width))],
        cwd=REPO,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    grown = int(done.stdout)
    config = shape.config
    taken = pass_bytes(config, (FRAMES,), (height, width), Passes(torch.float32, in_place=True))[
        FRAMES
    ]
    weights = weight_bytes(config, torch.float32).whole
    planned = weights + taken.observe + taken.scene + taken.arrays
    told = f"grew by {grown / MIB:.0f} MiB, planned {planned / MIB:.0f}"
    assert planned == pytest.approx(grown, rel=BAND, abs=ARENAS), told


LOADED = """
import ctypes, gc, sys
import torch
from g2vlm_model.runtimes import load_runtime

torch.set_num_threads(1)
load_runtime("torch", model="nano", device="cpu", precision="int8").close()
gc.collect()
ctypes.CDLL(None).malloc_trim(0)
def resident():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
before = resident()
runtime = load_runtime("torch", model=sys.argv[1], device="cpu", precision=sys.argv[2])
gc.collect()
ctypes.CDLL(None).malloc_trim(0)
print((resident() - before) * 1024)
"""


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["int8", "int4+int8"])
def test_weights_of_few_bits_take_what_is_planned(precision: str, tmp_path: Path) -> None:
    """Of a folder of the published layout: within 10 %."""
    config = published_config(layers=2, twelfths=6, vocabulary=8192)
    write_folder(tmp_path / "published", config)
    done = subprocess.run(
        [sys.executable, "-c", LOADED, str(tmp_path / "published"), precision],
        cwd=REPO, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    grown = int(done.stdout)
    planned = weight_bytes(config, torch.float32, precision).whole
    told = f"grew by {grown / MIB:.0f} MiB, planned {planned / MIB:.0f}"
    assert planned == pytest.approx(grown, rel=0.1, abs=ARENAS), told


@pytest.mark.parametrize("frames", [2, 8, 24])
def test_the_published_size_fits_an_orin_nx(frames: int) -> None:
    """In weights of few bits; what stands beside them is 2.5 GiB at least."""
    config = ModelConfig.g2vlm_2b()
    picture_hw = geometric_size(config, *write_jetson_tables.CAMERA_HW)
    request = Request(
        config, DEVICES["orin-nx-16"], picture_hw, "torch", "int4+int8", headless=True
    )
    plan = check_fits(request, frames)
    assert plan.verdict == "fits"
    assert plan.run - plan.model > 2.5 * 2**30
    with pytest.raises(ValueError, match=r"neither with 10\.3 nor with 11"):
        replace(request, runtime="tensorrt")


def test_weights_are_the_models() -> None:
    model, _ = load_model("nano", dtype=torch.float16)
    used = {
        name: weight.numel() * weight.element_size()
        for name, weight in model.named_parameters()
        if not name.startswith("heads.global_")
    }
    weights = weight_bytes(model.config, torch.float16)
    assert weights.whole == sum(used.values())
    assert weights.graph + weights.answering == weights.whole + weights.shared
    layers = sum(size for name, size in used.items() if name.startswith("trunk.layers."))
    geometric = sum(size for name, size in used.items() if ".geometric." in name)
    # Nobody reads the marks behind the last layer, so a graph holds what makes their keys only.
    last = f"trunk.layers.{model.config.text.num_hidden_layers - 1}.semantic."
    unread = ("q_proj", "q_norm", "o_proj", "mlp_norm", "gate_proj", "up_proj", "down_proj")
    behind = sum(
        size
        for name, size in used.items()
        if name.startswith(last) and any(part in name for part in unread)
    )
    assert weights.shared == layers - geometric - behind > 0


def test_a_graph_has_the_planned_weights(nano_export: Path) -> None:
    """Beside its weights a file has nodes, tables and the prefix."""
    config = ModelConfig.from_folder(nano_export)
    size = (nano_export / "geometry.onnx").stat().st_size
    planned = weight_bytes(config, torch.float32).graph
    assert 0.9 * size < planned < size, f"{size / 1e6:.1f} MB, planned {planned / 1e6:.1f}"


def test_scores_in_memory_and_longer_windows_cost_more() -> None:
    config, size = tiny_config(), (8 * 14, 8 * 14)
    fused = pass_bytes(config, (2, 8), size, Passes(torch.float32, engine=True))
    scores = pass_bytes(config, (2, 8), size, Passes(torch.float32, scores=1, engine=True))
    assert fused[8].observe > 2 * fused[2].observe
    assert fused[8].scene > fused[2].scene
    tokens = 8 * (8 * 8 + 2)
    layer = config.text.num_attention_heads * tokens**2 * 4
    assert scores[8].observe >= layer
    assert scores[8].observe > fused[8].observe


@pytest.mark.slow
def test_2b_needs_the_larger_jetsons() -> None:
    config = ModelConfig.g2vlm_2b()
    picture_hw = (392, 518)
    small = Request(config, DEVICES["orin-nx-16"], picture_hw, headless=True)
    (_, plan, _) = plan_windows(small, write_jetson_tables.WINDOWS)
    assert plan.verdict == "does not fit"
    assert plan.build_serving > plan.build > plan.engine > 6e9
    told = refusal(small, plan)
    assert re.match(r"a window of 8 frames takes \d+.* GiB .*orin-nx-16 has", told)
    assert "a larger device" in told
    assert "--headless" not in told
    large = Request(config, DEVICES["agx-orin-64"], picture_hw)
    assert plan_windows(large, write_jetson_tables.WINDOWS)[1].verdict == "fits"


def test_what_fits_is_planned_and_what_does_not_is_refused() -> None:
    config = ModelConfig.from_folder(resolve_folder("nano"))
    request = Request(config, DEVICES["orin-nano-8"], (84, 112))
    assert check_fits(request, 8) == plan_windows(request, (8,))[0]
    with pytest.raises(ValueError, match="a window of 24 frames takes"):
        check_fits(replace(request, device=DEVICES["orin-nano-4"], scenes=4000), 24)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--device", "orin-nano-8", "--window", "8"], 0),
        (["--device", "rtx-8", "--runtime", "torch", "--precision", "fp32"], 0),
        (["--device", "orin-nano-4", "--window", "24", "--scenes", "4000"], 1),
    ],
)
def test_exit_code_says_whether_it_fits(
    arguments: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--json"]) == code
    out, err = capsys.readouterr()
    facts = json.loads(out)
    windows = facts["windows"]
    assert facts["picture"] == {"width": 112, "height": 84}
    assert [window["fits"] for window in windows] == [code == 0] * len(windows)
    parts = ("engine", "model", "activations", "scenes", "process")
    for window in windows:
        assert window["run"] >= sum(window[part] for part in parts)
        assert (window["build"] > 0) == (facts["runtime"] == "tensorrt")
    assert ("fewer frames" in err) == (code == 1), err


def test_table_has_a_row_for_each_window(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--device", "cpu", "--window", "2", "6"]) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert [row.split("|")[1].strip() for row in rows] == ["frames", "2", "6"]
    assert len({row.count("|") for row in rows}) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--device", "orin"], "device is 'orin', expected one of orin-nano-4"),
        (["--device", "cpu", "--runtime", "tensorrt"], "needs an NVIDIA GPU"),
        (["--device", "rtx-8", "--model", "absent"], "no model folder absent"),
        (["--device", "rtx-8", "--window", "2", "100000000"], "takes at most 64"),
    ],
)
def test_wrong_words_are_explained(arguments: list[str], message: str) -> None:
    with pytest.raises((ValueError, OSError), match=message):
        main(arguments)


@pytest.mark.parametrize("word", ["--window=0", "--window=x", "--size=640", "--size=0x3"])
def test_wrong_numbers_end_with_usage(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--device", "rtx-8", word])
    assert end.value.code == 2
    assert "is no" in capsys.readouterr().err


def test_a_jetson_is_asked_what_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 16032000 kB\nMemAvailable: 14032000 kB\n")
    (tmp_path / "compatible").write_bytes(b"nvidia,p3768\0nvidia,tegra234\0")
    (tmp_path / "model").write_bytes(b"NVIDIA Jetson Orin NX\0")
    for name in ("MEMINFO", "COMPATIBLE", "MODEL"):
        monkeypatch.setattr(devices, name, tmp_path / name.lower())
    device = find_device("here")
    assert (device.name, device.kind) == ("NVIDIA Jetson Orin NX", "jetson")
    assert device.shared
    assert device.free(headless=False) == 14032000 * 1024
    assert find_device("cpu").kind == "cpu"


def test_engines_that_do_not_fit_are_refused_before_they_are_built(
    rtx: TensorRT, tiny_export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 900000 kB\nMemAvailable: 300000 kB\n")
    (tmp_path / "compatible").write_bytes(b"nvidia,tegra210\0")
    (tmp_path / "model").write_bytes(b"NVIDIA Jetson Nano\0")
    for name in ("MEMINFO", "COMPATIBLE", "MODEL"):
        monkeypatch.setattr(devices, name, tmp_path / name.lower())
    monkeypatch.setattr(tensorrt_cli, "find_gpu", lambda device: RTX_4090)
    out = tmp_path / "engines"
    words = ["--onnx", str(tiny_export), "--flavour", "tensorrt_rtx", "--out", str(out)]
    with pytest.raises(ValueError, match=r"8 frames takes .* Jetson Nano has 0.29 .*custom"):
        tensorrt_cli.main([*words, "--profile", "jetson"])
    assert not out.exists()


@pytest.mark.slow
def test_the_jetson_page_has_the_plans_tables() -> None:
    page = write_jetson_tables.PAGE.read_text(encoding="utf-8")
    told = "run: python scripts/write_jetson_tables.py"
    assert write_jetson_tables.page_text(page) == page, told
