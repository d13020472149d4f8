# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Windows for benchmarks, of the pictures that exports are checked with."""

from __future__ import annotations

from g2vlm_export.pictures import Picture, load_pictures, random_picture

from g2vlm_model.interface import Frame, FrameWindow

__all__ = ["load_pictures", "random_picture", "window_of"]


def window_of(pictures: list[Picture], name: str) -> FrameWindow:
    """A window whose keys occur nowhere else, so that nothing of it is cached."""
    return FrameWindow(
        tuple(
            Frame(picture, index, "camera_optical", "camera", f"{name}/{index}")
            for index, picture in enumerate(pictures)
        )
    )
