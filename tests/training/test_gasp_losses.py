# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""GASP's losses beside their equations written out, chunk by chunk, and without anything to do."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from g2vlm_training.gasp.gasp_losses import MatchSums, match_losses
from g2vlm_training.gasp.gasp_options import GaspOptions, LoraOptions
from g2vlm_training.gasp.gasp_tracks import Anchors
from torch import Tensor
from torch.nn import functional as F

FRAMES, PATCHES, WIDTH, POINTS = 3, 5, 8, 14
OPTIONS = GaspOptions(temperature=0.2, chunk=4)


@dataclasses.dataclass
class Case:
    descriptors: Tensor
    anchors: Anchors
    depth: Tensor
    known: Tensor

    def sums(self, options: GaspOptions = OPTIONS) -> MatchSums:
        return match_losses(
            self.descriptors, self.descriptors, self.anchors, self.depth, self.known, options
        )


def case(seed: int = 0) -> Case:
    """Random anchors; the last frame knows the depth of two patches only."""
    generator = torch.Generator().manual_seed(seed)
    raw = torch.randn(FRAMES, PATCHES, WIDTH, generator=generator, dtype=torch.float64)
    frame = torch.randint(FRAMES, (POINTS,), generator=generator)
    own = frame * PATCHES + torch.randint(PATCHES, (POINTS,), generator=generator)
    match = torch.randint(PATCHES, (POINTS, FRAMES), generator=generator)
    match = match + PATCHES * torch.arange(FRAMES)
    hidden = torch.rand(POINTS, FRAMES, generator=generator) < 0.3
    hidden |= torch.arange(FRAMES) == frame[:, None]
    depth = 1 + torch.rand(FRAMES, PATCHES, generator=generator, dtype=torch.float64)
    known = torch.ones(FRAMES, PATCHES, dtype=torch.bool)
    known[-1, 2:] = False
    truth = 1 + torch.rand(POINTS, FRAMES, generator=generator, dtype=torch.float64)
    anchors = Anchors(own, torch.where(hidden, -1, match), truth)
    return Case(F.normalize(raw, dim=-1).requires_grad_(), anchors, depth, known)


def written_out(one: Case, negatives: str) -> tuple[float, float, int]:
    """Equations 5 to 8, pair by pair, with plain numbers."""
    e = one.descriptors.detach().reshape(-1, WIDTH)
    surprise, error, pairs = 0.0, 0.0, 0
    for m, own in enumerate(one.anchors.own_M.tolist()):
        matches = one.anchors.match_MN[m].tolist()
        exp = [math.exp(float(e[own] @ e[k]) / OPTIONS.temperature) for k in range(len(e))]
        same = {own, *(match for match in matches if match >= 0)}
        for frame, match in enumerate(matches):
            if match < 0:
                continue
            mine = range(frame * PATCHES, (frame + 1) * PATCHES)
            others = [k for k in mine if k != match]
            if negatives == "frames":
                others = [k for k in range(len(e)) if k not in same]
            surprise -= math.log(exp[match] / (exp[match] + sum(exp[k] for k in others)))
            candidates = [k for k in mine if one.known[frame, k - frame * PATCHES]]
            share = sum(exp[k] for k in candidates)
            depths = one.depth.flatten().tolist()
            expected = sum(exp[k] / share * depths[k] for k in candidates)
            truth = float(one.anchors.depth_MN[m, frame])
            error += abs(truth - expected) / (truth + expected + 1e-6)
            pairs += 1
    return surprise, error, pairs


@pytest.mark.parametrize("negatives", ["frames", "target"])
def test_sums_are_those_of_the_equations(negatives: str) -> None:
    one = case()
    sums = one.sums(dataclasses.replace(OPTIONS, negatives=negatives))  # type: ignore[arg-type]
    surprise, error, pairs = written_out(one, negatives)
    assert sums.pairs == sums.depth_pairs == pairs > 10
    assert sums.correspondence.item() == pytest.approx(surprise, rel=1e-9)
    assert sums.depth.item() == pytest.approx(error, rel=1e-9)


