# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""GASP on a plain Qwen2.5-VL of `transformers`: the paper's own setting, by the same code.

The caller draws windows and language batches, and which of them a step takes:

def loss_of_step(step):
    if step % 2:
        return [stage(None, language_batch(step))]
    generator = step_generator(config, step)
    return [stage(draw_batch(source, 1, 8, generator, None, ViewOptions(radius=48)))]

stage = QwenGaspStage(model, GaspOptions(), LoraOptions(rank=512))
trainer = Trainer(stage, config, folder, loss_of_step, rate_of=stage.rate_of)
trainer.run()
stage.merge(trainer.whole_average())
model.save_pretrained(folder)
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..datasets.batch import WindowBatch
from ..stages.lora import attach_lora
from ..stages.stage import StageLoss
from .gasp import GaspSupervision, VisualTokens, tapped_tokens
from .gasp_heads import LayerTap, chosen_layers
from .gasp_options import GaspOptions, LoraOptions
from .gasp_readers import QwenReader

__all__ = ["QwenGaspStage"]


class QwenGaspStage(nn.Module):
    """The model with adapters, and heads on its layers.

    Args:
        model: `Qwen2_5_VLForConditionalGeneration`; its adapters are put on in place.
        options: Of the supervision.
        lora: Of the adapters.
        side: Pixels of a side at which it sees pictures.

    Raises:
        ValueError: A layer range outside of the model, a rank above its narrowest map, or options
            that mean nothing here: `together` (see the module), `side`, `geometric_tokens`.
    """

    def __init__(
        self, model: Any, options: GaspOptions, lora: LoraOptions, side: int = 448
    ) -> None:
        super().__init__()
        for name in ("together", "side", "geometric_tokens"):
            if getattr(options, name):
                raise ValueError(f"gasp.{name} means nothing to a plain Qwen2.5-VL; leave it out")
        self.options = options
        self.reader = QwenReader(model, side)
        self._layers = chosen_layers(self.reader.layers, options.layers)
        self.supervision = GaspSupervision(self._layers, options)
        self._adapters = attach_lora(model, lora, self.reader.layers)
        self.model = model

    def rate_of(self, name: str) -> float:
        """Learning rate of a parameter over that of the run."""
        return self.options.head_lr if name.startswith("supervision.") else 1.0

    def forward(
        self, batch: WindowBatch | None, language: Mapping[str, Tensor] | None = None
    ) -> StageLoss:
        """Loss of windows (L_corr and L_depth of eq. 9), or of a language batch (L_LM).

        Args:
            batch: Windows; None in a step of language.
            language: What the model takes, with `labels`.
        """
        if language is not None:
            loss = self.model(**language, use_cache=False).loss
            return StageLoss(loss, 0, {"answers_loss": float(loss.detach())})
        assert batch is not None, "give windows or a language batch"
        frames = batch.depth_BNHW.shape[1]
        with LayerTap(self._layers, projections=self.options.queries > 0) as tap:
            grid = self.reader.read(batch)
        hidden, projections = tapped_tokens(tap, partial(self.reader.images, frames=frames))
        said: StageLoss = self.supervision(VisualTokens(hidden, grid, projections), batch)
        return said

    def merge(self, average: Mapping[str, Tensor] | None = None) -> None:
        """Add the adapters to the weights: the model is a plain one again.

        Args:
            average: Of a trainer, to be used instead of the last step's adapters.
        """
        with torch.no_grad():
            for name, value in (average or {}).items():
                self.get_parameter(name).copy_(value)
        self._adapters.merge()
