# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Rays against triangles, by Embree.

Letters: V vertices, F faces, R rays.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Hits", "Tracer"]

_FAR = np.float32(1e30)


@dataclass(frozen=True)
class Hits:
    """Where rays ended.

    Args:
        face_R: int32 face, -1 where there is none.
        t_R: float32 lengths in units of the directions.
        u_R, v_R: float32 barycentric weights of the face's second and third vertex.
    """

    face_R: NDArray[np.int32]
    t_R: NDArray[np.float32]
    u_R: NDArray[np.float32]
    v_R: NDArray[np.float32]


class Tracer:
    """A set of triangles, ready for rays.

    Args:
        position_V3: float32.
        face_F3: int32; may be empty.
    """

    def __init__(self, position_V3: NDArray[np.float32], face_F3: NDArray[np.int32]) -> None:
        from embreex.mesh_construction import TriangleMesh
        from embreex.rtcore_scene import EmbreeScene

        self._scene = EmbreeScene()
        self._empty = not len(face_F3)
        if not self._empty:
            TriangleMesh(
                self._scene,
                np.ascontiguousarray(position_V3, np.float32),
                np.ascontiguousarray(face_F3, np.int32),
            )

    def hits(
        self,
        origin_R3: NDArray[np.float32],
        direction_R3: NDArray[np.float32],
        most_R: NDArray[np.float32] | None = None,
    ) -> Hits:
        """The nearest face of each ray, no further than `most_R`."""
        count = len(origin_R3)
        if self._empty or not count:
            zero = np.zeros(count, np.float32)
            return Hits(np.full(count, -1, np.int32), np.full(count, _FAR), zero, zero)
        found = self._scene.run(
            np.ascontiguousarray(origin_R3, np.float32),
            np.ascontiguousarray(direction_R3, np.float32),
            dists=np.full(count, _FAR) if most_R is None else np.asarray(most_R, np.float32),
            output=True,
        )
        return Hits(found["primID"], found["tfar"], found["u"], found["v"])

    def blocked(
        self,
        origin_R3: NDArray[np.float32],
        direction_R3: NDArray[np.float32],
        most_R: NDArray[np.float32] | None = None,
    ) -> NDArray[np.bool_]:
        """(R,) whether anything lies on each ray, no further than `most_R`."""
        count = len(origin_R3)
        if self._empty or not count:
            return np.zeros(count, np.bool_)
        found = self._scene.run(
            np.ascontiguousarray(origin_R3, np.float32),
            np.ascontiguousarray(direction_R3, np.float32),
            dists=np.full(count, _FAR) if most_R is None else np.asarray(most_R, np.float32),
            query="OCCLUDED",
        )
        blocked: NDArray[np.bool_] = np.asarray(found) >= 0
        return blocked
