# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Small parts that several networks share: norms, MLP, rotary embedding, attention, table cache.

Norms accept a residual stream in float32 beside weights in half precision: they compute in
float32 and return the weights' type, so that a branch runs in half precision and the stream
keeps its range.

Shape letters: B batch, L tokens (queries of an attention), K keys, A heads, G key/value heads,
C head width, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager, nullcontext
from typing import Generic, NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = [
    "LayerNorm",
    "Mlp",
    "RMSNorm",
    "Rotation",
    "TableCache",
    "as_residual",
    "attend_full",
    "autocast_on",
    "by_tokens",
    "full_precision",
    "inverse_frequencies",
    "quick_gelu",
    "rotate",
    "scaled_residual",
    "swiglu",
]

T = TypeVar("T")

_HIDDEN = 1 << 22  # numbers of a hidden layer that are held at once: 16 MiB


class Rotation(NamedTuple):
    """Cosines and sines of rotary angles, float32, (L, ..., C / 2), one per pair of channels."""

    cos: Tensor
    sin: Tensor

    @classmethod
    def of(cls, angles: Tensor) -> Rotation:
        """Return the rotation by the given angles."""
        return cls(angles.cos(), angles.sin())


class RMSNorm(nn.Module):
    """x / rms(x) * weight over the last axis."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x_D: Tensor) -> Tensor:
        """Normalise (..., D); the result has the weight's type."""
        weight_D = self.weight
        if x_D.dtype != weight_D.dtype:
            normed_D = F.rms_norm(x_D.float(), weight_D.shape, None, self.eps)
            return normed_D.to(weight_D.dtype) * weight_D
        if in_place_pays(x_D):
            return rms_norm_cpu(x_D, weight_D, self.eps)
        return F.rms_norm(x_D, weight_D.shape, weight_D, self.eps)


def in_place_pays(x: Tensor) -> bool:
    """Whether memory traffic decides: float32 on a CPU, with no gradient.

    Elsewhere the plain form is fused, or its steps have to be kept.
    """
    return x.device.type == "cpu" and x.dtype == torch.float32 and not torch.is_grad_enabled()


def rms_norm_cpu(x_D: Tensor, weight_D: Tensor, eps: float) -> Tensor:
    """Return `F.rms_norm`, four times as fast for narrow axes (2048 x 6 rows of 64 numbers)."""
    norm_1 = torch.linalg.vector_norm(x_D, dim=-1, keepdim=True)
    inverse_1 = norm_1.square_().mul_(1.0 / x_D.shape[-1]).add_(eps).rsqrt_()
    out_D: Tensor = (x_D * inverse_1).mul_(weight_D)
    return out_D


class LayerNorm(nn.LayerNorm):
    """Layer normalisation over the last axis; the result has the weight's type."""

    def forward(self, x_D: Tensor) -> Tensor:
        """Normalise (..., D)."""
        if x_D.dtype == self.weight.dtype:
            return super().forward(x_D)
        normed_D = F.layer_norm(
            x_D.float(), self.normalized_shape, self.weight.float(), self.bias.float(), self.eps
        )
        return normed_D.to(self.weight.dtype)


class Mlp(nn.Module):
    """Two linear layers with an activation between them."""

    def __init__(self, width: int, hidden: int, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)
        self.activation = activation
        self.hidden = hidden

    def forward(self, x_D: Tensor) -> Tensor:
        """Map (..., D) to (..., D)."""
        return by_tokens(self._of_some, x_D, self.hidden)

    def _of_some(self, x_D: Tensor) -> Tensor:
        return self.fc2(self.activation(self.fc1(x_D)))  # type: ignore[no-any-return]


