# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What a question names, checked: cameras, marks, and the frames of a scene that these lie on."""

from __future__ import annotations

import math
from collections.abc import Sequence

from g2vlm_model.interface import PixelMark

from .answers.asked import Mark, Question, Scope
from .live_marks import LivePictures
from .scenes import SceneRecord, check_inside

__all__ = ["MAX_LABEL_CHARS", "MAX_MARKS", "check_asked", "placed"]

MAX_MARKS = 16
MAX_LABEL_CHARS = 32


def check_asked(question: Question, cameras: Sequence[str]) -> None:
    """Refuse a question that names what there is not.

    Args:
        question: Nothing about it is checked yet.
        cameras: The names that exist.

    Raises:
        ValueError: With what was got and what is expected.
    """
    if question.scope not in tuple(Scope):
        raise ValueError(f"scope is {question.scope}, expected 0 (SCENE) or 1 (MAP)")
    unknown = [name for name in question.cameras if name not in cameras]
    if unknown:
        raise ValueError(f"cameras names {unknown[:3]!r:.80}, expected some of {tuple(cameras)}")
    if len(question.marks) > MAX_MARKS:
        raise ValueError(f"question has {len(question.marks)} marks, at most {MAX_MARKS}")
    for mark in question.marks:
        if not (math.isfinite(mark.u) and math.isfinite(mark.v)):
            raise ValueError(f"mark is at ({mark.u:g}, {mark.v:g}), expected finite pixels")
        if len(mark.label) > MAX_LABEL_CHARS or not mark.label.isprintable():
            raise ValueError(
                f"mark's label is {mark.label!r:.60}, expected at most {MAX_LABEL_CHARS} "
                "printable characters"
            )
        if question.cameras and mark.camera and mark.camera not in question.cameras:
            raise ValueError(f"mark names camera {mark.camera!r:.60}, outside of `cameras`")


def placed(question: Question, record: SceneRecord, live: LivePictures) -> tuple[PixelMark, ...]:
    """The marks of a question on frames of a scene; those on live pictures are carried there.

    Args:
        question: Checked by `check_asked`.
        record: The scene that it is about.
        live: Pictures of late.

    Raises:
        ValueError: No frame of the scene shows a place, as far as anybody knows, or two marks
            have one name.
    """
    default = question.cameras[0] if question.cameras else ""
    marks: list[PixelMark] = []
    named: dict[str, PixelMark] = {}
    for given in question.marks:
        place = _carried(given, given.camera or default, record, live)
        mark = record.mark(*place, given.label)
        first = named.setdefault(mark.label.casefold(), mark)
        if mark.label and first is not mark:
            raise ValueError(
                f"two marks are called {mark.label!r:.40}: ({first.u:.0f}, {first.v:.0f}) in "
                f"frame {first.frame_index + 1} and ({mark.u:.0f}, {mark.v:.0f}) in frame "
                f"{mark.frame_index + 1}; give each its own name"
            )
        marks.append(mark)
    return tuple(marks)


def _carried(
    mark: Mark, camera: str, record: SceneRecord, live: LivePictures
) -> tuple[str, int, float, float]:
    """Camera, stamp, u and v of a mark on a frame of the scene."""
    camera = camera or record.frames[record.newest].camera
    stamps = record.stamps_of(camera)
    if not mark.stamp_ns or not stamps or mark.stamp_ns in stamps:
        return camera, mark.stamp_ns, mark.u, mark.v
    size_hw = record.size_of(camera)
    check_inside(camera, (mark.u, mark.v), size_hw)
    place = live.carry(camera, mark.stamp_ns, (mark.u, mark.v), size_hw, stamps)
    return camera, place.stamp_ns, place.u, place.v
