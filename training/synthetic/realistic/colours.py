# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Names the colour of what is there: the nearest of the project's colour words in CIELAB."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from ..builder import COLOURS

__all__ = ["main_colour", "name_shares"]

_NAMES = tuple(COLOURS)
_CLEAR = 0.55  # share of the surface that one name must have
_GREY = 11.0  # chroma below which a surface is black, grey or white
_DARK, _LIGHT = 28.0, 72.0  # CIELAB lightness of the borders


def name_shares(linear_K3: NDArray[np.float32]) -> NDArray[np.float64]:
    """Share of each name of `COLOURS`, in their order, among K linear colours."""
    lab = _lab(linear_K3)
    palette = _lab(np.array([COLOURS[name] for name in _NAMES], np.float32))
    # Hue decides more than brightness does: light falls differently on everything.
    weight = np.array([0.5, 1.0, 1.0], np.float32)
    distance = np.linalg.norm((lab[:, None] - palette) * weight, axis=2)
    grey = np.hypot(lab[:, 1], lab[:, 2]) < _GREY
    colourless = np.isin(_NAMES, ("black", "gray", "white"))
    distance[grey[:, None] & ~colourless] = np.inf
    distance[~grey[:, None] & colourless] += 12.0
    nearest = distance.argmin(axis=1)
    by_light = np.where(lab[:, 0] < _DARK, "black", np.where(lab[:, 0] > _LIGHT, "white", "gray"))
    for name in ("black", "gray", "white"):
        nearest[grey & (by_light == name)] = _NAMES.index(name)
    shares: NDArray[np.float64] = np.bincount(nearest, minlength=len(_NAMES)) / max(1, len(lab))
    return shares


def main_colour(shares_T: NDArray[np.float64], area_T: NDArray[np.float64]) -> str:
    """The name of most of a thing's surface, or "" where no single one has it.

    Args:
        shares_T: (T, names) of `name_shares` for each material.
        area_T: Surface of each material.
    """
    if not area_T.sum() > 0:
        return ""
    total = (shares_T * area_T[:, None]).sum(axis=0) / area_T.sum()
    best = int(total.argmax())
    return _NAMES[best] if total[best] >= _CLEAR else ""


def _lab(linear_K3: NDArray[np.float32]) -> NDArray[np.float32]:
    linear = np.clip(np.asarray(linear_K3, np.float32), 0, 1).reshape(1, -1, 3)
    lab: NDArray[np.float32] = cv2.cvtColor(linear, cv2.COLOR_LRGB2LAB)[0].astype(np.float32)
    return lab