def test_chunks_change_neither_losses_nor_gradients() -> None:
    results = []
    for chunk in (1, 5, 1000):
        one = case()
        sums = one.sums(dataclasses.replace(OPTIONS, chunk=chunk))
        torch.add(sums.correspondence, sums.depth).backward()
        assert one.descriptors.grad is not None
        results.append((sums, one.descriptors.grad))
    for sums, gradient in results[1:]:
        assert sums.correspondence.item() == pytest.approx(results[0][0].correspondence.item())
        assert int(sums.right) == int(results[0][0].right)
        torch.testing.assert_close(gradient, results[0][1])


def test_depth_pulls_apart_what_looks_alike_at_other_depths() -> None:
    """Two patches of the target are equally similar; only depth tells which one is true."""
    descriptors = torch.zeros(2, 3, 4)
    descriptors[0, 0, 0] = descriptors[1, 0, 0] = descriptors[1, 1, 0] = 1
    descriptors[0, 1:, 1] = descriptors[1, 2, 1] = 1
    descriptors.requires_grad_()
    anchors = Anchors(torch.tensor([0]), torch.tensor([[-1, 3]]), torch.tensor([[0.0, 1.0]]))
    depth = torch.tensor([[1.0, 1.0, 1.0], [1.0, 4.0, 1.0]])
    sums = match_losses(descriptors, descriptors, anchors, depth, torch.ones(2, 3).bool(), OPTIONS)
    sums.depth.backward()
    assert descriptors.grad is not None
    assert sums.depth.item() > 0.3
    assert descriptors.grad[1, 1, 0] > 0, "the patch at the wrong depth shall become less similar"
    assert descriptors.grad[1, 0, 0] < 0


@pytest.mark.parametrize("elsewhere", [math.inf, math.nan, -3.0])
def test_depth_where_a_point_is_not_seen_changes_nothing(elsewhere: float) -> None:
    losses: list[float] = []
    gradients: list[Tensor] = []
    for value in (1.0, elsewhere):
        one = case()
        unseen_MN = one.anchors.match_MN < 0
        one.anchors.depth_MN[unseen_MN] = value
        loss = one.sums().depth
        loss.backward()
        losses.append(loss.item())
        assert one.descriptors.grad is not None
        gradients.append(one.descriptors.grad)
    assert losses[0] == losses[1] > 0
    assert torch.equal(gradients[0], gradients[1])


def test_nothing_to_compare_is_zero_and_no_nan() -> None:
    one = case()
    nobody = Anchors(one.anchors.own_M, torch.full_like(one.anchors.match_MN, -1),
                     one.anchors.depth_MN)  # fmt: skip
    for anchors, known in ((nobody, one.known), (one.anchors, torch.zeros_like(one.known))):
        leaf = one.descriptors.detach().requires_grad_()
        sums = match_losses(leaf, leaf, anchors, one.depth, known, OPTIONS)
        total = sums.depth if anchors is one.anchors else sums.correspondence + sums.depth
        assert float(total) == 0
        total.backward()
        assert leaf.grad is not None
        assert not leaf.grad.any()
    # One patch per frame, all of which show the point: no negative is left.
    single = F.normalize(torch.randn(2, 1, 4), dim=-1).requires_grad_()
    anchors = Anchors(torch.tensor([0]), torch.tensor([[-1, 1]]), torch.ones(1, 2))
    sums = match_losses(single, single, anchors, torch.ones(2, 1), torch.ones(2, 1).bool(), OPTIONS)
    sums.correspondence.backward()
    assert float(sums.correspondence.detach()) == 0
    assert single.grad is not None
    assert bool(single.grad.isfinite().all())


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"layers": (2, 2)}, "layers is"),
        ({"layers": (1,)}, "layers is"),
        ({"correspondence": -1.0}, "correspondence is -1.0"),
        ({"depth": math.nan}, "depth is nan"),
        ({"temperature": 0.0}, "temperature is 0.0"),
        ({"language": 1.5}, "language is 1.5"),
        ({"grids": ()}, "grids is"),
        ({"negatives": "none"}, "negatives is 'none'"),
        ({"chunk": 0}, "chunk is 0"),
    ],
)
def test_options_say_what_is_wrong(change: dict[str, object], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        GaspOptions(**change)  # type: ignore[arg-type]


def test_adapters_options_say_what_is_wrong() -> None:
    with pytest.raises(ValueError, match="rank is 0"):
        LoraOptions(rank=0)
