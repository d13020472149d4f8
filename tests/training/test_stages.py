# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What each stage trains, that saving memory changes no gradient, and what a dry run says."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from g2vlm_training.config import TrainConfig
from g2vlm_training.datasets.batch import WindowBatch, draw_batch
from g2vlm_training.datasets.mixture import ClipPool
from g2vlm_training.gasp.gasp_options import LoraOptions
from g2vlm_training.run.distribution import Processes
from g2vlm_training.run.dry_run import dry_run, step_cost
from g2vlm_training.run.initialise import initialise
from g2vlm_training.run.precision import recompute_layers
from g2vlm_training.run.run import RunOptions, averaged_model, build_stage, prepared_run
from g2vlm_training.run.start import Start, start_model
from g2vlm_training.stages.freeze import apply_freezing, is_geometric
from g2vlm_training.stages.joint_stage import JointStage
from g2vlm_training.stages.stage import StageLoss
from g2vlm_training.stages.tokens import nano_tokenizer

from g2vlm_model.measuring.live_bytes import LiveBytes
from g2vlm_model.model import G2VLM
from tests.training.tiny import SPECIAL, tiny_config, tiny_model, with_questions
from tests.training.tiny_run import CONFIG

JOINT = dataclasses.replace(CONFIG, stage="joint", questions=2, grounding=0.0)


@pytest.fixture(scope="module")
def batch(pool: ClipPool) -> WindowBatch:
    return draw_batch(pool, 2, 3, torch.Generator().manual_seed(1), None)


def _loss(config: TrainConfig, batch: WindowBatch) -> tuple[StageLoss, JointStage]:
    stage = build_stage(config, tiny_model(seed=3), nano_tokenizer(700))
    assert isinstance(stage, JointStage)
    if config.recompute:
        assert recompute_layers(stage) == 2 + 1 + 1 + 3  # layers, encoders, decoders of heads
    loss: StageLoss = stage(with_questions(stage, batch), 0)
    loss.total.backward()
    return loss, stage


def test_recomputed_layers_give_the_same_loss_and_gradients_in_less_memory(
    batch: WindowBatch,
) -> None:
    with LiveBytes() as kept_bytes:
        kept, kept_stage = _loss(JOINT, batch)
    with LiveBytes() as fewer_bytes:
        again, stage = _loss(dataclasses.replace(JOINT, recompute=True), batch)
    assert float(again.total) == float(kept.total)
    gradients = dict(stage.named_parameters())
    compared = 0
    for name, parameter in kept_stage.named_parameters():
        if parameter.grad is None:
            assert gradients[name].grad is None, name
            continue
        compared += 1
        torch.testing.assert_close(gradients[name].grad, parameter.grad, msg=name)
    assert compared > 100
    assert fewer_bytes.peak < kept_bytes.peak


def test_bfloat16_passes_stay_near_and_leave_losses_in_float32(batch: WindowBatch) -> None:
    exact, _ = _loss(JOINT, batch)
    half, stage = _loss(dataclasses.replace(JOINT, precision="bf16"), batch)
    assert half.total.dtype == torch.float32
    assert float(half.total) != float(exact.total)
    assert float(half.total) == pytest.approx(float(exact.total), rel=0.02)
    for name, parameter in stage.named_parameters():
        if parameter.grad is not None:
            assert parameter.grad.dtype == torch.float32, name
            assert bool(parameter.grad.isfinite().all()), name


@pytest.mark.parametrize("stage", ["geometry", "semantic", "spatial", "joint"])
def test_answers_and_geometry_teach_what_the_stage_says(batch: WindowBatch, stage: str) -> None:
    """Gradients reach every trained weight that the losses hang on, and nothing frozen."""
    config = dataclasses.replace(JOINT, stage=stage)  # type: ignore[arg-type]
    module = build_stage(config, tiny_model(seed=3), nano_tokenizer(700))
    module(with_questions(module, batch), 0).total.backward()
    taught = {name for name, p in module.named_parameters() if p.grad is not None}
    trained = {name for name, p in module.named_parameters() if p.requires_grad}
    assert taught <= trained
    geometric = {name for name in taught if is_geometric(name.removeprefix("model."))}
    assert bool(geometric) == (stage != "semantic")
    assert bool(taught - geometric - {n for n in taught if n.startswith("coarse")}) == (
        stage != "geometry"
    )
    assert any("heads." in name for name in taught) == (stage in ("geometry", "joint"))
    if stage != "geometry":
        assert any(".semantic.q_proj" in name for name in taught)
    if stage != "semantic":
        assert "model.trunk.layers.0.geometric.k_proj.weight" in taught


