# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Posed RGB-D data sets by the name of their layout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from .arkitscenes import open_arkitscenes
from .co3d import open_co3d
from .dl3dv import open_dl3dv
from .folder import FolderSequence
from .hypersim import open_hypersim
from .pose_rows import open_pose_rows
from .recording import open_recordings
from .scannet import open_scannet
from .seven_scenes import open_seven_scenes
from .tartanair import open_tartanair
from .tum import open_tum

__all__ = ["LAYOUTS", "open_dataset"]

LAYOUTS: dict[str, Callable[[Path], list[FolderSequence]]] = {
    "7scenes": open_seven_scenes,
    "arkitscenes": open_arkitscenes,
    "co3d": open_co3d,
    "dl3dv": open_dl3dv,
    "hypersim": open_hypersim,
    "posed": open_pose_rows,
    "recording": open_recordings,
    "scannet": open_scannet,
    "tartanair": open_tartanair,
    "tum": open_tum,
}


def open_dataset(layout: str, root: Path) -> list[FolderSequence]:
    """Sequences of a folder in one of the layouts of `LAYOUTS`.

    Raises:
        ValueError: Unknown layout.
        FileNotFoundError: The root holds nothing in that layout.
        DataError: What it holds cannot be used.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"layout is {layout!r}, expected one of {sorted(LAYOUTS)}")
    return LAYOUTS[layout](root)
