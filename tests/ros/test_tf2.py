# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""tf2_ros where it is installed: that it is asked, and how; the wheels have no such package."""

from __future__ import annotations

import sys
import types
from typing import Any

import numpy as np
import pytest
from geometry_msgs.msg import TransformStamped
from rclpy.time import Time

from g2vlm_ros import messages
from g2vlm_ros.tf import TransformUnknownError, transform_buffer
from tests.map.placed import NS, pose

T = pose((0, 0, 0.5), (1, 2, 3))


class TransformException(Exception):  # noqa: N818  # its name in tf2
    """tf2's base of lookup, connectivity and extrapolation errors."""


class Buffer:
    """Answers `base <- camera` at any time from second 5 on, as tf2_ros.Buffer would."""

    def __init__(self, cache_time: Any) -> None:
        self.seconds = cache_time.nanoseconds / NS
        self.asked: list[tuple[str, str, int]] = []
        self.cleared = 0

    def lookup_transform(self, target: str, source: str, time: Time) -> TransformStamped:
        self.asked.append((target, source, time.nanoseconds))
        if (target, source) != ("base", "camera"):
            raise TransformException(f'"{source}" passed to lookupTransform does not exist')
        return messages.transform(T, time.nanoseconds or 5 * NS, target, source)

    def clear(self) -> None:
        self.cleared += 1


class TransformListener:
    def __init__(self, buffer: Buffer, node: Any, *, spin_thread: bool) -> None:
        assert not spin_thread, "the node's own executor spins"
        self.buffer, self.node, self.gone = buffer, node, False

    def unregister(self) -> None:
        self.gone = True


@pytest.fixture
def tf2_ros(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    module = types.ModuleType("tf2_ros")
    for item in (Buffer, TransformListener, TransformException):
        setattr(module, item.__name__, item)
    monkeypatch.setitem(sys.modules, "tf2_ros", module)
    return module


def test_it_is_taken_where_it_is_installed(tf2_ros: types.ModuleType) -> None:
    made: Any = transform_buffer("the node")
    assert made.kind == "tf2_ros"
    assert made._buffer.seconds >= 10.0
    np.testing.assert_allclose(made.lookup("/base", "camera", 6 * NS), T, atol=1e-12)
    assert made._buffer.asked == [("base", "camera", 6 * NS)], "tf2 knows no leading slash"
    assert made.newest("base", "camera") == 5 * NS
    with pytest.raises(TransformUnknownError, match='"arm" passed to lookupTransform'):
        made.lookup("base", "arm")
    made.restart()
    assert made._buffer.cleared == 1
    assert made.refused() == {}
    made.close()
    assert made._listener.gone
