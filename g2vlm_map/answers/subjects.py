# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A rule's intent: its subjects in the order of their meaning, or None where they do not fit."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from .intent import CAMERA, Intent, Kind, Role, Subject
from .mentions import Skeleton
from .patterns import ABOVE, BEHIND, BELOW, FAR, FRONT, LEFT, NEAR, RIGHT, Rule, X
from .viewpoint import frame_of

__all__ = ["fitting", "subject_of"]

_MOTION = (Kind.TRAVELLED, Kind.MOVED, Kind.TURNED, Kind.LOCATION, Kind.RETURN, Kind.VIEW_CHANGE)
_WITH_ROBOT = (Kind.BETWEEN, Kind.GAP)


def subject_of(found: Skeleton, placeholder: str) -> Subject:
    """What a placeholder of the skeleton stands for."""
    mention = found.mentions[int(placeholder[2:-1])]
    assert isinstance(mention, Subject), placeholder
    return mention


def fitting(rule: Rule, found: Skeleton, words: str, frame: str) -> Intent | None:
    """The intent of a rule that a question matched; None where its subjects are too few or many.

    Args:
        rule: That its words match.
        found: The question.
        words: Of its skeleton that are left.
        frame: Whose left is meant.
    """
    motion = rule.kind in _MOTION
    named = _in_order(re.findall(r"<[mtprf]\d+>" if motion else r"<[mtpr]\d+>", words), words)
    placed = [x for x in named if x[1] != "r"]
    if motion:
        placed = [x for x in placed if x[1] in "fp"] if rule.kind is not Kind.RETURN else placed
        if rule.kind is not Kind.RETURN and re.search(r"<[mt]\d+>", words):
            return None
    with_robot = rule.kind in _WITH_ROBOT and len(placed) < rule.least
    if with_robot or (rule.kind is Kind.ELEVATION and not placed):
        placed = named
    subjects = list(dict.fromkeys(subject_of(found, x) for x in placed))
    if not rule.least <= len(subjects) <= (4 if motion else rule.most):
        return None
    modifier = rule.modifier(words) if callable(rule.modifier) else rule.modifier
    frames = re.findall(r"<f\d+>", words)
    if frames and not motion and frame == CAMERA:
        frame = frame_of(found, frames[0])
    finish = _FINISH.get(rule.kind)
    intent = Intent(rule.kind, tuple(subjects), frame, modifier)
    return intent if finish is None else finish(intent, found, words)


def _in_order(named: list[str], words: str) -> list[str]:
    """Mentions with what others are held against behind them."""
    if re.search(rf"\bfrom {X} (?:\w+ )?(?:to|till|until) {X}", words):
        return named
    if re.search(rf"\bas {X} (?:is|are|does|lies) {X}|side of {X} (?:is|are|does|lies) {X}", words):
        return named[::-1]
    against = re.findall(
        rf"(?:than|relative to|compared (?:to|with)|with respect to|from|in relation to) "
        rf"({X})",
        words,
    )
    return [x for x in named if x not in against] + [x for x in named if x in against]


def _nearest(intent: Intent, found: Skeleton, words: str) -> Intent | None:
    """Candidates, and what they are held against, unless it is the robot."""
    turned = re.search(
        rf"({X}) (?:\w+ )?(?:{NEAR}|{FAR}) (?:to|from) ?({X})(?: or| and)? (?:(?:to|from) "
        rf")?({X})",
        words,
    )
    held = re.search(
        rf"(?:{NEAR}|{FAR}|\bmore close|\bmost close|\bdistance)(?: \w+)?? (?:to|from) "
        rf"(?:which |what )?({X})",
        words,
    )
    if turned and not re.search(rf"{X} (?:or|and) {re.escape(turned[1])}", words):
        anchor, rest = turned[1], [turned[2], turned[3]]
        rest = [x for x in rest if x[1] != "r"]
        if len(rest) == 2:
            return _held(intent, found, anchor, rest)
    if re.search(
        rf"^(?:which|what)\b.*\b(?:is|does|lies) ({X}) (?:{NEAR}|{FAR}) (?:to|from)", words
    ):
        anchor, *rest = re.findall(X, words)
        if len(rest) > 1:
            return _held(intent, found, anchor, rest)
    if held and held[1][1] != "r":
        rest = [x for x in re.findall(X, words) if x != held[1] and x[1] != "r"]
        return _held(intent, found, held[1], rest)
    yes = re.search(r"\bor\b|\bthan\b|^which|^what|\bwhich\b|\bwho\b|\bof\b", words)
    if len(intent.subjects) == 1 or (not yes and intent.subjects):
        return None
    if not intent.subjects and not re.search(
        r"\b(?:marks?|objects?|things?|points?|one|what|items?|obstacles?)\b", words
    ):
        return None
    return intent


def _held(intent: Intent, found: Skeleton, anchor: str, rest: Sequence[str]) -> Intent:
    subjects = tuple(dict.fromkeys(subject_of(found, x) for x in rest))
    held = subject_of(found, anchor)
    return replace(intent, subjects=(*subjects, Subject(held.role, held.name, anchor=True)))


