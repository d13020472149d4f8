# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""VG + CE, the joint stage: geometry and questions from the same windows, one model."""

from __future__ import annotations

from collections.abc import Hashable

from ..datasets.batch import WindowBatch
from .geometry_stage import GeometryStage
from .semantic_stage import SemanticStage
from .stage import Preparer, Stage, StageLoss

__all__ = ["JointStage"]


class JointStage(Stage):
    """The sum of both stages' losses (paper section 3.3, "VG + CE").

    The geometric pass runs once for each: reconstruction has no text ahead of it, a chat has.
    Conversations, of whose pictures nothing else is known, teach answers alone.

    Args:
        geometry, semantic: Stages around the same model.

    Raises:
        ValueError: Their models differ.
    """

    def __init__(self, geometry: GeometryStage, semantic: SemanticStage) -> None:
        super().__init__()
        if geometry.model is not semantic.model:
            raise ValueError("the two stages hold different models, expected the same one")
        # Registered part by part: each weight has one name, the one that it has in either stage.
        for stage in (geometry, semantic):
            for name, part in stage.named_children():
                self.add_module(name, part)
        self._stages = (geometry, semantic)

    @property
    def preparer(self) -> Preparer | None:
        """That of the questions."""
        return self._stages[1].preparer

    def kind_of(self, step: int) -> Hashable:
        """That of the geometry."""
        return self._stages[0].kind_of(step)

    def forward(self, batch: WindowBatch, step: int) -> StageLoss:
        """Losses of both; see there."""
        geometry, semantic = self._stages
        if not bool(batch.depth_BNHW.any()) and not bool(batch.posed_BN.any()):
            said = semantic(batch, step)  # a conversation: it teaches no geometry
            named = {"answers" if name == "loss" else name: x for name, x in said.report.items()}
            return StageLoss(said.total, said.frames, named)
        seen, said = geometry(batch, step), semantic(batch, step)
        report = {
            **{name: value for name, value in seen.report.items() if name != "loss"},
            **{name: value for name, value in said.report.items() if name != "loss"},
            "geometry": seen.report["loss"],
            "answers": said.report["loss"],
            "loss": seen.report["loss"] + float((said.total).detach()),
        }
        return StageLoss(seen.total + said.total, seen.frames, report)
