# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Grounding: words point to the right tokens, and the loss moves attention there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from g2vlm_training.datasets.batch import WindowBatch, draw_batch
from g2vlm_training.datasets.mixture import ClipPool
from g2vlm_training.stages.freeze import apply_freezing, is_geometric
from g2vlm_training.stages.grounding import QuestionAttention, token_masks
from g2vlm_training.stages.question_batch import questions_of, text_batch, token_row, view_of
from g2vlm_training.stages.question_pass import question_hidden
from g2vlm_training.stages.semantic_stage import SemanticStage
from g2vlm_training.stages.token_probe import main_ids
from g2vlm_training.stages.tokens import nano_tokenizer
from g2vlm_training.synthetic.questions import TASKS, Ground, Question, View, ask

from tests.training.tiny import tiny_model, with_questions


@pytest.fixture(scope="module")
def batch(pool: ClipPool) -> WindowBatch:
    return draw_batch(pool, 2, 3, torch.Generator().manual_seed(0), None)


def _stage(grounding: float, **options: Any) -> SemanticStage:
    model = tiny_model(**options)
    apply_freezing(model, "semantic")
    return SemanticStage(model, nano_tokenizer(700), questions=6, grounding=grounding)


def test_words_end_where_their_ground_says(batch: WindowBatch) -> None:
    view = view_of(batch, 0)
    rng = np.random.default_rng(0)
    seen = set()
    for task in TASKS:
        for _ in range(10):
            question = ask(view, task, rng)
            if question is None:
                continue
            assert question.grounds or task in {"room_size", "object_count"}, question
            for ground in question.grounds:
                head = question.text[: ground.end]
                if ground.pixel is not None:
                    label, line = head[-1], head.splitlines()[-1].split()
                    marked = line[:3] == [line[0], "frame", str(ground.frame + 1)]
                    assert marked or label in {mark.label for mark in question.marks}
                elif not ground.objects:
                    assert head.endswith(f"frame {ground.frame + 1}")
                else:
                    names = {o.name for o in view.objects if o.object_id in ground.objects}
                    assert any(head.endswith((name, f"{name}s", "ves", "es")) for name in names)
            seen.add(task)
    assert len(seen) >= 20


def test_masks_hold_the_marked_patch_and_the_things_pixels(batch: WindowBatch) -> None:
    view = view_of(batch, 0)
    for grid, row in (((3, 4), 2), ((2, 2), 1)):
        place = token_masks(view, Ground(5, 1, pixel=(41, 0)), grid)
        assert place.nonzero().tolist() == [[1, row, 0]]
    thing = view.seen[0][0].thing
    mask = token_masks(view, Ground(5, 0, (thing.object_id,)), (3, 4))
    assert not bool(mask[1:].any())
    inside = view.object_id_NHW[0] == thing.object_id
    cover = inside.reshape(3, 14, 4, 14).mean(axis=(1, 3))
    assert bool(mask[0].numpy()[cover >= 0.15].all())
    assert not bool(mask[0].numpy()[cover == 0].any())
    frame = token_masks(view, Ground(5, 2), (3, 4))
    assert bool(frame[2].all())
    assert not bool(frame[:2].any())


def _asked(batch: WindowBatch, each: int) -> list[tuple[View, Question]]:
    rng = np.random.default_rng(1)
    views = [view_of(batch, index) for index in range(len(batch.scenes))]
    return [(view, question) for view in views for question in questions_of(view, each, rng)]


@pytest.mark.parametrize("fused", [False, True])
def test_shared_windows_give_the_models_own_logits(batch: WindowBatch, fused: bool) -> None:
    """Packed questions behind shared keys are `semantic_logits` behind copied ones."""
    stage = _stage(grounding=0.3, geometry_feedback=fused, reference_features=fused)
    asked = _asked(batch, 6)
    rows = [token_row(question, stage.tokenizer, stage.prompts) for _, question in asked]
    text = text_batch(rows, stage.prompts)
    prefix = stage.prefix(batch)
    layouts = stage.layouts(batch, prefix)
    watched, masks = stage._watched(asked, layouts, text)
    attention = QuestionAttention(prefix.cache, watched)
    questions, sizes = [question for _, question in asked], [view.sizes for view, _ in asked]
    starts = [row.start for row in rows]
    named = stage.named(questions, sizes, prefix, text.input_MT.shape[1], starts)
    added = None if named is None else named.added_MTD
    assert (added is not None and bool((added != 0).any())) == fused
    packed = stage.model.logits(question_hidden(stage.model, text, attention, added))
    copied = prefix.cache.repeat(6)
    plain = stage.model.semantic_logits(text.input_MT, copied, added)
    want = plain.flatten(0, 1)[text.real_L]
    assert torch.allclose(packed, want, atol=1e-5), (packed - want).abs().max()
    if fused:  # names carry what they mean: no attention is told where to look
        assert watched is None
        assert not attention.weights
        return
    assert watched is not None
    assert len(attention.weights) == stage.model.config.text.num_hidden_layers - 1
    assert len(layouts) == 2
    for mask, layout in zip(masks, layouts, strict=True):
        assert mask.shape == (len(watched.rows_S), 3, *layout.grid_hw)