def _relation(intent: Intent, found: Skeleton, words: str) -> Intent | None:
    subjects = intent.subjects
    if len(subjects) == 1:
        if re.search(r"\bwhich side\b", words):
            return Intent(Kind.DIRECTION, subjects, intent.frame)
        place = re.search(rf"(?:{LEFT}|{RIGHT}|{FRONT}|{BEHIND}|{ABOVE}|{BELOW}|\bside\b)", words)
        if place is None or (re.search(r"^where (?:is|are)", words) and "/" not in intent.modifier):
            return None
        if not re.search(
            rf"<r\d+>|(?:{LEFT}|{RIGHT}|{FRONT}|{BEHIND}|{ABOVE}|{BELOW}|\bsides?\b)(?: here| "
            rf"please| now)?$|/",
            words + intent.modifier,
        ):
            return None
        subjects = (*subjects, Subject(Role.ROBOT))
    return replace(intent, subjects=subjects)


def _between(intent: Intent, found: Skeleton, words: str) -> Intent:
    """What is asked about first, also where it is named last."""
    first, second, third = intent.subjects
    asked_last = re.match(rf"(?:\w+ )*?between {X} and {X}", words)
    order = (third, first, second) if asked_last else (first, second, third)
    return replace(intent, subjects=order)


def _direction(intent: Intent, found: Skeleton, words: str) -> Intent:
    """From another subject, where the question says from where."""
    named = [m for m in found.mentions if isinstance(m, Subject) and str(m) == intent.frame]
    if len(intent.subjects) == 1 and named and named[0].role in (Role.MARK, Role.THING):
        return replace(intent, subjects=(*intent.subjects, named[0]))
    return intent


def _linked(intent: Intent, found: Skeleton, words: str) -> Intent | None:
    """Two subjects only where words hold them together."""
    if len(intent.subjects) == 2 and not re.search(
        rf"{X}.*\b(?:and|from|to|between|apart|than|until|or|separat\w+)\b.*{X}|\b(?:from|"
        rf"between|to)\b.*{X}.*{X}|\bof {X}.*\b(?:to|and|from)\b",
        words,
    ):
        return None
    return intent


def _lengths(intent: Intent, found: Skeleton, words: str) -> Intent:
    match = re.search(r"<l(\d+)>", words)
    return replace(intent, modifier=str(found.mentions[int(match[1])]) if match else "")


def _count(intent: Intent, found: Skeleton, words: str) -> Intent | None:
    if intent.things:
        return intent
    if re.search(
        r"\bhow many (?:objects|things|items)\b|\b(?:number|count) (?:of )?(?:objects|"
        r"things|items)\b",
        words,
    ):
        return replace(intent, subjects=(Subject(Role.THING, "object"),))
    return None


def _width(intent: Intent, found: Skeleton, words: str) -> Intent | None:
    passage = re.search(
        r"corridor|passage|hallway|aisle|alley|tunnel|opening|doorway", " ".join(intent.things)
    )
    return replace(intent, kind=Kind.FREE_WIDTH) if passage else intent


def _elevation(intent: Intent, found: Skeleton, words: str) -> Intent | None:
    if intent.things in (("ceiling",), ("room",)):
        return Intent(Kind.ROOM_SIZE, (), CAMERA, "height")
    return intent


def _way_free(intent: Intent, found: Skeleton, words: str) -> Intent | None:
    if intent.subjects and not re.search(
        r"\b(?:to|towards?|through|past|between|reach|into|behind|around|at) <[mtp]\d+>|"
        r"\bbetween <r\d+> and <[mtp]\d+>|"
        r"<[mt]\d+> (?:reachable|in (?:<r\d+> )?way|block\w*|free|clear)",
        words,
    ):
        return None
    modifier = intent.modifier or ("" if intent.subjects else "ahead")
    return replace(intent, modifier=modifier)


def _travelled(intent: Intent, found: Skeleton, words: str) -> Intent:
    """How far back it looks."""
    match = re.search(r"<s(\d+)>", words)
    if match is None:
        return intent
    return replace(intent, modifier=f"{intent.modifier} {found.mentions[int(match[1])]}".strip())


def _return(intent: Intent, found: Skeleton, words: str) -> Intent | None:
    return intent if intent.subjects else replace(intent, subjects=(Subject(Role.PLACE, "start"),))


def _name(intent: Intent, found: Skeleton, words: str) -> Intent | None:
    shown = re.search(r"\bthis\b|\bthat\b|\bit\b|looking at|\bin front\b", words)
    return intent if intent.marks or shown else None


_FINISH: dict[Kind, Callable[[Intent, Skeleton, str], Intent | None]] = {
    Kind.NEAREST: _nearest,
    Kind.RELATION: _relation,
    Kind.REACH: _lengths,
    Kind.COUNT: _count,
    Kind.DISTANCE: _linked,
    Kind.BETWEEN: _between,
    Kind.DIRECTION: _direction,
    Kind.WIDTH: _width,
    Kind.ELEVATION: _elevation,
    Kind.HEIGHT: _elevation,
    Kind.WAY_FREE: _way_free,
    Kind.RETURN: _return,
    **dict.fromkeys((Kind.TRAVELLED, Kind.MOVED, Kind.TURNED), _travelled),
    Kind.NAME: _name,
}