@pytest.mark.parametrize(
    ("stage", "most", "marks"),
    [("geometry", 1.3, "text"), ("joint", 1.4, "text"), ("joint", 1.45, "drawn")],
)
def test_dry_run_says_at_least_what_a_step_keeps(
    batch: WindowBatch, stage: str, most: float, marks: str
) -> None:
    """Never less, and not much more.

    It adds all gradients to the peak of the activations, which lies ahead of most of them, and
    takes questions for longer than these are.
    """
    model = G2VLM(dataclasses.replace(tiny_config(), mark_style=marks), SPECIAL)
    initialise(model, 3)
    changes: dict[str, Any] = {"stage": stage, "model": model.config, "precision": "fp32"}
    config = dataclasses.replace(JOINT, windows=((2, 3),), **changes)
    cost = step_cost(config, 2, 3)
    module = build_stage(config, model, nano_tokenizer(700))
    asked = with_questions(module, batch)
    with LiveBytes() as live:
        module(asked, 0).total.backward()
    gradients = 4 * sum(p.numel() for p in module.parameters() if p.grad is not None)
    assert 1 <= (cost.activation_bytes + gradients) / live.peak <= most


def test_dry_run_prints_what_a_run_takes() -> None:
    config = dataclasses.replace(CONFIG, model=tiny_config(), windows=((2, 2),))
    whole, half = (dry_run(config, processes, 1.0).splitlines() for processes in (1, 2))
    for word in ("weights", "gradients", "activations", "memory per device", "tokens per step"):
        assert any(line.startswith(word) for line in whole), word
    tokens = [line for line in whole if line.startswith("tokens")]
    assert tokens == [line for line in half if line.startswith("tokens")]
    with pytest.raises(ValueError, match="2 windows cannot be shared by 3"):
        dry_run(config, 3, 1.0)
    with pytest.raises(ValueError, match="the dry run knows no adapters"):
        dry_run(dataclasses.replace(config, stage="gasp"), 1, 1.0)


def test_unknown_stage_is_refused() -> None:
    with pytest.raises(ValueError, match="expected one of"):
        apply_freezing(tiny_model(), "both")  # type: ignore[arg-type]


@pytest.mark.parametrize("stage", ["geometry", "joint"])
def test_adapters_learn_beside_the_weights_and_end_in_them(
    tiny_shards: Path, tmp_path: Path, stage: str
) -> None:
    """Of any stage, also of a rank above the narrowest map; what is exported is a plain model."""
    changes: dict[str, Any] = {"stage": stage, "frozen": "bf16", "precision": "bf16"}
    config = dataclasses.replace(
        CONFIG, adapters=True, lora=LoraOptions(rank=40), ema=0.5, lr=1e-2, **changes
    )
    options = RunOptions(tiny_shards, tmp_path, Start(config.seed))
    run = prepared_run(config, options, Processes())
    trained = run.trainer.trained
    whole = ("model.heads.", "model.match.", "coarse.")
    assert all("lora_" in name or name.startswith(whole) for name in trained)
    assert any(".geometric.q_proj.lora_A" in name for name in trained)
    assert any("dino." in name for name in trained)
    assert any(".semantic.q_proj.lora_A" in name for name in trained) == (stage == "joint")
    types = {name: p.dtype for name, p in run.trainer.module.named_parameters()}
    assert {types[name] for name in trained} == {torch.float32}
    assert {kind for name, kind in types.items() if name not in trained} == {torch.bfloat16}
    assert all(run.trainer.train_step()["loss"] > 0 for _ in range(3))
    found = averaged_model(run, options)
    assert found is not None
    began = dict(start_model(config.model, options.start).model.named_parameters())
    now = dict(found[0].named_parameters())
    assert list(now) == list(began)
    moved = {name for name, value in now.items() if not torch.equal(value, began[name])}
    assert "trunk.layers.0.geometric.q_proj.weight" in moved
    assert ("trunk.layers.0.semantic.q_proj.weight" in moved) == (stage == "joint")
    assert "trunk.embed_tokens.weight" not in moved
    run.trainer.save()
    if stage == "geometry":
        with pytest.raises(ValueError, match=r"is a run of adapters.* --export FOLDER"):
            start_model(config.model, Start(geometry=tmp_path))
