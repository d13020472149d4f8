# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The stage gasp: what it trains, what it leaves out, and that nothing of it is left at the end."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import pytest
import torch
from g2vlm_training.cli import main
from g2vlm_training.config import TrainConfig
from g2vlm_training.datasets.batch import WindowBatch, draw_batch
from g2vlm_training.datasets.loading import step_generator
from g2vlm_training.datasets.mixture import ClipPool
from g2vlm_training.gasp.gasp import GaspOptions, GaspStage, LoraOptions
from g2vlm_training.run.precision import recompute_layers
from g2vlm_training.run.run import build_stage
from g2vlm_training.run.start import Base, runs_of
from g2vlm_training.run.trainer import Trainer
from g2vlm_training.stages.lora import adapt_stage, load_adapted
from g2vlm_training.stages.stage import StageLoss
from g2vlm_training.stages.tokens import nano_tokenizer

from g2vlm_model.cache import GrowingCache
from g2vlm_model.checkpoint import load_model, save_model
from g2vlm_model.generate import reconstruct
from g2vlm_model.model import G2VLM
from g2vlm_model.tokenizer import prompt_ids
from tests.training.tiny import random_pixels, tiny_model, with_questions

CONFIG = TrainConfig(
    stage="gasp", steps=30, lr=2e-3, warmup=2, log_steps=5, save_steps=30, questions=2, seed=3,
    ema=0.9, gasp=GaspOptions(descriptor_width=16, grids=(8,), language=0.0),
    lora=LoraOptions(rank=4),
)  # fmt: skip
BASE = Base("tiny", {})
STEPS = 6  # enough of them to see a loss fall


def stage_of(config: TrainConfig = CONFIG) -> GaspStage:
    stage = build_stage(config, tiny_model(), nano_tokenizer(700))
    assert isinstance(stage, GaspStage)
    return stage


def trainer_of(
    pool: ClipPool, folder: Path, config: TrainConfig = CONFIG, same: bool = False
) -> Trainer:
    stage = stage_of(config)

    def loss_of_step(step: int) -> list[StageLoss]:
        source = step_generator(config, 0 if same else step)
        batch = draw_batch(pool, 2, 3, source, None)
        return [stage(with_questions(stage, batch, step), step)]

    base: dict[str, object] = {"base": dataclasses.asdict(BASE)}
    return Trainer(stage, config, folder, loss_of_step, lambda: base, rate_of=stage.rate_of)


def one_batch(pool: ClipPool) -> WindowBatch:
    return draw_batch(pool, 2, 3, torch.Generator().manual_seed(0), None)


def test_only_adapters_and_heads_learn_and_heads_faster(pool: ClipPool, tmp_path: Path) -> None:
    trainer = trainer_of(pool, tmp_path, same=True)
    frozen = {
        name: value.detach().clone()
        for name, value in trainer.module.named_parameters()
        if name not in trainer.trained
    }
    assert all("lora_" in name or name.startswith("heads.") for name in trainer.trained)
    adapted = {name for name in trainer.trained if "lora_" in name}
    assert any("vit.blocks.0" in name for name in adapted)
    assert not any(".geometric." in name for name in adapted)
    first, *_, last = [trainer.train_step() for _ in range(STEPS)]
    assert last["match"] < 0.8 * first["match"]
    assert last["depth"] < first["depth"]
    assert last["matched"] > first["matched"]
    slow, _, fast, _ = trainer.optimiser.param_groups
    assert fast["lr"] == pytest.approx(4 * slow["lr"])
    for name, value in trainer.module.named_parameters():
        assert name not in frozen or torch.equal(value, frozen[name]), name


