# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What the diagnostics say of the cameras; no node is needed."""

from __future__ import annotations

import math

from diagnostic_msgs.msg import DiagnosticStatus

from g2vlm_interfaces.msg import SceneStatus
from g2vlm_map.known_rays import FocalEstimate
from g2vlm_map.status import Reason
from g2vlm_ros.diagnostics import Diagnostics

GIVEN = FocalEstimate("front", "camera_info", 500.0, 460.0, 0.031, 57, -0.083)
GUESSED = FocalEstimate("back", "model", 418.0, 418.0, 0.05, 12)


def cameras_task(*cameras: FocalEstimate, reasons: tuple[Reason, ...] = ()) -> DiagnosticStatus:
    message = Diagnostics("g2vlm").message(SceneStatus(), "cpu", reasons, {}, cameras)
    (found,) = (task for task in message.status if task.name.endswith(": cameras"))
    return found


def test_focal_lengths_are_told_with_their_spread() -> None:
    task = cameras_task(GIVEN, GUESSED)
    values = {pair.key: pair.value for pair in task.values}
    assert values["focal length of front"] == (
        "given: 500.0 px; the model's own: 460.0 px +- 3.1 % a pass over 57 passes"
    )
    assert values["focal length of back"] == (
        "the model's own: 418.0 px +- 5.0 % a pass over 12 passes"
    )
    assert task.message == "rays are the model's own, averaged over the run"
    assert cameras_task(GIVEN).message == "rays are known"
    assert cameras_task().message == "no scene yet"


def test_one_pass_has_no_spread() -> None:
    task = cameras_task(FocalEstimate("front", "model", 418.0, 418.0, math.inf, 1))
    assert task.values[0].value == "the model's own: 418.0 px"


def test_a_bad_camera_info_is_a_warning() -> None:
    task = cameras_task(GIVEN, reasons=(Reason("BAD_CAMERA_INFO", "front: no K"),))
    assert task.level == DiagnosticStatus.WARN
    assert task.message == "front: no K"
