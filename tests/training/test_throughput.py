# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What a step computes, what the log says of it, and that compiled layers give the same loss."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from g2vlm_training.config import GeometryWeights
from g2vlm_training.datasets.batch import WindowBatch, draw_batch
from g2vlm_training.datasets.mixture import ClipPool
from g2vlm_training.run.distribution import Processes
from g2vlm_training.run.dry_run import step_cost
from g2vlm_training.run.precision import compile_layers, recompute_layers
from g2vlm_training.run.run import build_stage
from g2vlm_training.run.throughput import Operations, peak_tflops
from g2vlm_training.stages.tokens import nano_tokenizer

from tests.training.tiny import tiny_config, tiny_model
from tests.training.tiny_run import CONFIG, tiny_trainer

PLAIN = dataclasses.replace(
    CONFIG,
    precision="fp32",
    extra=GeometryWeights(correspondence=0.0, correspondence_later=0.0, global_every=1),
)


@pytest.fixture(scope="module")
def batch(pool: ClipPool) -> WindowBatch:
    return draw_batch(pool, 2, 3, torch.Generator().manual_seed(1), None)


def gradients(batch: WindowBatch, *changes: Any) -> tuple[float, dict[str, torch.Tensor], int]:
    """Loss, gradients and operations of a step of the geometry stage."""
    stage = build_stage(PLAIN, tiny_model(seed=3), nano_tokenizer(700))
    for change in changes:
        assert change(stage) == 2 + 1 + 1 + 3  # layers, encoders, decoders of heads
    operations = Operations()
    with operations.counted("a step"):
        loss = stage(batch, 0)
        loss.total.backward()
    found = {name: p.grad for name, p in stage.named_parameters() if p.grad is not None}
    return float(loss.total), found, operations.of("a step") or 0


def test_operations_are_those_of_the_dry_run_however_memory_is_spent(batch: WindowBatch) -> None:
    """Counted on real tensors of this device's kernels, beside a trace with fused attention."""
    counted = gradients(batch)[2]
    traced = step_cost(dataclasses.replace(PLAIN, model=tiny_config()), 2, 3).flops
    assert counted == pytest.approx(traced, rel=0.03)
    assert gradients(batch, recompute_layers)[2] == counted


def test_a_kind_of_step_is_counted_once() -> None:
    operations = Operations()
    matrix = torch.ones(4, 4)
    for size, wanted in ((1, 128), (2, 128)):
        with operations.counted("a"):
            for _ in range(size):
                matrix @ matrix
        assert operations.of("a") == wanted
    assert operations.of("b") is None


def test_the_log_says_time_memory_and_utilisation(tiny_shards: Path, tmp_path: Path) -> None:
    trainer = tiny_trainer(
        tiny_shards, tmp_path, Processes(), log_steps=1, eval_windows=0, peak_tflops=0.001,
        extra=PLAIN.extra,
    )  # fmt: skip
    trainer.run(until=3)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert "mfu" not in lines[0], "the first step of its kind is the one that is counted"
    for line in lines[1:]:
        assert line["mfu"] == pytest.approx(line["tflop"] / (line["step_s"] * 0.001))
        assert 0 < line["data_s"] < line["step_s"]
        assert 0.05 < line["memory_gib"] < 8
    board = list((tmp_path / "tensorboard").glob("events.*"))
    content = b"".join(path.read_bytes() for path in board)
    assert all(name in content for name in (b"mfu", b"update_s", b"data_s", b"memory_gib"))


def test_the_peak_is_the_configs_or_left_out() -> None:
    cpu = torch.device("cpu")
    assert peak_tflops(2.5, cpu, "bf16") == 2.5
    assert peak_tflops(0.0, cpu, "bf16") == 0


@pytest.mark.slow
def test_compiled_layers_give_the_same_loss_and_gradients(batch: WindowBatch) -> None:
    torch.compiler.reset()
    stage = build_stage(PLAIN, tiny_model(seed=3), nano_tokenizer(700))
    assert compile_layers(stage) == 7
    recompute_layers(stage)
    loss = stage(batch, 0)
    loss.total.backward()
    eager, wanted, _ = gradients(batch)
    assert float(loss.total) == pytest.approx(eager, rel=1e-5)
    for name, parameter in stage.named_parameters():
        if name in wanted:
            assert parameter.grad is not None, name
            torch.testing.assert_close(parameter.grad, wanted[name], atol=1e-4, rtol=1e-3)
    from torch._dynamo.utils import counters

    assert counters["stats"]["unique_graphs"] > 0, "nothing was compiled"
