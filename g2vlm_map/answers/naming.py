# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Things by their names, measured where the model looked for them.

A model with reference features looks for "the chair" among its image tokens (`extras.fusion`),
and says where, and how much of its attention lies there (`NamedPlace`). That place stands in for a
mark. It is on the thing in a part of the cases only: so it is measured only for kinds whose
readings by name were judged in unseen rooms, and `calibration.json` says how often such a reading
is right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from g2vlm_model.interface import NamedPlace, PixelMark

from .intent import Intent, Role, Subject
from .spelling import singular

__all__ = ["LEAST_SHARE", "Measurement", "measurement_of"]

LEAST_SHARE = 0.2  # of the attention; a place that has less is none


@dataclass(frozen=True)
class Measurement:
    """What is read off the geometry for a question.

    Args:
        intent: With a mark in the place of each thing, or as it was where one has no place.
        marks: Of the question, and behind them those of its things.
        share: Least of the places; 1 where no thing is measured.
    """

    intent: Intent
    marks: tuple[PixelMark, ...]
    share: float = 1.0


def measurement_of(
    intent: Intent, marks: Sequence[PixelMark], named: Sequence[NamedPlace]
) -> Measurement:
    """A question with its things as marks, where the model has a place for every one of them.

    Args:
        intent: The question, understood.
        marks: That came with it.
        named: Where the model looked (`SpatialAnswer.named`).
    """
    own = Measurement(intent, tuple(marks))
    places = {name: _place_of(name, named) for name in intent.things}
    known = {name: place for name, place in places.items() if place is not None}
    taken = {mark.label for mark in marks}
    if not known or len(known) < len(places) or taken.intersection(known):
        return own
    subjects = tuple(
        Subject(Role.MARK, one.name, one.anchor) if one.role is Role.THING else one
        for one in intent.subjects
    )
    frames = {f"thing:{name}": f"mark:{name}" for name in known}
    return Measurement(
        replace(intent, subjects=subjects, frame=frames.get(intent.frame, intent.frame)),
        (*marks, *(replace(place.mark, label=name) for name, place in known.items())),
        min(place.share for place in known.values()),
    )


def _place_of(name: str, named: Sequence[NamedPlace]) -> NamedPlace | None:
    """The surest place of a thing by its singular name; None where it has none."""
    places = [
        one
        for one in named
        if name in (label := one.mark.label.casefold(), singular(label))
        and one.share >= LEAST_SHARE
    ]
    return max(places, key=lambda one: one.share, default=None)
