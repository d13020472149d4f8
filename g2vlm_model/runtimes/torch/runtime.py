# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A model on torch: what holds its memory, and the runtime around it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ...cache import KeyValueCache
from ...checkpoint import calibration_text, load_model, model_id
from ...config import CHAT, RECONSTRUCT
from ...extras.overlap import frame_overlap
from ...extras.reading import read_geometry
from ...interface import RuntimeInfo, RuntimeLimits
from ...model import G2VLM
from ...mot import Expert
from ...preprocess import semantic_merged_hw
from ...quantised import weight_count
from ...tokenizer import Tokenizer, prompt_ids
from ..clock import PassClock
from ..geometry_engine import GeometryEngine
from ..machine import give_free_blocks_back
from ..prediction import predict_geometry
from ..request import geometry_prompt
from ..scene import Pass, Seen, pictures_of
from ..scene_runtime import MAX_FRAMES, SceneRuntime
from .context import TorchContext, forked_cache, prefix_cache, scene_cache
from .geometry import EngineGeometry, GeometrySaid, WeightsGeometry
from .placement import Placement

__all__ = ["TorchExecutor", "TorchRuntime"]


class TorchExecutor:
    """Observes with one model on torch.

    Args:
        name: Folder, or the name of an embedded model.
        placement: Device and precision.
        prompt_mode: See `load_runtime`.
        engine: Computes the geometry; the model's own geometric weights are then not loaded.
        max_frames: See `load_runtime`.
        gives_back: What the C library holds free goes back to the system behind every pass.

    Attributes:
        model: What is loaded.
        info, config, tokenizer, cuda: See `Executor`.
    """

    def __init__(
        self,
        name: str | Path,
        placement: Placement,
        prompt_mode: str,
        engine: GeometryEngine | None,
        max_frames: int = MAX_FRAMES,
        gives_back: bool = False,
    ) -> None:
        self._gives_back = gives_back
        self.model, self.tokenizer = self.load(name, placement, engine is None)
        self.model.requires_grad_(False)
        self.config = self.model.config
        self.cuda = placement.device if placement.device.type == "cuda" else None
        self._engine = engine
        there = (CHAT, RECONSTRUCT) if engine is None else engine.prompts
        self._prompt = geometry_prompt(prompt_mode, self.config, there)
        prompts = prompt_ids(self.tokenizer, self.config.tokens)
        with torch.inference_mode():
            self._chat = prefix_cache(self.model, prompts.system)
            self._reconstruct = (
                prefix_cache(self.model, prompts.reconstruct)
                if self._prompt == RECONSTRUCT
                else None
            )
        self._checkpoint = _Checkpoint(self.model)
        self._geometry: WeightsGeometry | EngineGeometry
        if engine is None:
            where, precision = placement.description, placement.precision
            facts = RuntimeInfo("torch", where, precision, "", 0, limits=RuntimeLimits(max_frames))
            self._geometry = WeightsGeometry(self.model)
        else:
            facts = engine.facts
            self._geometry = EngineGeometry(engine, self.model)
        weights = weight_count(self.model)
        reasons = (facts.fallback_reason, placement.fallback_reason)
        self.info = replace(
            facts,
            model_id=model_id(name),
            calibration=calibration_text(name),
            parameters=facts.parameters + weights,
            fallback_reason="; ".join(filter(None, reasons)),
        )

    def load(
        self, name: str | Path, placement: Placement, geometric: bool
    ) -> tuple[G2VLM, Tokenizer]:
        """The model; `geometric` is False where an engine computes the geometry."""
        return load_model(
            *(name, placement.device, placement.dtype),
            geometric=geometric,
            global_points=False,
            quantise=placement.quantise,
        )

    @torch.inference_mode()
    def observe(self, seen: Seen, clock: PassClock) -> Pass:
        """Encode a window, see `Executor.observe`."""
        model, prefix, grid_hw = self.model, self._reconstruct, seen.grid_hw
        frames = len(seen.features)
        with self._checkpoint.during(clock):
            if prefix is None:
                cache = scene_cache(model, self._chat, frames, grid_hw, seen.first_hw)
            else:
                capacity = prefix.length + frames * (grid_hw[0] * grid_hw[1] + 2)
                cache = forked_cache(model, prefix, prefix.mark(), capacity)
            start = cache.mark()
            said = self._geometry.run(seen, cache, clock, self._prompt)
            confidence = said.tensors.confidence_logits_BNHW1
            invalid = said.tensors.invalid_logits_BNHW1
            geometry = predict_geometry(
                said.tensors.local_points_BNHW3[0],
                said.tensors.T_world_cam_BN44[0],
                None if confidence is None else confidence[0, ..., 0],
                pictures_of(seen.features),
                seen.window.frames,
                None if invalid is None else invalid[0, ..., 0],
            )
            context: TorchContext | partial[TorchContext]
            if prefix is None:
                context = self._context(said, seen, cache)
            else:
                context = partial(self._encode_again, seen)
            clock.lap("confidence")
            keys_GLC = cache.keys[-1, 0, :, start.length : cache.length]
            newest = seen.window.newest_moment
            overlap = frame_overlap(keys_GLC, model.config.text, grid_hw, start.position, newest)
            overlap_N: NDArray[np.float32] = overlap.cpu().numpy()
            clock.lap("overlap")
        if self._gives_back:
            give_free_blocks_back()
        return Pass(geometry, overlap_N, context)

    def close(self) -> None:
        """Close the engine."""
        if self._engine is not None:
            self._engine.close()

    @torch.inference_mode()
    def _encode_again(self, seen: Seen) -> TorchContext:
        """The pass behind the chat prefix that a first question needs, see `load_runtime`."""
        frames = len(seen.features)
        cache = scene_cache(self.model, self._chat, frames, seen.grid_hw, seen.first_hw)
        said = self._geometry.run(seen, cache, PassClock(), CHAT)
        return self._context(said, seen, cache)

    def _context(self, said: GeometrySaid, seen: Seen, cache: KeyValueCache) -> TorchContext:
        """What questions stand behind."""
        reading = None
        if self.model.fusion is not None:
            reading = read_geometry(said.hidden_1NPD, seen.grid_hw, said.tensors)
        merged_hw = semantic_merged_hw(self.model.config, seen.first_hw)
        return TorchContext(self.model, cache, merged_hw, reading)


