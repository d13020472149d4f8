# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The geometry stage's choices per step, and what it trains."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from g2vlm_training.config import GeometryWeights, TrainConfig
from g2vlm_training.datasets.base import Clip, DataError, Refusals
from g2vlm_training.datasets.batch import WindowBatch, draw_batch, pixels_of
from g2vlm_training.datasets.mixture import ClipPool
from g2vlm_training.stages.freeze import apply_freezing
from g2vlm_training.stages.geometry_stage import GeometryStage, in_share
from g2vlm_training.stages.losses import LossOptions
from g2vlm_training.stages.tokens import nano_tokenizer

from g2vlm_model.generate import reconstruct
from g2vlm_model.tokenizer import prompt_ids
from tests.training.tiny import tiny_model

CONFIG = TrainConfig(extra=GeometryWeights(frame_causal=0.5))


@pytest.fixture(scope="module")
def batch(pool: ClipPool) -> WindowBatch:
    return draw_batch(pool, 2, 3, torch.Generator().manual_seed(0), None)


def stage_of(config: TrainConfig = CONFIG) -> GeometryStage:
    model = tiny_model(point_refine=8)
    apply_freezing(model, "geometry")
    torch.manual_seed(0)
    return GeometryStage(model, config)


@pytest.mark.parametrize("isolate", [False, True])
def test_the_pass_that_is_taught_is_the_published_one(batch: WindowBatch, isolate: bool) -> None:
    """Behind the reconstruct prompt, which patches of the published size see."""
    model = tiny_model(isolate_geometry=isolate)
    prompts = prompt_ids(nano_tokenizer(700), model.config.tokens)
    stage = GeometryStage(model, TrainConfig(), prompts)
    taught: list[torch.Tensor] = []
    layer = model.get_submodule("trunk.layers.1.geometric.q_proj")
    hook = layer.register_forward_hook(lambda module, inputs, out: taught.append(out))
    with torch.no_grad():
        stage(batch, 1)
        both = taught.pop()
        for index in range(2):
            reconstruct(model, pixels_of(batch.window(index).rgb_BN3HW), prompts)
            torch.testing.assert_close(both[index], taught.pop()[0], atol=1e-5, rtol=0)
    hook.remove()
    if not isolate:
        with pytest.raises(ValueError, match="see the reconstruct prompt"):
            GeometryStage(model, TrainConfig())


def test_causal_steps_are_spread_and_have_their_share() -> None:
    for share in (0.0, 0.25, 0.5, 1.0):
        chosen = [in_share(share, step) for step in range(1000)]
        assert abs(sum(chosen) / 1000 - share) < 0.01
        for first in range(0, 1000, 40):
            assert abs(sum(chosen[first : first + 40]) / 40 - share) <= 0.05
    with pytest.raises(ValueError, match=r"frame_causal is 1\.5, expected 0 to 1"):
        GeometryWeights(frame_causal=1.5)


def test_causal_steps_report_and_learn_for_themselves(batch: WindowBatch) -> None:
    causal, free = (
        next(step for step in range(9) if in_share(0.5, step) == kind and step % 4)
        for kind in (True, False)
    )
    stage = stage_of()
    with torch.no_grad():
        reports = {step: stage(batch, step).report for step in (causal, free)}
    assert {"causal_points", "causal_rotation"} <= reports[causal].keys()
    assert {"points", "rotation"} <= reports[free].keys()
    always = stage_of(dataclasses.replace(CONFIG, extra=GeometryWeights(frame_causal=1.0)))
    never = stage_of(dataclasses.replace(CONFIG, extra=GeometryWeights(frame_causal=0.0)))
    with torch.no_grad():
        assert always(batch, 1).report["causal_rotation"] != never(batch, 1).report["rotation"]


def test_refinement_starts_at_nothing_and_learns(batch: WindowBatch) -> None:
    # Every pixel: at stride 2 a step would see one of the four pixels that share a channel group.
    extra = GeometryWeights(pixel_stride=1)
    stage = stage_of(dataclasses.replace(CONFIG, extra=extra))
    refine = stage.model.heads.point_refine
    assert refine is not None
    assert float(refine.leave.weight.detach().abs().max()) == 0.0
    optimiser = torch.optim.SGD(refine.parameters(), lr=0.1)
    for step in (1, 2):
        optimiser.zero_grad()
        stage(batch, step).total.backward()
        optimiser.step()
    assert all(float(p.grad.abs().max()) > 0 for p in refine.parameters() if p.grad is not None)
    assert sum(p.grad is not None for p in refine.parameters()) == 8


