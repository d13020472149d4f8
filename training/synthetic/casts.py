# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The first hit of rays with unit shapes: a cube, a ball, a capped cone.

None of them has a selection: `torch.where` takes thirty times as long as a product on a CPU.
A condition that fails adds its excess times `_STEEP`, which puts the hit out of sight.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .parts import Shape

__all__ = ["CASTS", "EPS", "TINY", "Cast"]

EPS = 1e-4  # hits nearer than this share of a ray are its own start
TINY = 1e-12  # keeps reciprocals of rays along a face finite
_STEEP = 1e18  # metres per unit by which a test of a hit fails

# (start, toward, slope) in the axes of unit shapes -> (P, T) ray parameters; each of start and
# toward is x, y and z, (P, 1) or (P, T), slope is (P, 1).
Cast = Callable[[Sequence[Tensor], Sequence[Tensor], Tensor], Tensor]


def _cast_box(start: Sequence[Tensor], toward: Sequence[Tensor], slope: Tensor) -> Tensor:
    """Slab test of the cube; a start inside of it is no hit."""
    enter = leave = None
    for o, d in zip(start, toward, strict=True):
        inverse = (d + TINY).reciprocal_()
        passed = inverse * o
        reach = inverse.abs_()
        low, high = -reach - passed, reach.sub_(passed)
        enter = low if enter is None else torch.maximum(enter, low, out=enter)
        leave = high if leave is None else torch.minimum(leave, high, out=leave)
    assert enter is not None
    assert leave is not None
    excess = (enter - leave).clamp_(min=0).add_((EPS - enter).clamp_(min=0))
    return enter.add_(excess, alpha=_STEEP)


def _cast_ball(start: Sequence[Tensor], toward: Sequence[Tensor], slope: Tensor) -> Tensor:
    """The nearer root of the unit ball; a start inside of it is no hit."""
    (ox, oy, oz), (dx, dy, dz) = start, toward
    a = (dx * dx).addcmul_(dy, dy).addcmul_(dz, dz)
    b = (ox * dx).addcmul_(oy, dy).addcmul_(oz, dz)
    c = ox * ox + oy * oy + oz * oz - 1.0
    inside = (b * b).sub_(a * c)
    t = (-b - inside.clamp(min=0).sqrt_()).div_(a)
    excess = inside.neg_().clamp_(min=0).add_((EPS - t).clamp_(min=0))
    return t.add_(excess, alpha=_STEEP)


def _cast_cone(start: Sequence[Tensor], toward: Sequence[Tensor], slope: Tensor) -> Tensor:
    """Capped cone of radius 1 - |slope| + slope z: the nearest valid root or cap."""
    (ox, oy, oz), (dx, dy, dz) = start, toward
    base = 1.0 - slope.abs()
    radius, growth = base + slope * oz, slope * dz
    a = (dx * dx).addcmul_(dy, dy).addcmul_(growth, growth, value=-1.0)
    b = (ox * dx).addcmul_(oy, dy).addcmul_(growth, radius, value=-1.0)
    c = ox * ox + oy * oy - radius * radius
    inside = (b * b).sub_(a * c)
    root = inside.clamp(min=0).sqrt_()
    unreal = inside.neg_().clamp_(min=0)
    inverse = (a + TINY).reciprocal_()
    found = []
    for sign in (-1.0, 1.0):
        t = (sign * root - b) * inverse
        z = torch.addcmul(oz, t, dz)
        excess = (EPS - t).clamp_(min=0).add_(unreal)
        excess.add_((-base - slope * z).clamp_(min=0))
        found.append(t.add_(excess.add_(z.abs_().sub_(1.0).clamp_(min=0)), alpha=_STEEP))
    inverse = (dz + TINY).reciprocal_()
    for end in (-1.0, 1.0):
        t = (end - oz) * inverse
        x, y = torch.addcmul(ox, t, dx), torch.addcmul(oy, t, dy)
        beyond = (x * x).addcmul_(y, y).sub_((base + end * slope).square())
        excess = beyond.clamp_(min=0).add_((EPS - t).clamp_(min=0))
        found.append(t.add_(excess, alpha=_STEEP))
    return torch.minimum(torch.minimum(found[0], found[1]), torch.minimum(found[2], found[3]))


CASTS: tuple[tuple[int, Cast], ...] = (
    (Shape.BOX, _cast_box),
    (Shape.CONE, _cast_cone),
    (Shape.SPHERE, _cast_ball),
)
