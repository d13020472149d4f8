# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Finds files that the project ships beside its code, in the sources or installed. No rclpy."""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["PROFILE_FILE", "ROOT", "shipped_file"]

PROFILE_FILE = "fastdds_shm.xml"  # Fast DDS's profile for large messages
ROOT = Path(__file__).resolve().parents[1]  # of the sources, or where they are installed


def shipped_file(name: str, folder: str = "launch") -> Path | None:
    """A shipped file; None: it is not there.

    Args:
        name: Of the file.
        folder: Of the sources, and of the share folder of the package.
    """
    shares = [sys.prefix, *os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)]
    candidates = [
        ROOT / folder,
        *(Path(share) / "share" / "g2vlm_ros" / folder for share in shares if share),
    ]
    return next((place / name for place in candidates if (place / name).is_file()), None)
