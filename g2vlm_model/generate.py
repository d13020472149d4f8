# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The published sequences (reconstruct, chat) as orders of passes, and decoding.

Shape letters: B batch, N frames, V vocabulary, H W pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from .cache import AttentionCache, GrowingCache, KeyValueCache
from .extras.fusion import FusedImages
from .extras.reading import GeometryReading, read_geometry
from .model import G2VLM, GeometryHidden
from .poses import GeometryTensors
from .positions import DecodeStep
from .preprocess import SemanticRows
from .tokenizer import PromptIds

__all__ = [
    "Sampler",
    "decode",
    "prefill_frames",
    "prefill_ids",
    "prefill_semantic",
    "read_frames",
    "reconstruct",
    "reconstruct_prefix",
]


class Sampler:
    """Chooses a token from logits.

    Args:
        temperature: 0 takes the most probable one; above, one is drawn from
            softmax(logits / temperature).
        seed: The same seed draws the same tokens, on any device.

    Raises:
        ValueError: A negative temperature.
    """

    def __init__(self, temperature: float = 0.0, seed: int = 0) -> None:
        if not temperature >= 0:
            raise ValueError(f"temperature is {temperature}, expected 0 or more")
        self.temperature = temperature
        self._random = torch.Generator().manual_seed(seed)

    def __call__(self, logits_V: Tensor) -> Tensor:
        """Return the chosen id, an int64 scalar on the logits' device."""
        if self.temperature == 0:
            return logits_V.argmax()
        probabilities_V = (logits_V.float() / self.temperature).softmax(-1).cpu()
        drawn_1 = torch.multinomial(probabilities_V, 1, generator=self._random)
        return drawn_1[0].to(logits_V.device)


def prefill_ids(
    model: G2VLM, ids: Sequence[int], cache: AttentionCache, added_BTD: Tensor | None = None
) -> None:
    """Append one sequence of text, with what its references add to the embeddings."""
    model.prefill_text(torch.tensor([list(ids)], device=model.device), cache, added_BTD)


def prefill_frames(
    model: G2VLM, pixels_BN3HW: Tensor, cache: AttentionCache | None = None
) -> tuple[GeometryHidden, tuple[int, int]]:
    """Encode pictures and run the geometric pass behind what the cache holds.

    Args:
        model: The model.
        pixels_BN3HW: Normalised pictures.
        cache: Takes the frames' keys and values; None keeps nothing.

    Returns:
        Hidden states, and the grid (rows, columns) of patches.
    """
    patch = model.config.patch_size
    grid_hw = (pixels_BN3HW.shape[-2] // patch, pixels_BN3HW.shape[-1] // patch)
    tokens_BNPD = model.encode_geometry(pixels_BN3HW)
    return model.geometry_pass(tokens_BNPD, grid_hw, cache=cache), grid_hw


def reconstruct_prefix(model: G2VLM, prompts: PromptIds, windows: int = 1) -> GrowingCache:
    """What the geometric pass of a reconstruction stands behind, for windows side by side.

    Empty where patches see patches only (`isolate_geometry`): they would read nothing of the
    sentence, and of rotary positions only the distance counts. Lets gradients through.

    Args:
        model: The model.
        prompts: Of the model's tokenizer.
        windows: How many, B.
    """
    cache = GrowingCache()
    if not model.config.isolate_geometry:
        ids_1T = torch.tensor([prompts.reconstruct], device=model.device)
        model.prefill_text(ids_1T.expand(windows, -1), cache)
    return cache


def read_frames(
    model: G2VLM,
    hidden: GeometryHidden,
    grid_hw: tuple[int, int],
    pixels_BN3HW: Tensor | None = None,
) -> GeometryReading | None:
    """What the semantic expert is told of a geometric pass; None without `geometry_feedback`.

    Args:
        model: The model.
        hidden: Of the pass.
        grid_hw: Rows and columns of patches.
        pixels_BN3HW: As in `G2VLM.decode_geometry`.
    """
    if model.fusion is None:
        return None
    geometry = model.decode_geometry(hidden.hidden_BNPD, grid_hw, pixels_BN3HW=pixels_BN3HW)
    return read_geometry(hidden.hidden_BNPD, grid_hw, geometry)


def prefill_semantic(
    model: G2VLM,
    rows: SemanticRows[Tensor],
    cache: AttentionCache,
    reading: GeometryReading | None = None,
) -> FusedImages | None:
    """Encode pictures for the semantic expert and append them.

    Args:
        model: The model.
        rows: Of one window's pictures.
        cache: Holds the geometric frames.
        reading: From `read_frames`.

    Returns:
        The images with geometry in them, for `reference_features`; None without a reading.
    """
    rows_BNRC = rows.rows_NRC[None].to(model.device)
    tokens_BNSD = model.encode_semantic(rows_BNRC, rows.grid_hw)
    if reading is None:
        model.prefill_images(tokens_BNSD, rows.merged_hw, cache)
        return None
    images = model.fuse_images(tokens_BNSD, rows.merged_hw, reading)
    model.prefill_images(images.tokens_BNSD, rows.merged_hw, cache, images.cameras_BND)
    return images


def reconstruct(
    model: G2VLM,
    pixels_BN3HW: Tensor,
    prompts: PromptIds,
    *,
    with_global: bool = False,
) -> GeometryTensors:
    """Run the published reconstruction: prompt, then all frames, then the heads.

    Args:
        model: The model.
        pixels_BN3HW: Normalised pictures, B = 1.
        prompts: Of the model's tokenizer.
        with_global: Also return the global head's points.
    """
    blocks = (pixels_BN3HW.shape[-2] // model.config.patch_size) * (
        pixels_BN3HW.shape[-1] // model.config.patch_size
    ) + 2
    capacity = len(prompts.reconstruct) + pixels_BN3HW.shape[1] * blocks
    cache = KeyValueCache(model.config, capacity, device=model.device, dtype=model.dtype)
    prefill_ids(model, prompts.reconstruct, cache)
    hidden, grid_hw = prefill_frames(model, pixels_BN3HW, cache)
    return model.decode_geometry(
        hidden.hidden_BNPD, grid_hw, pixels_BN3HW=pixels_BN3HW, with_global=with_global
    )


def decode(
    model: G2VLM,
    cache: AttentionCache,
    sampler: Sampler,
    first_id: int | None = None,
    added_11D: Tensor | None = None,
    logits_V: Tensor | None = None,
) -> Iterator[DecodeStep]:
    """Decode token after token, without end; the caller stops asking.

    Each step appends its *input* token to the cache.

    Args:
        model: The model.
        cache: Everything up to the answer.
        sampler: Chooses the tokens.
        first_id: First input; the special start of an answer where None.
        added_11D: Added to the first input's embedding (`reference_features`).
        logits_V: Of the first token, where the first input has been read with the question: the
            first step only chooses.
    """
    start = model.special_ids.start_of_answer if first_id is None else first_id
    token = torch.tensor(start, device=model.device)
    while True:
        if logits_V is None:
            more = () if added_11D is None else (added_11D,)
            logits_V = model.decode_step(token.view(1, 1), cache, *more)[0]
            added_11D = None
        token = sampler(logits_V)
        log_probability = logits_V.float().log_softmax(-1)[token]
        # One transfer for both numbers: a float64 holds any id exactly.
        number, logarithm = torch.stack((token.double(), log_probability.double())).tolist()
        yield DecodeStep(int(number), logarithm, logits_V)
        logits_V = None
