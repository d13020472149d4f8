# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""GASP on a plain Qwen2.5-VL: the same heads, losses, adapters and trainer."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from g2vlm_training.config import TrainConfig
from g2vlm_training.datasets.batch import draw_batch
from g2vlm_training.datasets.mixture import ClipPool
from g2vlm_training.gasp.gasp_options import GaspOptions, LoraOptions
from g2vlm_training.gasp.gasp_qwen import QwenGaspStage
from g2vlm_training.gasp.gasp_readers import QwenReader, open_reader
from g2vlm_training.run.trainer import Trainer
from g2vlm_training.stages.stage import StageLoss

from tests.training.tiny_qwen import tiny_qwen

OPTIONS = GaspOptions(grids=(8,), descriptor_width=16, layers=(1, 3))


def test_it_learns_to_match_and_is_a_plain_model_afterwards(pool: ClipPool, tmp_path: Path) -> None:
    model = tiny_qwen()
    names, text = list(model.state_dict()), str(model)
    config = TrainConfig(steps=20, lr=3e-3, warmup=2, log_steps=10, save_steps=20, ema=0.5)
    stage = QwenGaspStage(model, OPTIONS, LoraOptions(rank=4), side=112)
    batch = draw_batch(pool, 2, 3, torch.Generator().manual_seed(0), None)
    inputs = stage.reader.inputs(batch, after=(7, 8, 9))
    labels = torch.where(inputs["input_ids"] < 300, inputs["input_ids"], -100)
    language = {**inputs, "labels": labels}

    def loss_of_step(step: int) -> list[StageLoss]:
        return [stage(None, language) if step % 2 else stage(batch)]

    trainer = Trainer(stage, config, tmp_path, loss_of_step, rate_of=stage.rate_of)
    assert all("lora_" in name or "supervision." in name for name in trainer.trained)
    assert any("model.visual" in name for name in trainer.trained)
    reports = [trainer.train_step() for _ in range(20)]
    assert reports[18]["match"] < 0.8 * reports[0]["match"]
    assert reports[19]["answers_loss"] < reports[1]["answers_loss"]
    with torch.no_grad():
        beside = model(**language).loss
        stage.merge()
        within = model(**language).loss
    assert beside.item() == pytest.approx(within.item(), rel=1e-4)
    assert list(model.state_dict()) == names
    assert str(model) == text


def test_adapters_of_a_model_in_half_precision_are_not(pool: ClipPool) -> None:
    """A step of 1e-4 on a weight of 1 would be rounded away."""
    model = tiny_qwen().to(torch.bfloat16)
    stage = QwenGaspStage(model, OPTIONS, LoraOptions(rank=4), side=112)
    learning = [p for name, p in stage.named_parameters() if "lora_" in name]
    assert {parameter.dtype for parameter in learning} == {torch.float32}
    loss = stage(draw_batch(pool, 1, 2, torch.Generator().manual_seed(0), None))
    loss.total.backward()
    assert any(p.grad is not None and bool(p.grad.any()) for p in learning)
    average = {
        name: torch.full_like(value, 0.01)
        for name, value in stage.named_parameters()
        if "lora_" in name
    }
    name = "model.language_model.layers.0.self_attn.q_proj"
    before = model.get_submodule(name).base_layer.weight.clone()
    stage.merge(average)
    after = model.get_submodule(name).weight
    assert after.dtype == torch.bfloat16
    difference = (after.float() - before.float()).mean()
    assert float(difference) == pytest.approx(4 * 0.01**2, rel=0.05), "rank 4 of 0.01 times 0.01"


@pytest.mark.parametrize("change", [{"together": True}, {"side": 224}, {"geometric_tokens": True}])
def test_options_that_mean_nothing_to_it_are_refused(change: dict[str, object]) -> None:
    options = dataclasses.replace(OPTIONS, **change)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=f"gasp.{next(iter(change))} means nothing to a plain"):
        QwenGaspStage(tiny_qwen(), options, LoraOptions(rank=4))


def test_its_pictures_stand_where_the_reader_says(pool: ClipPool) -> None:
    reader = QwenReader(tiny_qwen(), side=112)
    batch = draw_batch(pool, 2, 3, torch.Generator().manual_seed(0), None)
    inputs = reader.inputs(batch, after=())
    marked = (inputs["input_ids"] == 301).long()
    assert reader.images(marked, 3).shape == (2, 3, 16)
    assert bool(reader.images(marked, 3).all())
    with torch.no_grad():
        assert reader.read(batch) == (4, 4)
    # The rows are in the order that the model's own merger expects: a picture that is dark but
    # for one quarter lights up the tokens of that quarter alone.
    batch.rgb_BN3HW.zero_()
    batch.rgb_BN3HW[..., :21, :28] = 1
    rows = reader.inputs(batch)["pixel_values"].unflatten(0, (6, 16, 4)).mean((2, 3))
    quarter = rows[0].view(4, 4) > rows.mean()
    assert quarter.nonzero().tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]


def test_a_folder_is_opened(tmp_path: Path) -> None:
    tiny_qwen().save_pretrained(tmp_path / "qwen")
    assert len(open_reader(tmp_path / "qwen").layers) == 3
    config = tmp_path / "qwen" / "config.json"
    config.write_text(config.read_text().replace("qwen2_5_vl", "other"))
    with pytest.raises(ValueError, match="model of type 'other'"):
        open_reader(tmp_path / "qwen")
    with pytest.raises(ValueError, match="expert is 'both'"):
        open_reader("nano", "both")
    with pytest.raises(FileNotFoundError, match="no model folder"):
        open_reader(tmp_path / "none")