def test_queries_and_keys_learn_to_match_where_they_are_asked_to(
    pool: ClipPool, tmp_path: Path
) -> None:
    """With heads alone the layers' own queries stay behind: the reason for the option."""
    ends = []
    for weight in (0.0, 1.0):
        config = dataclasses.replace(CONFIG, gasp=dataclasses.replace(CONFIG.gasp, queries=weight))
        trainer = trainer_of(pool, tmp_path / str(weight), config, same=True)
        reports = [trainer.train_step() for _ in range(STEPS)]
        assert ("query_match" in reports[0]) == (weight > 0)
        stage = stage_of(
            dataclasses.replace(CONFIG, gasp=dataclasses.replace(CONFIG.gasp, queries=1.0))
        )
        stage.load_state_dict(trainer.module.state_dict())
        ends.append(stage(one_batch(pool), 0).report["query_match"])
    assert ends[1] < 0.9 * ends[0]


def test_steps_with_questions_stand_between(pool: ClipPool, tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, gasp=dataclasses.replace(CONFIG.gasp, language=0.5))
    trainer = trainer_of(pool, tmp_path, config)
    reports = [trainer.train_step() for _ in range(9)]
    asked = ["answers_loss" in report for report in reports]
    assert 4 <= sum(asked) <= 5
    assert all("match" in report for report, other in zip(reports, asked, strict=True) if not other)


def _loss(pool: ClipPool, batch: WindowBatch | None = None, **options: object) -> StageLoss:
    """Of one batch with the same questions, by options of the supervision."""
    gasp = dataclasses.replace(CONFIG.gasp, **options)  # type: ignore[arg-type]
    stage = stage_of(dataclasses.replace(CONFIG, gasp=gasp))
    batch = one_batch(pool) if batch is None else batch
    loss: StageLoss = stage(with_questions(stage, batch, 5), 0)
    return loss


def test_a_step_of_both_has_the_sum_of_both_losses(pool: ClipPool) -> None:
    """Eq. 9; the shared pass says the same as two passes."""
    both = _loss(pool, together=True)
    asked, matched = _loss(pool, language=1.0), _loss(pool, language=0.0)
    assert both.total.item() == pytest.approx((asked.total + matched.total).item(), rel=1e-5)
    assert both.report["without_pairs"] == 0.0
    assert both.frames == asked.frames == matched.frames
    for name in ("answers_loss", "match", "depth"):
        part = asked if name.startswith("answers") else matched
        assert both.report[name] == pytest.approx(part.report[name], rel=1e-5), name


def test_without_weights_a_step_of_both_only_asks(pool: ClipPool) -> None:
    """The baseline of a comparison: same windows, same questions, nothing matched."""
    baseline = _loss(pool, together=True, correspondence=0.0, depth=0.0)
    assert "match" not in baseline.report
    assert baseline.total.item() == pytest.approx(_loss(pool, language=1.0).total.item(), rel=1e-5)


def test_pictures_are_matched_at_another_size_and_asked_about_at_their_own(pool: ClipPool) -> None:
    side = 2 * tiny_model().config.vit_size
    stage = stage_of(dataclasses.replace(CONFIG, gasp=dataclasses.replace(CONFIG.gasp, side=side)))
    tokens, prefix = stage._tokens(one_batch(pool))
    rows, columns = stage_of()._tokens(one_batch(pool))[0][0].grid_hw
    assert tokens[0].grid_hw == prefix.merged_hw == (2 * rows, 2 * columns)
    both, asked = _loss(pool, together=True, side=side), _loss(pool, language=1.0)
    assert both.report["answers_loss"] == pytest.approx(asked.report["answers_loss"], rel=1e-5)
    assert both.report["match"] != pytest.approx(_loss(pool, language=0.0).report["match"])


def test_a_step_of_both_without_pairs_still_asks_and_says_so(pool: ClipPool) -> None:
    batch = one_batch(pool)
    blind = dataclasses.replace(batch, depth_BNHW=torch.zeros_like(batch.depth_BNHW))
    loss = _loss(pool, blind, together=True)
    assert not loss.empty
    assert loss.report["without_pairs"] == 1.0
    assert bool(loss.total.isfinite())


def test_before_the_first_step_nothing_differs() -> None:
    """Adapters start at nothing: the model says what it said."""
    plain = tiny_model()
    pixels = random_pixels(2)
    prompts = prompt_ids(nano_tokenizer(700), plain.config.tokens)
    with torch.no_grad():
        before = reconstruct(plain, pixels, prompts).local_points_BNHW3
        adapt_stage(plain, LoraOptions(rank=4), geometric_tokens=True)
        after = reconstruct(plain, pixels, prompts).local_points_BNHW3
    assert torch.equal(before, after)


