"""Grounding: words point to the right tokens, and the loss moves attention there."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from g2vlm_training.batch import ClipPool, WindowBatch, draw_batch
from g2vlm_training.freeze import apply_freezing
from g2vlm_training.grounding import KeyLayout, patch_masks
from g2vlm_training.semantic_stage import SemanticStage, questions_of, text_batch, view_of
from g2vlm_training.synthetic.questions import TASKS, Ground, ask
from g2vlm_training.tokens import nano_tokenizer

from tests.training.tiny import tiny_model, write_tiny_shards


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory) -> WindowBatch:
    pool = ClipPool(write_tiny_shards(tmp_path_factory.mktemp("shards")), "train")
    return draw_batch(pool, 2, 3, torch.Generator().manual_seed(0), None)


def _stage(grounding: float) -> SemanticStage:
    model = tiny_model()
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
    layout = KeyLayout(10, (3, 4), 60, (2, 2), 3)
    geometric, semantic = patch_masks(view, Ground(5, 1, pixel=(41, 0)), layout).by_head
    assert geometric.nonzero().tolist() == [[1, 2, 0]]
    assert semantic.nonzero().tolist() == [[1, 1, 0]]
    thing = view.seen[0][0].thing
    mask = patch_masks(view, Ground(5, 0, (thing.object_id,)), layout).by_head[0]
    assert not bool(mask[1:].any())
    inside = view.object_id_NHW[0] == thing.object_id
    cover = inside.reshape(3, 14, 4, 14).mean(axis=(1, 3))
    assert bool(mask[0].numpy()[cover >= 0.15].all())
    assert not bool(mask[0].numpy()[cover == 0].any())
    frame = patch_masks(view, Ground(5, 2), layout).by_head[0]
    assert bool(frame[2].all())
    assert not bool(frame[:2].any())


def test_watched_attention_gives_the_models_own_logits(batch: WindowBatch) -> None:
    stage = _stage(grounding=0.3)
    rng = np.random.default_rng(1)
    asked = [
        (view, question)
        for view in (view_of(batch, 0), view_of(batch, 1))
        for question in questions_of(view, 6, rng)
    ]
    text = text_batch([question for _, question in asked], stage.tokenizer, stage.prompts)
    cache = stage.prefix(batch).repeat(6)
    recorder, masks = stage._recorder(asked, batch)
    watched = stage._logits(text.input_MT, cache.copy(), recorder)
    plain = stage.model.semantic_logits(text.input_MT, cache.copy())
    assert torch.allclose(watched, plain, atol=1e-5)
    assert len(recorder.logits) == stage.model.config.text.num_hidden_layers - 1
    assert len(masks) == len(recorder.rows) > 0


def test_recorded_logits_are_those_of_the_named_keys(batch: WindowBatch) -> None:
    """The layout's first keys are those right behind the system text and the geometry."""
    stage = _stage(grounding=0.3)
    layout = stage._layout(batch)
    cache = stage.prefix(batch)
    patches = layout.geometric_hw[0] * layout.geometric_hw[1]
    tokens = layout.semantic_hw[0] * layout.semantic_hw[1]
    assert layout.geometric_start == len(stage.prompts.system)
    assert layout.semantic_start == layout.geometric_start + 3 * (patches + 2)
    assert cache.length == layout.semantic_start + 3 * (tokens + 2)


def test_grounding_loss_falls(batch: WindowBatch, tmp_path: Path) -> None:
    stage = _stage(grounding=1.0)
    trained = [p for p in stage.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=5e-3)
    grounds = []
    for _ in range(25):
        loss = stage(batch, [np.random.default_rng(row) for row in range(len(batch.scenes))])
        optimiser.zero_grad()
        loss.total.backward()
        optimiser.step()
        grounds.append(loss.report["ground"])
    assert grounds[-1] < 0.8 * grounds[0], grounds
    plain = dataclasses.replace(_stage(0.0)(batch, [np.random.default_rng(row) for row in range(len(batch.scenes))]))
    assert "ground" not in plain.report
