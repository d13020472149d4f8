# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Keys and values of the tokens that later tokens may attend to.

Two caches with one interface: `KeyValueCache` writes into memory taken once (inference),
`GrowingCache` concatenates and lets gradients through (training, export). A pass appends its
keys and values layer by layer and calls `advance` once at its end.

Shape letters: B batch, G key/value heads, L tokens, C head width.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from .config import ModelConfig
from .positions import CacheMark

__all__ = ["AttentionCache", "CacheMark", "GrowingCache", "KeyValueCache"]


class AttentionCache(Protocol):
    """What a pass through the transformer needs of a cache."""

    length: int
    position: int

    def append(self, layer: int, k_BGLC: Tensor, v_BGLC: Tensor) -> tuple[Tensor, Tensor]:
        """Add a pass's keys and values to a layer; return all of that layer's, old and new."""
        ...

    def advance(self, tokens: int, position: int) -> None:
        """End a pass that appended `tokens` to every layer; `position` is the next token's."""
        ...


class KeyValueCache:
    """Preallocated keys and values of every layer; appending copies only what is new.

    Args:
        config: Model whose layers it serves.
        capacity: Tokens that it can hold.
        batch: Sequences side by side.
        device, dtype: Of the memory; dtype is the weights'.

    Attributes:
        length: Tokens held.
        position: Rotary position of the next token.
    """

    def __init__(
        self,
        config: ModelConfig,
        capacity: int,
        *,
        batch: int = 1,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        text = config.text
        shape = (
            text.num_hidden_layers,
            batch,
            text.num_key_value_heads,
            capacity,
            text.head_dim,
        )
        self.keys = torch.empty(shape, device=device, dtype=dtype)
        self.values = torch.empty(shape, device=device, dtype=dtype)
        self.length = 0
        self.position = 0

    @property
    def capacity(self) -> int:
        """Tokens that fit without taking more memory."""
        return self.keys.shape[3]

    @property
    def nbytes(self) -> int:
        """Bytes taken by keys and values."""
        return 2 * self.keys.numel() * self.keys.element_size()

    def append(self, layer: int, k_BGLC: Tensor, v_BGLC: Tensor) -> tuple[Tensor, Tensor]:
        """Write a pass's keys and values behind the held ones; return views of all.

        Args:
            layer: Index of the layer.
            k_BGLC, v_BGLC: New keys (rotated) and values.

        Returns:
            Keys and values (B, G, length + L, C), views into the cache.

        Raises:
            RuntimeError: The capacity is too small (`reserve` before the pass), or a gradient
                is wanted (`GrowingCache` lets it through).
        """
        if k_BGLC.requires_grad:
            raise RuntimeError(
                "KeyValueCache is written in place and carries no gradient; use GrowingCache to "
                "train, or run under torch.inference_mode()"
            )
        end = self.length + k_BGLC.shape[2]
        if end > self.capacity:
            raise RuntimeError(
                f"cache holds {self.length} of {self.capacity} tokens and {k_BGLC.shape[2]} more "
                "do not fit; call reserve() before the pass"
            )
        self.keys[layer, :, :, self.length : end] = k_BGLC
        self.values[layer, :, :, self.length : end] = v_BGLC
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]

    def advance(self, tokens: int, position: int) -> None:
        """End a pass of `tokens` tokens; `position` is the rotary position of the next."""
        self.length += tokens
        self.position = position

    def reserve(self, tokens: int) -> None:
        """Make room for `tokens` more, moving the held ones once if there is too little."""
        needed = self.length + tokens
        if needed <= self.capacity:
            return
        moved = []
        for old in (self.keys, self.values):
            new = old.new_empty((*old.shape[:3], needed, old.shape[4]))
            new[:, :, :, : self.length] = old[:, :, :, : self.length]
            moved.append(new)
        self.keys, self.values = moved  # both or, where memory runs out, neither

    def mark(self) -> CacheMark:
        """Return the present state, for `truncate`."""
        return CacheMark(self.length, self.position)

    def truncate(self, length: int, position: int) -> None:
        """Forget every token from `length` on; nothing is copied.

        Args:
            length: Tokens to keep, at most those held.
            position: Rotary position of the next token, as in the mark taken at that length.

        Raises:
            ValueError: Fewer tokens are held.
        """
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot truncate to {length} tokens, the cache holds {self.length}")
        self.length = length
        self.position = position


class GrowingCache:
    """Keys and values that grow by concatenation; differentiable, any batch.

    A prefix held with batch 1 is shared by all sequences of a later, larger batch.
    """

    def __init__(self) -> None:
        self.layers: dict[int, tuple[Tensor, Tensor]] = {}
        self.length = 0
        self.position = 0

    def append(self, layer: int, k_BGLC: Tensor, v_BGLC: Tensor) -> tuple[Tensor, Tensor]:
        """Concatenate a pass's keys and values to a layer's; return all of them."""
        if layer in self.layers:
            k_old, v_old = self.layers[layer]
            batch = k_BGLC.shape[0]
            k_BGLC = torch.cat((k_old.expand(batch, -1, -1, -1), k_BGLC), dim=2)
            v_BGLC = torch.cat((v_old.expand(batch, -1, -1, -1), v_BGLC), dim=2)
        self.layers[layer] = (k_BGLC, v_BGLC)
        return k_BGLC, v_BGLC

    def advance(self, tokens: int, position: int) -> None:
        """End a pass of `tokens` tokens; `position` is the rotary position of the next."""
        self.length += tokens
        self.position = position

    def copy(self) -> GrowingCache:
        """Return a cache with the same tokens, that grows on its own (nothing is copied)."""
        other = GrowingCache()
        other.layers = dict(self.layers)
        other.length, other.position = self.length, self.position
        return other

    def repeat(self, times: int) -> GrowingCache:
        """Return a cache in which each sequence stands `times` times in a row."""
        other = self.copy()
        other.layers = {
            layer: (k.repeat_interleave(times, dim=0), v.repeat_interleave(times, dim=0))
            for layer, (k, v) in self.layers.items()
        }
        return other
