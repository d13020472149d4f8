"""Caches of scenes: behind a prefix that is computed once, and forked for drawn marks."""

from __future__ import annotations

from collections.abc import Sequence

from ...cache import CacheMark, KeyValueCache
from ...generate import prefill_ids
from ...model import G2VLM
from ...preprocess import semantic_merged_hw

__all__ = ["QUESTION_TOKENS", "forked_cache", "prefix_cache", "scene_cache"]

QUESTION_TOKENS = 512  # room for a question and its answer; a cache grows where it is too little


def prefix_cache(model: G2VLM, ids: Sequence[int]) -> KeyValueCache:
    """Keys and values of a fixed text, constant per checkpoint.

    Args:
        model: In evaluation mode.
        ids: Token ids of the text.
    """
    cache = KeyValueCache(model.config, len(ids), device=model.device, dtype=model.dtype)
    prefill_ids(model, ids, cache)
    return cache


def scene_cache(
    model: G2VLM, prefix: KeyValueCache, frames: int, grid_hw: tuple[int, int]
) -> KeyValueCache:
    """A cache that holds a prefix and has room for a scene and its questions.

    Args:
        model: Whose cache it is.
        prefix: Text ahead of the frames; not changed.
        frames: Of the window.
        grid_hw: Rows and columns of geometric patches.
    """
    merged_hw = semantic_merged_hw(model.config)
    blocks = (grid_hw[0] * grid_hw[1] + 2) + (merged_hw[0] * merged_hw[1] + 2)
    capacity = prefix.length + frames * blocks + QUESTION_TOKENS
    return forked_cache(model, prefix, prefix.mark(), capacity)


def forked_cache(
    model: G2VLM, source: KeyValueCache, mark: CacheMark, capacity: int
) -> KeyValueCache:
    """A new cache that starts with the first tokens of another one.

    Args:
        model: Whose cache it is.
        source: Not changed.
        mark: How much of it is taken: a state that it has been in.
        capacity: Tokens that the new cache can hold, at least those taken.
    """
    held = mark.length
    assert held <= min(source.length, capacity), (mark, source.length, capacity)
    fork = KeyValueCache(model.config, capacity, device=model.device, dtype=model.dtype)
    fork.keys[:, :, :, :held] = source.keys[:, :, :, :held]
    fork.values[:, :, :, :held] = source.values[:, :, :, :held]
    fork.advance(held, mark.position)
    return fork
