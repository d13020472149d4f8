# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Each fast path of the shared parts against its plain twin."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from g2vlm_model import layers
from g2vlm_model.layers import (
    LayerNorm,
    Mlp,
    RMSNorm,
    Rotation,
    TableCache,
    inverse_frequencies,
    quick_gelu,
    rotate,
    swiglu,
)

TOLERANCE = 2e-6


def operand(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def norm(x: Tensor) -> Tensor:
    module = RMSNorm(8, 1e-6)
    with torch.no_grad():
        module.weight.copy_(operand(8, seed=3))
    return module(x)  # type: ignore[no-any-return]


def turn(x: Tensor) -> Tensor:
    return rotate(x, Rotation.of(operand(5, 1, 4, seed=4)))


def gated(x: Tensor) -> Tensor:
    return swiglu(x * 1.0, operand(2, 5, 3, 8, seed=5))


@pytest.mark.parametrize("function", [norm, turn, gated], ids=["rms_norm", "rotate", "swiglu"])
def test_fast_paths_agree_with_plain_ones(function: Callable[[Tensor], Tensor]) -> None:
    """Without gradients the fast path runs, with gradients the plain one."""
    for x in (operand(2, 5, 3, 8), operand(2, 5, 8, 3).transpose(2, 3), operand(2, 5, 3, 8) * 1e-4):
        plain = function(x.clone().requires_grad_())
        assert plain.requires_grad
        before = x.clone()
        with torch.no_grad():
            fast = function(x)
        error = (fast - plain.detach()).abs()
        assert error.max() < TOLERANCE, f"max {error.max():.2e}, mean {error.mean():.2e}"
        assert torch.equal(x, before), "the input was changed"
        plain.sum().backward()


def test_rotation_turns_pairs() -> None:
    """A rotation keeps lengths, and products depend on the difference of positions only."""
    frequencies = inverse_frequencies(8, 100.0)
    assert frequencies.tolist() == pytest.approx([1.0, 100**-0.25, 100**-0.5, 100**-0.75])
    q, k = operand(1, 1, 1, 8), operand(1, 1, 1, 8, seed=1)

    def at(x: Tensor, position: int) -> Tensor:
        return rotate(x, Rotation.of((position * frequencies)[None, None]))

    assert float(at(q, 5).norm()) == pytest.approx(float(q.norm()), rel=1e-6)
    near = float((at(q, 3) * at(k, 1)).sum())
    far = float((at(q, 9) * at(k, 7)).sum())
    other = float((at(q, 9) * at(k, 6)).sum())
    assert near == pytest.approx(far, abs=1e-5)
    assert abs(near - other) > 1e-3


@pytest.mark.parametrize("module", [RMSNorm(8, 1e-6), LayerNorm(8, eps=1e-6)])
def test_norms_take_a_float32_stream_beside_half_weights(module: torch.nn.Module) -> None:
    x = operand(4, 8) * 1000
    want = module(x)
    got = module.to(torch.bfloat16)(x)
    assert got.dtype == torch.bfloat16
    torch.testing.assert_close(got.float(), want, atol=0.03, rtol=0.03)


def test_quick_gelu() -> None:
    assert float(quick_gelu(torch.tensor(1.0))) == pytest.approx(0.8457957659)


def test_table_cache_keeps_the_newest() -> None:
    cache: TableCache[Tensor] = TableCache(capacity=2)
    built: list[int] = []

    def table(key: int) -> Tensor:
        def build() -> Tensor:
            built.append(key)
            return torch.full((1,), float(key))

        return cache.get(key, build)

    with torch.inference_mode():
        for key in (1, 2, 1, 3, 3, 1):
            assert float(table(key)) == key
    assert built == [1, 2, 3, 1]
    assert not table(1).is_inference()


@pytest.mark.parametrize("shape", [(7, 16), (2, 5, 16), (1, 2, 3, 16)])
@torch.inference_mode()
def test_a_hidden_layer_holds_some_tokens_at_once(
    shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    mlp, x = Mlp(16, 64, quick_gelu), torch.randn(shape)
    seen: list[int] = []
    mlp.fc1.register_forward_pre_hook(lambda _, given: seen.append(given[0][..., 0].numel()))
    whole = mlp(x)
    monkeypatch.setattr(layers, "_HIDDEN", 3 * 64)
    torch.testing.assert_close(mlp(x), whole)
    assert seen[0] == sum(seen[1:]) == x[..., 0].numel()
    assert max(seen[1:]) == 3


def test_gradients_see_all_tokens_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    mlp, x = Mlp(16, 64, quick_gelu), torch.randn(5, 16, requires_grad=True)
    monkeypatch.setattr(layers, "_HIDDEN", 64)
    mlp(x).sum().backward()
    assert x.grad is not None
    hidden = mlp.fc1(x.detach())
    wanted = F.linear(hidden * torch.sigmoid(1.702 * hidden), mlp.fc2.weight, mlp.fc2.bias)
    torch.testing.assert_close(mlp(x), wanted)
