# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Each benchmark runs, on the smallest case, and writes a report that says where and how."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from benchmarks.forward import count_gflop
from benchmarks.instant_runtime import InstantRuntime
from benchmarks.kept import KeptPasses
from benchmarks.obstacle_scores import Score, intervals, summed
from g2vlm_model.interface import Frame, FrameWindow

from .helpers import REPO, shared_data
from .training.tiny import write_tiny_shards


def run(name: str, out: Path, *arguments: str) -> dict[str, Any]:
    """Run a benchmark as `python -m benchmarks.NAME`, in this process: torch is loaded already."""
    words = [f"benchmarks/{name}.py", "--threads", "1", "--out", str(out), *arguments]
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", words)
        try:
            assert not importlib.import_module(f"benchmarks.{name}").main()
        finally:
            torch.set_num_threads(threads)
    return read(name, out)


def run_apart(name: str, out: Path, *arguments: str) -> dict[str, Any]:
    """The same in a process of its own, for what measures the memory of processes."""
    command = [sys.executable, "-m", f"benchmarks.{name}", "--threads", "1", "--out", str(out)]
    done = subprocess.run(
        [*command, *arguments], cwd=REPO, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return read(name, out)


def read(name: str, out: Path) -> dict[str, Any]:
    """Results of a report that says where and how."""
    report: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    assert report["benchmark"] == name
    assert report["machine"]["torch_threads"] == 1
    assert f"-m benchmarks.{name}" in report["command"]
    results: dict[str, Any] = report["results"]
    return results


def test_forward(tmp_path: Path) -> None:
    arguments = ("--shape", "nano", "--rounds", "2", "--matmul-side", "256")
    results = run("forward", tmp_path / "report.json", *arguments)
    assert results["published work"]["gflop"] > results["runtime"]["gflop"] > 0
    assert 0 < results["runtime"]["share_of_matmul_by_cpu_time"] < 1.5


def test_a_report_that_cannot_be_written_is_refused_ahead_of_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run("forward", tmp_path)
    assert f"{tmp_path} is a folder, expected a file" in capsys.readouterr().err


def test_sliding(tmp_path: Path) -> None:
    results = run("sliding", tmp_path / "report.json", "--frames", "3", "--rounds", "2")["3"]
    assert results["largest_difference"] < 1e-5
    assert results["pairs of the new frame"]["cpu_median_s"] > 0


def test_attention_is_counted() -> None:
    q, k = torch.randn(1, 6, 100, 64), torch.randn(1, 2, 150, 64)
    gflop = count_gflop(lambda: F.scaled_dot_product_attention(q, k, k, enable_gqa=True))
    assert gflop * 1e9 == 2 * (2 * 6 * 100 * 150 * 64)
    linear = count_gflop(lambda: F.linear(torch.randn(10, 20), torch.randn(30, 20)))
    assert linear * 1e9 == 2 * 10 * 20 * 30


@pytest.mark.slow
def test_data(tmp_path: Path) -> None:
    small = ("--config", "nano_rooms", "--devices", "1", "--seconds", "0.5", "--rounds", "1")
    results = run("data", tmp_path / "report.json", *small)
    assert results["frames_a_step"] == 16
    assert results["compute_s"] > 0
    for rates in results["rates"].values():
        assert min(rates["0"], rates["1"], rates["2"]) > 0


def test_render(tmp_path: Path) -> None:
    small = ("--rooms", "1", "--frames", "1", "--rounds", "1", "--widths", "112")
    results = run("render", tmp_path / "report.json", *small)
    assert results["112x84, 4 ray"]["cpu_median_s"] > results["112x84, 1 ray"]["cpu_median_s"] > 0
    assert results["make scene"]["median_s"] > 0


def test_ask(tmp_path: Path) -> None:
    results = run("ask", tmp_path / "report.json", "--models", "nano", "--rounds", "2")["nano"]
    assert results["cold_ms"] > results["observe_ms"] > 0
    stages = dict(results["observe_stages_ms"])
    total = stages.pop("total")
    assert {"encode", "expert", "heads", "confidence"} <= set(stages)
    assert 0.5 * total < sum(stages.values()) < 1.5 * total  # medians do not quite add up
    assert results["cold_over_warm"] > 3  # measured above 20; this machine may be busy


def test_intake(tmp_path: Path) -> None:
    results = run("intake", tmp_path / "report.json", "--frames", "40")
    for found in results.values():
        assert 2 < found["keyframes"] < found["frames"] / 2
        assert found["keyframe_p50_ms"] > found["p50_ms"] > 0


def test_refine(tmp_path: Path) -> None:
    results = run("refine", tmp_path / "report.json", "--frames", "2", "--rounds", "1")
    for detector in ("sift", "orb"):
        assert results[detector]["features"] > 100
        assert results[detector]["window_cpu_ms"] > 0


@pytest.mark.slow  # seven models, 20 s of CPU
def test_precisions(tmp_path: Path, stand_in: Path) -> None:
    """On the published model in small: each is near fp32, the nearer the more bits it has."""
    size = ("--frames", "1", "--windows", "1", "--width", "480", "--height", "120")
    results = run("precisions", tmp_path / "report.json", "--model", str(stand_in), *size)
    off = {name: row["points, mean"] for name, row in results["against_fp32"].items()}
    assert set(off) == {
        "fp32, published prompt", "bf16", "fp16", "int8", "int4+int8", "int4",
    }  # fmt: skip
    assert 0 < off["fp32, published prompt"] < 0.05
    assert 0 < off["fp16"] < off["bf16"] < 0.05
    assert 0 < off["int8"] < off["int4"] < 0.5


@pytest.mark.slow  # seven models
def test_precisions_of_exports(tmp_path: Path, nano_export: Path) -> None:
    size = ("--frames", "1", "--windows", "1", "--exports", str(nano_export))
    results = run("precisions", tmp_path / "report.json", *size)
    (name,) = results["against_torch"]
    assert name.startswith("export, fp32, opset ")
    assert results["against_torch"][name] == results["against_fp32"][name]
    assert 0 < results["against_torch"][name]["points, worst"] < 1e-4
    assert results["against_torch"][name]["answers alike"] == 1.0


def test_prompt_mode(tmp_path: Path) -> None:
    results = run("prompt_mode", tmp_path / "report.json", "--windows", "1", "--frames", "2")
    assert results["isolate_geometry"] is True
    assert results["worst"]["points, relative, max"] < 1e-4


def test_gasp(tmp_path: Path) -> None:
    arguments = ("--anchors", "128", "256", "1024", "--chunk", "128", "--side", "6")
    results = run("gasp", tmp_path / "report.json", *arguments, "--rounds", "1")
    small, middle, large = (results[name] for name in ("128", "256", "1024"))
    # In chunks all memory is that of a chunk and of the descriptors' gradient.
    assert small["chunked_bytes"] <= middle["chunked_bytes"] < 1.3 * small["chunked_bytes"]
    assert large["chunked_bytes"] < 1.1 * middle["chunked_bytes"]
    assert large["whole_bytes"] > 3.5 * middle["whole_bytes"]


def test_overlap(tmp_path: Path) -> None:
    arguments = ("--frames", "2", "--rounds", "2", "--rooms", "3", "--pairs", "4")
    results = run("overlap", tmp_path / "report.json", *arguments)
    assert 0 < results["cost"]["2"]["keys"] < 0.3
    assert results["synthetic"]["overlapping"] > 0
    assert 0.5 < results["synthetic"]["matches"]["auc"] <= 1


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux only")
def test_load(tmp_path: Path) -> None:
    arguments = ("--gigabytes", "0.25", "--rounds", "1")
    results = run_apart("load", tmp_path / "report.json", *arguments)
    kinds = [name for name in results if " to " in name]
    assert len(kinds) == 4
    for kind in kinds:
        # Importing costs some 40 MB whatever is loaded; at 1 GB the ratio is below 1.15.
        assert results[kind]["peak_bytes"] - results[kind]["loaded_bytes"] < 80e6


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is counted the Linux way")
def test_graph_memory(tmp_path: Path, nano_export: Path) -> None:
    arguments = (str(nano_export), "--size", "1,84,112")
    results = run_apart("graph_memory", tmp_path / "report.json", *arguments)
    assert len(results) == 3
    for row in results.values():
        assert 0 < row["loaded, MiB"] < 200
        assert row["1x84x112, MiB"] > 0
        assert row["golden, CPU s"] > 0


@pytest.mark.slow
def test_runtimes(tmp_path: Path, nano_export: Path) -> None:
    (tmp_path / "exports").mkdir()
    (tmp_path / "exports" / "nano-fp32-23").symlink_to(nano_export)
    results = run_apart(
        *("runtimes", tmp_path / "report.json", "--shapes", "nano", "--opsets", "23"),
        *("--exports", str(tmp_path / "exports"), "--rounds", "1"),
        *("--only", "onnx opset 23", "onnx opset 18", "openvino"),
    )["nano"]
    graph, runtime, start = results["graph"], results["runtime"], results["start"]
    assert graph["onnx opset 23"]["points_max_of_range"] < 1e-4
    assert graph["onnx opset 23"]["ratio_by_cpu_time"] > 0.8  # measured 1.5
    assert graph["onnx opset 18"]["not_measured"] == "no export 18 fp32"
    assert 0 < graph["torch eager"]["share_of_matmul"] < 1.5
    assert runtime["onnx opset 23 fp32"]["token_ms"][0] > 0
    assert start["torch"]["torch"]
    assert not start["onnx opset 23 fp32"]["torch"]
    assert start["onnx opset 23 fp32"]["peak_bytes"] < start["torch"]["peak_bytes"]


def test_intervals_are_those_of_rooms_and_hold_the_sum() -> None:
    numbers = dict.fromkeys((part.name for part in fields(Score)), 1.0)
    rooms = [Score(**{**numbers, "seen": 10.0, "found": float(found)}) for found in (10, 9, 5, 8)]
    low, high = intervals(rooms)["recall"]
    assert 0.5 < low < summed(rooms).numbers["recall"] == 0.8 < high <= 1.0
    assert intervals(rooms[:1])["recall"] == (1.0, 1.0)


@pytest.mark.slow
def test_obstacles_report_every_way(tmp_path: Path) -> None:
    words = ("--split", "train", "--rooms", "1", "--frames", "22", "--no-pipeline")
    results = run("obstacles", tmp_path / "obstacles.json", *words)
    totals = results["total"]
    assert set(totals) == {"exact depth", "model", "model, swept"}
    assert totals["exact depth"]["recall"] > 0.95
    assert totals["exact depth"]["phantoms per 10 m"] == 0
    assert totals["exact depth"]["free but occupied"] < 0.02
    assert 0 < totals["model"]["recall"] <= 1
    assert results["rooms"][0]["pipeline"] == "not asked for"


@pytest.mark.slow
def test_the_kitchens_dense_map_is_compared_with_its_true_depth(tmp_path: Path) -> None:
    data = shared_data()
    if data is None or not (data / "7scenes_redkitchen").is_dir():
        pytest.skip("needs ../shared/data/7scenes_redkitchen, which is not shipped")
    folder = str(data / "7scenes_redkitchen")
    rows = run("dense_kitchen", tmp_path / "kitchen.json", folder, "--stride", "20")
    assert rows["true depth"]["completeness"] > 0.9
    assert rows["true depth"]["mean m"] < 0.05
    assert rows["true depth"]["mean m"] < rows["model"]["mean m"] < 0.5


def test_a_pass_that_was_kept_says_what_the_runtime_said(tmp_path: Path) -> None:
    runtime = InstantRuntime(28, 42)
    pictures = np.random.default_rng(0).integers(0, 256, (2, 28, 42, 3), np.uint8)
    windows = [FrameWindow((Frame(picture, 1, "camera", "camera", "1"),)) for picture in pictures]
    passes, again = (KeptPasses(runtime, tmp_path) for _ in range(2))
    passes.observe(windows[0])
    kept, true = again.observe(windows[0]).geometry, runtime.observe(windows[0]).geometry
    assert (passes.computed, again.computed) == (1, 0)
    for item in fields(true):
        np.testing.assert_array_equal(getattr(kept, item.name), getattr(true, item.name))
    again.observe(windows[1])
    assert again.computed == 1, "the same key and stamp, another picture"


@pytest.mark.slow
def test_reasoning(tmp_path: Path) -> None:
    shards = write_tiny_shards(tmp_path / "rooms")
    (shards / "val-00000.tar").symlink_to(shards / "train-00000.tar")
    few = ("--windows", "2", "2", "--questions", "2", "--steps", "2", "--seeds", "3")
    results = run("reasoning", tmp_path / "report.json", "--data", str(shards), *few)
    head, *rows = results["table"]
    assert head == ["weights", "reason", "right", "loss"]
    assert [row[0] for row in rows] == ["as it is", "seed 3", "seed 3", "geometry over off"]
