# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The own buffer of transforms: chains, times, and links that cannot be."""

from __future__ import annotations

import numpy as np
import pytest

from g2vlm_map.transform_tree import TransformTree, TransformUnknownError
from tests.map.placed import NS, mounted, pose


@pytest.fixture
def tree() -> TransformTree:
    """odom -> base moves 1 m/s along x at 10 Hz from second 1 to 3; base -> camera, lidar."""
    tree = TransformTree()
    for step in range(21):
        stamp_ns = NS + step * NS // 10
        tree.add(
            "odom", "base", stamp_ns, pose((0, 0, 0.01 * step), (0.1 * step, 0, 0)), static=False
        )
    tree.add("base", "camera", 0, mounted(), static=True)
    tree.add("base", "lidar", 0, pose((3.1, 0, 0), (0.3, 0, 0.2)), static=True)
    return tree


def test_chains_are_composed_and_interpolated(tree: TransformTree) -> None:
    np.testing.assert_allclose(tree.lookup("base", "camera"), mounted())
    np.testing.assert_allclose(tree.lookup("camera", "base"), np.linalg.inv(mounted()))
    T_lidar_camera = np.linalg.inv(pose((3.1, 0, 0), (0.3, 0, 0.2))) @ mounted()
    np.testing.assert_allclose(tree.lookup("lidar", "camera", 2 * NS), T_lidar_camera, atol=1e-12)
    T = tree.lookup("odom", "camera", NS + NS // 20)
    np.testing.assert_allclose(T, pose((0, 0, 0.005), (0.05, 0, 0)) @ mounted(), atol=1e-9)
    assert tree.newest("odom", "camera") == 3 * NS
    assert tree.newest("base", "camera") == 0
    assert tree.lookup("odom", "base")[0, 3] == pytest.approx(2.0)
    np.testing.assert_allclose(tree.lookup("odom", "odom"), np.eye(4))


@pytest.mark.parametrize(
    ("target", "source", "stamp_ns", "words"),
    [
        ("odom", "base", 3 * NS + 1, "newest is 0.000 s older"),
        ("odom", "base", 5 * NS, "newest is 2.000 s older"),
        ("odom", "base", NS - 1, "not known at 1.000 s"),
        ("odom", "gripper", 0, "nobody tells of gripper"),
        ("odom", "world", 0, "nobody tells of world"),
    ],
)
def test_what_is_not_known_is_said(
    tree: TransformTree, target: str, source: str, stamp_ns: int, words: str
) -> None:
    with pytest.raises(TransformUnknownError, match=words):
        tree.lookup(target, source, stamp_ns)


def test_two_trees_are_not_one(tree: TransformTree) -> None:
    tree.add("earth", "moon", 0, pose(), static=True)
    with pytest.raises(TransformUnknownError, match="two separate trees"):
        tree.lookup("base", "moon")


def test_no_frame_becomes_its_own_ancestor(tree: TransformTree) -> None:
    assert tree.add("camera", "odom", 3 * NS, pose(), static=False) == "cycle"
    assert tree.add("camera", "camera", 0, pose(), static=True) == "self"
    assert tree.add("base", "arm", 0, np.full((4, 4), np.inf), static=True) == "value"
    np.testing.assert_allclose(tree.lookup("base", "camera"), mounted())


def test_a_clock_that_starts_again_is_followed(tree: TransformTree) -> None:
    assert tree.add("odom", "base", NS, pose(), static=False) == "loop"
    assert tree.newest("odom", "base") == NS
    with pytest.raises(TransformUnknownError):
        tree.lookup("odom", "base", 2 * NS)


def test_a_new_parent_takes_the_child(tree: TransformTree) -> None:
    assert tree.add("map", "base", 4 * NS, pose(), static=False) == ""
    assert tree.parent("base") == "map"
    with pytest.raises(TransformUnknownError):
        tree.lookup("odom", "camera", 2 * NS)