def test_kept_attention_is_that_of_the_named_keys(batch: WindowBatch) -> None:
    """The layouts' first keys are those right behind the system text and the geometry."""
    stage = _stage(grounding=0.3)
    prefix = stage.prefix(batch)
    geometric, semantic = stage.layouts(batch, prefix)
    patches = geometric.grid_hw[0] * geometric.grid_hw[1]
    tokens = semantic.grid_hw[0] * semantic.grid_hw[1]
    assert geometric.start == len(stage.prompts.system)
    assert semantic.start == geometric.start + 3 * (patches + 2)
    assert prefix.cache.length == semantic.start + 3 * (tokens + 2)
    weight_SK = torch.arange(2.0 * prefix.cache.length).view(2, -1)
    seen = semantic.tokens(weight_SK)
    assert seen.shape == (2, 3, *semantic.grid_hw)
    assert seen[0, 1, 0, 0] == semantic.start + (tokens + 2) + 1


def test_grounding_loss_falls(batch: WindowBatch, tmp_path: Path) -> None:
    stage = _stage(grounding=1.0)
    trained = [p for p in stage.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=5e-3)
    asked, grounds = with_questions(stage, batch), []
    for _ in range(25):
        loss = stage(asked)
        optimiser.zero_grad()
        loss.total.backward()
        optimiser.step()
        grounds.append(loss.report["ground"])
    assert grounds[-1] < 0.8 * grounds[0], grounds
    plain = _stage(0.0)(asked)
    assert "ground" not in plain.report


def test_names_are_learned_and_the_geometry_stays(batch: WindowBatch) -> None:
    """Search and probe learn, the fusion with them; not one bit of the geometric half changes."""
    options = {"geometry_feedback": True, "reference_features": True}
    model = tiny_model(**options)
    apply_freezing(model, "semantic")
    stage = SemanticStage(model, nano_tokenizer(700), 6, grounding=1.0, probing=1.0)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    pixels = torch.randn(1, 2, 3, 42, 56, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        hidden = model.geometry_pass(model.encode_geometry(pixels), (3, 4)).hidden_BNPD
    trained = [p for p in stage.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=5e-3)
    asked, reports = with_questions(stage, batch), []
    for _ in range(25):
        loss = stage(asked)
        optimiser.zero_grad()
        loss.total.backward()
        optimiser.step()
        reports.append(loss.report)
    for name in ("sought", "probe", "loss"):
        assert reports[-1][name] < 0.8 * reports[0][name], [one[name] for one in reports]
    for name, parameter in model.named_parameters():
        if is_geometric(name):
            assert torch.equal(parameter, before[name]), name
        elif name.startswith("fusion."):
            assert not torch.equal(parameter, before[name]), name
    with torch.no_grad():
        again = model.geometry_pass(model.encode_geometry(pixels), (3, 4)).hidden_BNPD
    assert torch.equal(hidden, again)


@pytest.mark.parametrize("wanted", [False, True])
def test_answers_reach_the_geometric_half_where_asked(batch: WindowBatch, wanted: bool) -> None:
    model = tiny_model(geometry_feedback=True, reference_features=True)
    stage = SemanticStage(model, nano_tokenizer(700), 2, geometry_gradients=wanted)
    stage(with_questions(stage, batch)).total.backward()
    weight = model.get_parameter("trunk.layers.0.geometric.v_proj.weight")
    assert (weight.grad is not None and bool((weight.grad != 0).any())) == wanted


def test_a_token_is_named_after_what_covers_most_of_it() -> None:
    ids = torch.zeros(1, 8, 8, dtype=torch.uint8)
    ids[0, :4, :4] = 7
    ids[0, :4, 4:7] = 9
    ids[0, 4:, :2] = 8
    main, cover = main_ids(ids, (2, 2))
    assert main.tolist() == [[7, 9, 8, 0]] or main.tolist() == [[7, 9, 0, 0]]
    assert cover[0, 0] == 1.0
    assert cover[0, 1] == 0.75
    assert cover[0, 2] == 0.5
