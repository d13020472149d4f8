# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Chunks that share a node, so that a page has a bounded number of them however long the map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from .chunks import Chunk, Floats, Key, MapPicture, Node, median_depth, spacing

__all__ = ["NODES", "Joints"]

NODES = 128  # of a page's scene: each costs its heap, whatever is in it
_STILL = 2e-3  # share of the depth by which a picture may stray in a joint before it is made anew


@dataclass(frozen=True, eq=False)
class _Joint:
    """A node of several, and what it was made of."""

    node: Node
    parts: Sequence[Node]
    stance_N44: Floats

    def holds(self, nodes: Sequence[Node]) -> bool:
        """Whether it was made of the same points and shares."""
        return len(nodes) == len(self.parts) and all(
            one.chunk is other.chunk and one.agree_P is other.agree_P
            for one, other in zip(nodes, self.parts, strict=True)
        )


class Joints:
    """Joins the chunks of keyframes that follow each other; for one thread.

    Beyond the bound two keyframes share a node, then four, and so on. A joint lies in the axes of
    its first camera and is made anew where another one has strayed.

    Args:
        most: Nodes at most, for one camera.
    """

    def __init__(self, most: int = NODES) -> None:
        self._most = most
        self._kept: dict[Key, _Joint] = {}

    def of(self, nodes: Mapping[Key, Node]) -> Mapping[Key, Node]:
        """The same points in at most so many nodes; the same chunk where nothing changed."""
        size = 1
        while len({number // size for number, _ in nodes}) > self._most:
            size *= 2
        kept, self._kept = self._kept, {}
        if size == 1:
            return nodes
        groups: dict[Key, list[Node]] = {}
        for (number, view), node in nodes.items():
            groups.setdefault((number // size * size, view), []).append(node)
        self._kept = {key: _joint(some, kept.get(key)) for key, some in groups.items()}
        return {key: joint.node for key, joint in self._kept.items()}


def _joint(nodes: Sequence[Node], before: _Joint | None) -> _Joint:
    first = nodes[0]
    ratios = [node.scale / first.scale for node in nodes]
    T_level_cam_N44 = np.stack([node.T_level_cam for node in nodes])
    stance_N44: Floats = np.linalg.solve(first.T_level_cam, T_level_cam_N44).astype(np.float64)
    stance_N44[:, :3, :3] *= np.array(ratios)[:, None, None]
    stance_N44[:, :3, 3] /= first.scale
    if before is not None and before.holds(nodes):
        depth = median_depth(MapPicture({(0, 0): replace(before.node, scale=1.0)}))
        strayed = np.abs(stance_N44 - before.stance_N44)
        if strayed[:, :3, :3].max() <= _STILL and strayed[:, :3, 3].max() <= _STILL * depth:
            there = replace(before.node, T_level_cam=first.T_level_cam, scale=first.scale)
            return replace(before, node=there)
    chunks = [node.chunk for node in nodes]
    moved = [
        chunk.point_P3 @ T[:3, :3].T + T[:3, 3] for chunk, T in zip(chunks, stance_N44, strict=True)
    ]
    ranges = [chunk.range_P * ratio for chunk, ratio in zip(chunks, ratios, strict=True)]
    chunk = Chunk(
        np.concatenate(moved).astype(np.float32),
        np.concatenate([chunk.color_P3 for chunk in chunks]),
        np.concatenate([chunk.confidence_P for chunk in chunks]),
        seen_from_P=np.concatenate(ranges).astype(np.float32),
    )
    agree_P = None
    if any(node.agree_P is not None for node in nodes):
        unknown = [np.full(len(chunk.point_P3), np.nan, np.float32) for chunk in chunks]
        pairs = zip(nodes, unknown, strict=True)
        agree_P = np.concatenate([u if n.agree_P is None else n.agree_P for n, u in pairs])
    apart = [spacing(node) * ratio for node, ratio in zip(nodes, ratios, strict=True)]
    node = replace(first, chunk=chunk, agree_P=agree_P, apart=float(np.median(apart)))
    return _Joint(node, nodes, stance_N44)
