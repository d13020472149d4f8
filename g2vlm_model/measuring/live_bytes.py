# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""How much memory a pass takes, found by running it on tensors without memory, or on real ones.

On the meta device, or under `torch._subclasses.FakeTensorMode` where gradients on the CPU are
wanted, a pass has shapes and types but takes no memory, so a model of any size can be followed on
any machine:

    with torch.device("meta"), TracedAttention() as attention, LiveBytes() as live:
        run()
    live.peak, attention.flops

Shape letters: B batch, A heads, L queries, K keys, C head width.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ..layers import autocast_on

__all__ = ["LiveBytes", "TracedAttention"]


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of tensors that were made inside of it and are still alive.

    A view of a tensor from outside (a transposed weight) is nothing new and does not count.

    Attributes:
        now: Bytes alive.
        peak: Most bytes that were alive at once.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = 0
        self.peak = 0
        self._known: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and follow the storages of its results."""
        for tensor in _tensors((args, *(kwargs or {}).values())):
            self._know(tensor, 0)  # from outside, unless it was followed
        out = func(*args, **(kwargs or {}))
        for tensor in _tensors(out):
            self._know(tensor, tensor.untyped_storage().nbytes())
        return out

    def restart_peak(self) -> None:
        """Forget the peak: what comes is compared with what is alive now."""
        self.peak = self.now

    def _know(self, tensor: Tensor, size: int) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self._known:
            self._known[key] = size
            self.now += size
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._forget, key)

    def _forget(self, key: int) -> None:
        self.now -= self._known.pop(key)


def _tensors(tree: Any) -> Iterator[Tensor]:
    """The tensors among an operation's arguments or results."""
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, tuple | list):
        for branch in tree:
            yield from _tensors(branch)


class TracedAttention:
    """Takes the place of torch's attention while a pass is traced; counts its operations.

    Which kernel runs depends on a device that a trace does not have. Differentiable.

    Args:
        scores: Copies of the scores (B, A, L, K) that stand in memory at once: 0 is a fused
            kernel, which also shares key heads.

    Attributes:
        flops: Of the products so far, backward ones included.
    """

    def __init__(self, scores: int = 0) -> None:
        self.flops = 0
        self.scores = scores
        self._usual = F.scaled_dot_product_attention

    def __enter__(self) -> TracedAttention:
        """Replace torch's attention."""
        F.scaled_dot_product_attention = self._attend  # type: ignore[assignment]
        return self

    def __exit__(self, *error: object) -> None:
        """Put torch's attention back."""
        F.scaled_dot_product_attention = self._usual

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, **options: object) -> Tensor:
        if autocast_on(q):
            q, k, v = (x.to(torch.bfloat16) for x in (q, k, v))
        out: Tensor = _Attend.apply(q, k, v, self)  # type: ignore[no-untyped-call]
        return out

    def count(self, q: Tensor, k: Tensor, products: int) -> None:
        """Add so many products of queries and keys."""
        self.flops += 2 * products * q.numel() * k.shape[-2]


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, mode: TracedAttention) -> Tensor:
        scores = [q.new_empty((*q.shape[:-1], k.shape[-2])) for _ in range(mode.scores)]
        out = torch.empty_like(q)
        del scores
        log_sum = q.new_empty(q.shape[:-1], dtype=torch.float32)
        ctx.save_for_backward(q, k, v, log_sum)  # `out` is kept by the map behind it
        ctx.mode = mode
        mode.count(q, k, products=2)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        q, k, v, _ = ctx.saved_tensors
        ctx.mode.count(q, k, products=5)  # scores again, then four products
        return torch.empty_like(q), torch.empty_like(k), torch.empty_like(v), None
