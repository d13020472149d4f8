# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What a source sees of a keyframe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ...mapping.keyframe import Edge, PlacedKeyframe
from ..readings import Measured
from ..samples import Samples

__all__ = ["Sight", "Source"]


@dataclass(frozen=True, eq=False)
class Sight:
    """A new keyframe, and what else there is of its moment.

    Args:
        placed: The keyframe and where it is.
        map_keyframes: All keyframes that are kept, by number, this one included.
        pictures: (H0, W0, 3) uint8 RGB frames of its cameras as they were matched, by name; as
            far as they are at hand.
        edges: That tie the keyframe to those before it.
        denied: Visual ones of it that odometry denied, which the map does not hold.
    """

    placed: PlacedKeyframe
    map_keyframes: Mapping[int, PlacedKeyframe]
    pictures: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)
    edges: tuple[Edge, ...] = ()
    denied: tuple[Edge, ...] = ()


class Source(Protocol):
    """A sensor that knows metres."""

    def measure(self, sight: Sight, samples: Samples) -> list[Measured]:
        """What it says of a keyframe; nothing where it has nothing to say.

        Raises:
            NotYetError: Its samples around the keyframe have not arrived; ask again later.
        """
        ...

    def forget(self) -> None:
        """Begin anew: the next keyframe has nothing to do with the ones before."""
        ...