def by_tokens(branch: Callable[[Tensor], Tensor], x_D: Tensor, hidden: int) -> Tensor:
    """Run a branch that knows each token alone, on so many at once as its hidden layer may hold.

    Where memory counts (`in_place_pays`); of a model of the published size the hidden layers are
    the largest tensors of a pass.

    Args:
        branch: (T, D) -> (T, D), or the same with more axes in front.
        x_D: (..., D).
        hidden: Width of the hidden layer.
    """
    if not in_place_pays(x_D):
        return branch(x_D)
    tokens = max(1, _HIDDEN // hidden)
    x_TD = x_D.flatten(0, -2)
    if len(x_TD) <= tokens:
        return branch(x_D)
    out_TD = torch.empty_like(x_TD)
    for some_SD, out_SD in zip(x_TD.split(tokens), out_TD.split(tokens), strict=True):
        out_SD.copy_(branch(some_SD))
    return out_TD.view(x_D.shape)


def quick_gelu(x: Tensor) -> Tensor:
    """Return x * sigmoid(1.702 x); may overwrite `x` where no gradient is wanted."""
    if in_place_pays(x):
        return x.mul_((1.702 * x).sigmoid_())
    return x * torch.sigmoid(1.702 * x)


def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    """Return silu(gate) * up; may overwrite `gate` where no gradient is wanted."""
    if in_place_pays(gate):
        return F.silu(gate, inplace=True).mul_(up)
    return F.silu(gate) * up


def as_residual(x: Tensor) -> Tensor:
    """Return a residual stream's start: float32 where the weights are in half precision."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def autocast_on(x: Tensor) -> bool:
    """Whether mixed precision is on where a tensor is; the meta device has none to ask for."""
    return x.device.type != "meta" and torch.is_autocast_enabled(x.device.type)


def full_precision(x: Tensor) -> AbstractContextManager[object]:
    """Leave the mixed precision (autocast) that a training step may have entered."""
    if autocast_on(x):
        return torch.autocast(x.device.type, enabled=False)
    return nullcontext()


def scaled_residual(x: Tensor, branch: Tensor, scale: Tensor) -> Tensor:
    """Return x + scale * branch."""
    if x.dtype == branch.dtype:
        return torch.addcmul(x, branch, scale)
    return x + branch * scale


def inverse_frequencies(width: int, base: float, device: torch.device | None = None) -> Tensor:
    """Return base^(-2j / width) for j < width / 2, float32."""
    exponent = torch.arange(0, width, 2, device=device, dtype=torch.float32) / width
    return 1.0 / base**exponent


def rotate(x: Tensor, rotation: Rotation) -> Tensor:
    """Rotate channel pairs (j, j + C / 2) of the last axis.

    Args:
        x: (..., C).
        rotation: Tables (..., C / 2) that broadcast against halves of `x`.

    Returns:
        Same shape and type as `x`, computed in float32.
    """
    if in_place_pays(x):
        return _rotate_cpu(x, rotation)
    first, second = x.chunk(2, dim=-1)
    cos, sin = rotation
    rotated = torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)
    return rotated.to(x.dtype)


def _rotate_cpu(x: Tensor, rotation: Rotation) -> Tensor:
    """Return `rotate` without intermediate tensors, in half the time."""
    cos, sin = rotation
    out = x * torch.cat((cos, cos), dim=-1)
    first, second = x.chunk(2, dim=-1)
    out_first, out_second = out.chunk(2, dim=-1)
    out_first.addcmul_(second, sin, value=-1)
    out_second.addcmul_(first, sin)
    return out


def attend_full(
    q_BLAC: Tensor, k_BGKC: Tensor, v_BGKC: Tensor, mask_LK: Tensor | None = None
) -> Tensor:
    """Let every query see every key (that the mask allows).

    Queries have the layout that projections give, keys and values that of the cache. G divides
    A; query head a uses key head a // (A / G).

    Args:
        q_BLAC: Queries, rotated.
        k_BGKC, v_BGKC: Keys (rotated) and values.
        mask_LK: bool, True where a query sees a key.

    Returns:
        (B, L, A * C).
    """
    repeats = q_BLAC.shape[2] // k_BGKC.shape[1]
    grouped = repeats > 1
    if grouped and not _kernel_groups_heads(q_BLAC):
        k_BGKC = k_BGKC.repeat_interleave(repeats, dim=1)
        v_BGKC = v_BGKC.repeat_interleave(repeats, dim=1)
        grouped = False
    out_BALC = F.scaled_dot_product_attention(
        q_BLAC.transpose(1, 2), k_BGKC, v_BGKC, attn_mask=mask_LK, enable_gqa=grouped
    )
    return out_BALC.transpose(1, 2).flatten(2)


def _kernel_groups_heads(q: Tensor) -> bool:
    """Whether a fused kernel shares key heads: on CUDA the float32 one does not.

    There the fallback would hold all scores in memory, so repeating the key heads is cheaper.
    """
    return q.device.type != "cuda" or q.dtype in (torch.float16, torch.bfloat16)


class TableCache(Generic[T]):
    """Keeps the newest few tables that depend on sizes only."""

    def __init__(self, capacity: int = 16) -> None:
        self.capacity = capacity
        self._tables: dict[Hashable, T] = {}

    def get(self, key: Hashable, build: Callable[[], T]) -> T:
        """Return the table of `key`, built on first use without gradients."""
        found = self._tables.get(key)
        if found is None:
            # Not an inference tensor: a later training pass may have to save it.
            with torch.inference_mode(False), torch.no_grad():
                found = build()
            while len(self._tables) >= self.capacity:
                self._tables.pop(next(iter(self._tables)))
            self._tables[key] = found
        return found