class TorchRuntime(SceneRuntime):
    """A `SpatialRuntime` on torch; thread-safe.

    Args:
        model: Folder, or the name of an embedded model.
        placement: Device and precision.
        prompt_mode: See `load_runtime`.
        geometry: Computes the geometry in the place of the model's geometric weights, which
            are then not loaded; torch answers on top of it. Closed with the runtime.
        max_frames: Longest window, see `load_runtime`; that of `geometry`, where it is given.
        gives_back: See `TorchExecutor`.

    Raises:
        FileNotFoundError: No such folder, or a file of it is missing.
        ValueError: A damaged or unfitting file, or an engine that lacks the prompt.
        RuntimeError: The model does not fit into the device's memory.
    """

    def __init__(
        self,
        model: str | Path,
        placement: Placement,
        prompt_mode: str = "auto",
        geometry: GeometryEngine | None = None,
        max_frames: int = MAX_FRAMES,
        gives_back: bool = False,
    ) -> None:
        how = (prompt_mode, geometry, max_frames, gives_back)
        load = partial(TorchExecutor, model, placement, *how)
        super().__init__(load, str(placement.device), partial(_release, placement.device))


def _release(device: torch.device) -> None:
    """Give the allocator's free memory back to the device."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


class _Checkpoint:
    """Asks ahead of every layer of a pass whether anybody still wants it.

    The model knows nothing of it: torch calls a hook ahead of a module. A pass that is ended so
    has written into its own cache only.

    Args:
        network: Gets the hooks, which do nothing outside `during`.
    """

    def __init__(self, network: G2VLM) -> None:
        self._clock: PassClock | None = None
        for module in _layers(network):
            module.register_forward_pre_hook(self._ahead)

    @contextmanager
    def during(self, clock: PassClock) -> Iterator[None]:
        """Have the layers ask this clock."""
        self._clock = clock
        try:
            yield
        finally:
            self._clock = None

    def _ahead(self, module: nn.Module, inputs: Any) -> None:
        if self._clock is not None:
            self._clock.check()


def _layers(network: G2VLM) -> Iterator[nn.Module]:
    """What a pass calls one after the other: encoder blocks, experts, blocks of the heads.

    A mixture layer is entered by a method of its own, which torch calls no hook for: the first
    modules of its two halves stand for it.
    """
    for module in network.modules():
        if isinstance(module, Expert):
            yield from (module.attention_norm, module.mlp_norm)
        elif isinstance(module, nn.ModuleList):
            yield from module