def _trained_copy(pool: ClipPool, folder: Path) -> tuple[Trainer, G2VLM]:
    trainer = trainer_of(pool, folder)
    trainer.run(until=4)
    merged = tiny_model()
    load_adapted(merged, trainer.save(), CONFIG.lora, BASE)
    return trainer, merged


def test_a_merged_model_is_the_model_that_it_was(pool: ClipPool, tmp_path: Path) -> None:
    trainer, merged = _trained_copy(pool, tmp_path / "run")
    plain = tiny_model()
    assert [*merged.state_dict()] == [*plain.state_dict()]
    assert str(merged) == str(plain), "other modules than before"
    changed = [
        name
        for name, value in merged.named_parameters()
        if not torch.equal(value, dict(plain.named_parameters())[name])
    ]
    assert changed
    assert all(".semantic." in name or name.startswith("vit.") for name in changed)
    # The adapters' averages, put on the adapted model, compute the same.
    stage = stage_of()
    with torch.no_grad():
        for name, value in stage.named_parameters():
            if name in trainer.average:
                value.copy_(trainer.average[name])
    words = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        adapted = stage.get_submodule("model")
        assert isinstance(adapted, G2VLM)
        beside = adapted.semantic_logits(words, GrowingCache())
        within = merged.semantic_logits(words, GrowingCache())
    torch.testing.assert_close(beside, within, atol=1e-5, rtol=1e-4)
    save_model(tmp_path / "folder", merged, nano_tokenizer(700), dtype=torch.float32, metadata={})
    loaded, _ = load_model(tmp_path / "folder")
    assert not any("lora" in name or "heads.0.scale" in name for name in loaded.state_dict())


def test_a_run_resumes_with_the_same_losses(pool: ClipPool, tmp_path: Path) -> None:
    whole = trainer_of(pool, tmp_path / "a")
    losses = [whole.train_step()["match"] for _ in range(5)]
    part = trainer_of(pool, tmp_path / "b")
    for _ in range(3):
        part.train_step()
    part.save()
    again = trainer_of(pool, tmp_path / "b")
    again.resume()
    assert [again.train_step()["match"] for _ in range(2)] == losses[3:]


def test_batches_without_a_pair_are_counted_and_change_nothing(
    pool: ClipPool, tmp_path: Path
) -> None:
    trainer = trainer_of(pool, tmp_path, dataclasses.replace(CONFIG, bad_steps=3))
    stage = trainer.module
    trainer.train_step()
    before = {name: value.detach().clone() for name, value in trainer.trained.items()}
    blind = one_batch(pool)
    blind = dataclasses.replace(blind, depth_BNHW=torch.zeros_like(blind.depth_BNHW))
    trainer.loss_of_step = lambda step: [stage(blind, step)]
    assert trainer.train_step() == trainer.train_step() == {}
    assert trainer.skipped == 2
    assert all(torch.equal(before[name], value) for name, value in trainer.trained.items())
    with pytest.raises(FloatingPointError, match="no point of any frame is seen in another"):
        trainer.train_step()


def test_one_window_without_depth_does_not_harm_the_others(pool: ClipPool) -> None:
    stage, batch = stage_of(), one_batch(pool)
    depth = batch.depth_BNHW.clone()
    depth[1] = 0
    loss = stage(dataclasses.replace(batch, depth_BNHW=depth), 0)
    loss.total.backward()
    assert not loss.empty
    gradients = [p.grad for p in stage.parameters() if p.grad is not None]
    assert gradients
    assert all(bool(gradient.isfinite().all()) for gradient in gradients)
    depth[0, 0, 0, 0] = float("nan")
    with pytest.raises(ValueError, match="1 depths of the batch are negative or no number"):
        stage(dataclasses.replace(batch, depth_BNHW=depth), 0)


