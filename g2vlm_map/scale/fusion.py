# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What all kinds of sources say together: one scale, how sure it is, and who contradicts whom.

Sources that measure the same thing share its errors: a stretch of the trajectory, or the model's
depth, is wrong for all of them alike. Their sigmas are weighed, not averaged down. Trajectory and
depth are two things; how far a model's depth may stand from the trajectory is itself uncertain, and
a sensor's depth and the path that it gives err together: the surer of the two is believed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from .kinds import WEAK_SIGMA, Kind
from .track import SPAN

__all__ = ["Opinion", "Together", "together"]

_DEPTH_NEAR_SIGMA = 0.12  # of depth over trajectory, where it is nobody's concern
_AGREE = 2.0  # standard deviations; beyond it they contradict each other
_LEAST_CONFLICT = math.log(1.10)  # smaller differences are nobody's concern
_LEAST_CONTRADICTION = math.log(1.5)  # beyond this nothing is metric


@dataclass(frozen=True)
class Opinion:
    """What one kind of source believes.

    Args:
        kind: Of the source.
        log_scale, sigma: Its estimate, bias and floor included.
        span: Keyframes between its first and last reading, of a path without a gap.
        contested: It contradicts itself at present.
        unsteady: What of sigma is the map's own, whose scale changes on the way: depth says no
            more of such a path than lengths do.
    """

    kind: Kind
    log_scale: float
    sigma: float
    span: int
    contested: bool = False
    unsteady: float = 0.0


@dataclass(frozen=True)
class Together:
    """The scale by all of them.

    Args:
        log_scale, sigma: Metres per map unit.
        log_trajectory, trajectory_sigma: The same by those who measure the trajectory only.
        log_depth, depth_sigma: By those who measure depth only.
        sources: Kinds that it rests on, the heaviest first.
        vouched: Two readings far apart, two kinds that agree and do not both go through the
            pictures, or a person vouch for it.
        conflict: Who contradicts whom, with the numbers; "" where nobody does.
        blocked: So far that nothing may be called metric.
    """

    log_scale: float = 0.0
    sigma: float = math.inf
    log_trajectory: float = 0.0
    trajectory_sigma: float = math.inf
    log_depth: float = 0.0
    depth_sigma: float = math.inf
    sources: tuple[str, ...] = ()
    vouched: bool = False
    conflict: str = ""
    blocked: bool = False

    def why_not_metric(self, max_sigma: float) -> str:
        """Words on what keeps lengths from being called metres, where something does."""
        if not self.sources:
            return "no scale source: lengths are up to scale"
        said = f"{'+'.join(self.sources)} say {math.exp(self.log_scale):.3g} m a unit"
        if self.blocked:
            return f"sources contradict each other: {self.conflict}"
        if self.sigma > max_sigma:
            return (
                f"{said} +- {self.sigma:.0%}, above scale.max_sigma = {max_sigma:.0%}: lengths are "
                "up to scale"
            )
        return (
            f"{said} +- {self.sigma:.0%}, but neither two readings more than {SPAN} keyframes "
            "apart nor a second source vouch for it yet"
        )


def together(opinions: Sequence[Opinion]) -> Together:
    """Fuse what the kinds of sources believe."""
    heard = _without_weak_voices(opinions)
    if not heard:
        return Together()
    trajectory = _weighed([item for item in heard if item.kind.measures == "trajectory"])
    depth = _weighed([item for item in heard if item.kind.measures == "depth"])
    by_depth = depth[0], math.hypot(depth[1], _off(heard))
    measures = "trajectory" if trajectory[1] <= by_depth[1] else "depth"
    log_scale, sigma = trajectory if measures == "trajectory" else by_depth
    conflict, blocked = _contradictions(opinions)
    strong = [item for item in heard if not item.kind.weak]
    vouched = any(item.kind.said for item in strong)
    vouched = vouched or any(
        item.span > SPAN and not item.contested and item.kind.measures == measures
        for item in strong
    )
    vouched = vouched or any(
        _distance(first, second) <= _AGREE
        for index, first in enumerate(strong)
        for second in strong[index + 1 :]
        if not (first.kind.by_pictures and second.kind.by_pictures)
    )
    return Together(
        log_scale,
        sigma,
        *trajectory,
        *depth,
        sources=tuple(item.kind.name for item in sorted(heard, key=_influence)),
        vouched=vouched,
        conflict=conflict,
        blocked=blocked,
    )


def _without_weak_voices(opinions: Sequence[Opinion]) -> list[Opinion]:
    """Strong ones, and weak ones with the sigma that they deserve; no weak one against a strong.

    A weak source that a strong one agrees with counts for what it says; one that nobody agrees
    with never carries.
    """
    strong = [item for item in opinions if not item.kind.weak]
    heard = list(strong)
    for item in opinions:
        if not item.kind.weak:
            continue
        if any(_distance(item, other) <= _AGREE for other in strong):
            heard.append(item)
        elif not strong:
            sigma = max(item.sigma, WEAK_SIGMA)
            heard.append(replace(item, sigma=sigma, span=0))
    return heard


def _weighed(opinions: Sequence[Opinion]) -> tuple[float, float]:
    """Mean by inverse variance; the sigma of errors that all of them share.

    Where they scatter more than their sigmas say, those are too small by as much (Birge ratio).
    """
    if not opinions:
        return 0.0, math.inf
    weights = [item.sigma**-2 for item in opinions]
    total = sum(weights)
    mean = sum(w * item.log_scale for w, item in zip(weights, opinions, strict=True)) / total
    sigma = sum(w * item.sigma for w, item in zip(weights, opinions, strict=True)) / total
    chi2 = sum(w * (item.log_scale - mean) ** 2 for w, item in zip(weights, opinions, strict=True))
    return mean, sigma * math.sqrt(max(1.0, chi2 / max(1, len(opinions) - 1)))


def _off(heard: Sequence[Opinion]) -> float:
    """How far the trajectory's scale may stand from the depth's: further where the map bends."""
    off = min((item.kind.off for item in heard if item.kind.measures == "depth"), default=math.inf)
    return math.hypot(off, *(one.unsteady for one in heard if one.kind.measures == "trajectory"))


def _distance(a: Opinion, b: Opinion) -> float:
    """How many standard deviations two opinions lie apart."""
    off = 0.0
    if a.kind.measures != b.kind.measures:
        off = min(_DEPTH_NEAR_SIGMA, a.kind.off if a.kind.measures == "depth" else b.kind.off)
    return abs(a.log_scale - b.log_scale) / math.hypot(a.sigma, b.sigma, off)


def _contradictions(opinions: Sequence[Opinion]) -> tuple[str, bool]:
    """Pairs that contradict each other, in words; whether strong ones do beyond all measure."""
    texts, blocked = [], False
    for index, a in enumerate(opinions):
        for b in opinions[index + 1 :]:
            apart = abs(a.log_scale - b.log_scale)
            if _distance(a, b) <= _AGREE or apart < _LEAST_CONFLICT:
                continue
            texts.append(
                f"{a.kind.name} says {math.exp(a.log_scale):.3g} m a unit (+- {a.sigma:.0%}), "
                f"{b.kind.name} says {math.exp(b.log_scale):.3g} (+- {b.sigma:.0%}): a factor of "
                f"{math.exp(apart):.2f}"
            )
            blocked |= apart > _LEAST_CONTRADICTION and not (a.kind.weak or b.kind.weak)
    return "; ".join(texts), blocked


def _influence(item: Opinion) -> float:
    return math.hypot(item.sigma, item.kind.off if item.kind.measures == "depth" else 0.0)
