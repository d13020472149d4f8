# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What the trainer knows of a stage: its loss of a batch, and what can be done ahead of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from torch import Tensor, nn

from ..datasets.batch import WindowBatch
from ..datasets.language import Conversation

__all__ = ["Converses", "Preparer", "Stage", "StageLoss", "prepared"]


class StageLoss(NamedTuple):
    """A scalar to minimise, how many frames it saw, and named numbers for the log.

    `empty` says why no process found anything to learn from in the whole batch: such a step
    changes nothing and is counted.
    """

    total: Tensor
    frames: int
    report: dict[str, float]
    empty: str = ""


class Preparer(Protocol):
    """Makes of a window what takes no weights; runs in worker processes, so it is pickled."""

    def __call__(self, window: WindowBatch, rng: np.random.Generator) -> Any:
        """What the stage finds in `WindowBatch.prepared`.

        Args:
            window: A single one, B is 1, on the CPU.
            rng: Source of every random choice of this window.
        """


@runtime_checkable
class Converses(Preparer, Protocol):
    """A preparer that also takes conversations about pictures; runs in worker processes."""

    def of_conversation(self, conversation: Conversation, counts: bool = True) -> WindowBatch:
        """A window of its own, prepared.

        Args:
            conversation: With its pictures.
            counts: Whether it has a say in the loss; without, it only keeps this process in step
                with others.

        Raises:
            DataError: It cannot be used.
        """


class Stage(nn.Module):
    """A module whose call gives the loss of a batch at a step.

    Its parameters are the model's and those of heads that only training has.
    """

    @property
    def preparer(self) -> Preparer | None:
        """What the stage wants to be done with each window ahead of its step, if anything."""
        return None

    def kind_of(self, step: int) -> Hashable:
        """What beside the size of its windows decides how much a step computes."""
        return ()

    def rate_of(self, name: str) -> float:
        """Learning rate of a parameter over that of the run."""
        return 1.0

    def forward(self, batch: WindowBatch, step: int) -> StageLoss:
        """Loss of a batch, made of `distribution.shared_mean`s.

        Args:
            batch: With what the stage's preparer made of each window.
            step: Of the run, from 0.
        """
        raise NotImplementedError  # nothing is common to the losses of stages


def prepared(
    batch: WindowBatch, preparer: Preparer | None, rngs: Sequence[np.random.Generator]
) -> WindowBatch:
    """The batch with what a preparer makes of each window.

    Args:
        batch: On the CPU.
        preparer: Of the stage; None leaves the batch as it is.
        rngs: One per window, so that a window's choices do not hang on the others.
    """
    if preparer is None:
        return batch
    made = tuple(
        preparer(batch.window(index), rng) for index, rng in enumerate(rngs[: len(batch.scenes)])
    )
    return dataclasses.replace(batch, prepared=made)