def test_recomputed_layers_give_the_same_gradients(pool: ClipPool) -> None:
    options = dataclasses.replace(CONFIG.gasp, queries=1.0, together=True)
    losses, gradients = [], []
    for again in (False, True):
        stage = stage_of(dataclasses.replace(CONFIG, gasp=options))
        if again:
            assert recompute_layers(stage) > 2
        loss = stage(with_questions(stage, one_batch(pool)), 0)
        loss.total.backward()
        losses.append(loss.total.item())
        gradients.append({n: p.grad for n, p in stage.named_parameters() if p.grad is not None})
    assert losses[0] == losses[1]
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, atol=1e-6, rtol=1e-4)


def test_geometric_tokens_get_heads_and_adapters_too(pool: ClipPool) -> None:
    options = dataclasses.replace(CONFIG.gasp, geometric_tokens=True, layers=(1, 2), queries=1.0)
    stage = stage_of(dataclasses.replace(CONFIG, gasp=options))
    loss = stage(one_batch(pool), 0)
    said = {"match", "query_match"}
    assert said | {f"geometric_{name}" for name in said} <= set(loss.report)
    loss.total.backward()
    learning = {name for name, p in stage.named_parameters() if p.grad is not None and p.grad.any()}
    assert any(".1.geometric.q_proj.lora_B" in name for name in learning)
    assert {"heads.0.inner.weight", "heads.1.inner.weight"} <= learning


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"gasp": GaspOptions(layers=(1, 3))}, "layers is 1 to 3, expected a range inside"),
        ({"gasp": GaspOptions(descriptor_width=64)}, "descriptor_width is 64, but the queries"),
    ],
)
def test_what_does_not_fit_the_model_is_refused(change: dict[str, object], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        stage_of(dataclasses.replace(CONFIG, **change))  # type: ignore[arg-type]


def test_pictures_cannot_be_left_out() -> None:
    with pytest.raises(ValueError, match="--blind leaves out the pictures"):
        build_stage(CONFIG, tiny_model(), nano_tokenizer(700), blind=True)


def test_adapters_with_bad_numbers_are_not_merged() -> None:
    model = tiny_model()
    adapters = adapt_stage(model, LoraOptions(rank=2))
    with torch.no_grad():
        next(p for name, p in model.named_parameters() if "lora_B" in name).fill_(float("nan"))
    with pytest.raises(ValueError, match=r"lora_B.* holds numbers that are not finite"):
        adapters.merge()


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(
        ValueError, match="adapters need the Python package 'peft', which is not installed"
    ):
        adapt_stage(tiny_model(), LoraOptions(rank=2))


def test_a_run_of_the_command_ends_in_a_plain_folder(pool: ClipPool, tmp_path: Path) -> None:
    config = tmp_path / "small.yaml"
    config.write_text(
        "preset: nano\nstage: gasp\nsteps: 2\nwindows: [[1, 3]]\nquestions: 2\nwarmup: 1\n"
        "eval_windows: 0\nlog_steps: 1\ngasp: {grids: [8], descriptor_width: 32}\n"
        "lora: {rank: 4}\n"
    )
    arguments = ["--config", str(config), "--data", str(pool.folder), "--init", "nano"]
    assert main([*arguments, "--out", str(tmp_path / "run"), "--export", str(tmp_path / "m")]) == 0
    model, _ = load_model(tmp_path / "m")
    shipped, _ = load_model("nano")
    assert [*model.state_dict()] == [*shipped.state_dict()]
    assert str(model) == str(shipped)
    before = dict(shipped.named_parameters())
    differing = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    assert any(".semantic.q_proj" in name for name in differing)
    assert not any(".geometric." in name or name.startswith("dino") for name in differing)
    runs, earlier = runs_of(tmp_path / "m"), runs_of(Path("nano"))
    assert json.loads(runs.pop("gasp"))["steps"] == 2
    assert {name: runs[name] for name in ("geometry", "semantic")} == {
        name: earlier[name] for name in ("geometry", "semantic")
    }, "the header of the weights still says where the rest came from"