def test_windows_teach_what_is_known_of_them(batch: WindowBatch) -> None:
    """Without depth the cameras alone, without poses the points alone, normals of clean depth."""
    config = TrainConfig(extra=GeometryWeights(frame_causal=0.0, correspondence=0.5))
    stage = stage_of(config)
    with torch.no_grad():
        whole = stage(batch, 0).report
        blind = dataclasses.replace(batch, depth_BNHW=torch.zeros_like(batch.depth_BNHW))
        cameras = stage(blind, 0).report
        lost = dataclasses.replace(batch, posed_BN=torch.zeros_like(batch.posed_BN))
        points = stage(lost, 0).report
        elsewhere = dataclasses.replace(lost, T_world_cam_BN44=lost.T_world_cam_BN44.flip(1))
        noisy = dataclasses.replace(batch, clean_B=torch.zeros_like(batch.clean_B))
        rough = stage(noisy, 0).report
    assert (cameras["points"], cameras["coarse"]) == (0, 0)
    assert cameras["rotation"] == pytest.approx(whole["rotation"], rel=1e-5)
    assert 0 < cameras["loss"] < config.loss.clip
    assert (points["rotation"], points["translation"], points["coarse"]) == (0, 0, 0)
    assert points["points"] > 0
    with torch.no_grad():
        assert stage(elsewhere, 0).report["points"] == pytest.approx(points["points"], rel=1e-4)
    assert rough["points"] == whole["points"]
    assert rough["loss"] < whole["loss"]


def test_a_window_above_the_bound_teaches_nothing_and_the_others_all(batch: WindowBatch) -> None:
    """The bound is each window's own, so that one of bad depth neither hides nor takes others."""
    free = dataclasses.replace(CONFIG, loss=LossOptions(clip=math.inf), extra=GeometryWeights())
    broken = dataclasses.replace(batch, T_world_cam_BN44=batch.T_world_cam_BN44.clone())
    broken.T_world_cam_BN44[1, 1:, :3, 3] *= 1e4
    losses = [float(stage_of(free)(broken.window(index), 0).total) for index in range(2)]
    assert 10 * losses[0] < losses[1]
    bound = dataclasses.replace(free, loss=LossOptions(clip=3 * losses[0]))
    ends = []
    for seen, stage in ((broken, stage_of(bound)), (batch.window(0), stage_of(free))):
        loss = stage(seen, 0)
        loss.total.backward()
        grads = {n: p.grad for n, p in stage.named_parameters() if p.grad is not None}
        ends.append((loss, grads))
    (kept, mine), (alone, theirs) = ends
    assert (kept.report["windows_left_out"], kept.empty) == (1, "")
    assert float(kept.total) == pytest.approx(float(alone.total), rel=1e-5)
    for name, grad in theirs.items():
        torch.testing.assert_close(mine[name], grad, atol=1e-5, rtol=1e-3)
    with torch.no_grad():
        nothing = stage_of(bound)(broken.window(1), 0)
    assert "the loss of every window" in nothing.empty
    assert float(nothing.total) == 0


def test_the_norm_of_the_truth_is_rounded_where_that_is_asked_for(batch: WindowBatch) -> None:
    exact, rounded = (
        stage_of(TrainConfig(loss=LossOptions(bf16_norm=rounds)))(batch, 1).report["translation"]
        for rounds in (False, True)
    )
    assert exact != rounded
    assert rounded == pytest.approx(exact, rel=0.02)


def test_a_window_without_depth_is_drawn_and_one_without_anything_is_not(pool: ClipPool) -> None:
    (shard, *_) = pool.shards
    clip = shard.clips[0].read(range(3))
    blank = dataclasses.replace(clip, depth=np.zeros_like(clip.depth), complete=False)
    unposed = dataclasses.replace(blank, posed=np.zeros(3, np.bool_))

    class One:
        """A source of one clip."""

        refusals = Refusals("windows")

        def __init__(self, only: Clip) -> None:
            self.only, self.name, self.size_hw = only, "one", only.size_hw

        def __len__(self) -> int:
            return 3

        def read(self, frames: Sequence[int]) -> Clip:
            return self.only

        def draw(self, clips: int, frames: int, generator: torch.Generator) -> list[One]:
            return [self]

    drawn = draw_batch(One(blank), 1, 3, torch.Generator().manual_seed(0), None)
    assert bool(drawn.posed_BN.all())
    assert not bool(drawn.depth_BNHW.any())
    with pytest.raises(DataError, match="were refused, none read"):
        draw_batch(One(unposed), 1, 3, torch.Generator().manual_seed(0), None)
