# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""English questions to intents: rules in order, the first that fits decides.

A rule is a kind and a pattern on a question's skeleton (`mentions.py`). It holds only where the
question names as many subjects as the kind takes and no other word is left over, so what is about
something else is UNKNOWN rather than nearly something. Plain `re`: a general parser would need a
grammar for all of English around these two dozen forms, and its trees would end in such a table.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from .intent import Intent, Kind, Role, Subject
from .lexicon import FOREIGN, WORLDLY
from .mentions import Skeleton, read_mentions
from .patterns import BULK, FAR, NEAR, X
from .rules import RULES
from .subjects import fitting, subject_of
from .viewpoint import frame_of, without_frame

__all__ = ["understand"]

MAX_WORDS, MAX_CHARS = 60, 600  # of a question; what is longer is a text
_UNKNOWN = Intent(Kind.UNKNOWN)
# Something to be done, not to be told; "take me back" and "point to A" ask for a direction.
_ORDER = re.compile(
    r"^\W*(?:please |kindly |now |robot,? |rover,? )*(?:pick|grab|grasp|fetch|turn|rotate|spin|"
    r"follow|go|drive|move|stop|halt|wait|push|pull|lift|open|close|put|drop|dock|avoid)\b",
    re.IGNORECASE,
)
_CHOSEN = re.compile(rf"{NEAR}|{FAR}|{BULK}", re.IGNORECASE)  # "pick the closer one"
_SENSED = re.compile(r"\b(?:smell|taste|hear|sound|weigh|weight|heavy|cost|fast|speed)\w*\b", re.I)

_OPTION = re.compile(r"(?:^|(?<=[\s?:,(]))([A-D])[.)]\s+(?=\w)")
_IMAGINED = re.compile(rf"<r\d+> stand at ({X}) and face ({X})|^from ({X}) facing ({X})")
_MATCHED = re.compile(
    r"^(?:which mark|where) in (<f\d+>) is (?:at same )?(?:place )?(?:as |of "
    r")?(?:<r\d+> of )?(<[mtf]\d+>)(?: in <f\d+>)?(?: \?)?(?: <m|$)"
)
_GIVEN = re.compile(r"\bdepth of (<[mt]\d+>) is (<l\d+>)|\bwith (<[mt]\d+>) at depth of (<l\d+>)")


def understand(text: str, labels: Sequence[str] = ()) -> Intent:
    """Understand an English question; see `intent.Understands`."""
    if len(text) > MAX_CHARS or len(re.findall(r"\w+", text)) > MAX_WORDS:
        return _UNKNOWN
    if (
        re.match(r"\s*why\b", text, re.IGNORECASE)
        or (_ORDER.match(text) and not _CHOSEN.search(text))
        or _SENSED.search(text)
    ):
        return _UNKNOWN
    spoken = re.findall(r"[^\W\d_]+(?:-[^\W\d_]+)*", text.casefold())
    if sum(len(word) > 1 and word in FOREIGN for word in spoken) > 1:
        return _UNKNOWN
    text, options = _without_options(text, labels)
    found = read_mentions(text, labels)
    if _is_worldly(found):
        return _UNKNOWN
    words, frame = without_frame(found)
    exercise = _imagined(found) or _place_of_camera(found) or _told_depth(found, words, frame)
    if exercise is not None:
        return replace(exercise, options=options)
    words = _pronoun(found, words, labels)
    if "stray" in words or re.search(r"\b(?:and|between|than|or|of the|the)$", words):
        return _UNKNOWN
    for said in (words, _all_marked(found, words, labels), _pointed(found, words)):
        for rule in RULES:
            if re.search(rule.pattern, said) and not (
                rule.without and re.search(rule.without, said)
            ):
                intent = fitting(rule, found, said, frame)
                if intent is not None:
                    return replace(intent, options=options)
    return _UNKNOWN


def _without_options(text: str, labels: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """A question that ends in "A. left B. right" with its options in words, and those."""
    first = _OPTION.search(text)
    if first is None or len(_OPTION.findall(text)) < 2:
        return text, ()
    parts = [part.strip(" .,") for part in _OPTION.split(text[first.start() :])]
    offered = tuple(parts[2::2])
    if all(option in labels for option in offered):
        offered = ()
    sides = all(re.fullmatch(r"(?:left|right|above|below|in front|behind| )+", o) for o in offered)
    if offered and not sides and {"A", "B"} & set(labels):
        return text, ()
    return text[: first.start()] + " or ".join(offered or parts[2::2]), offered


def _is_worldly(found: Skeleton) -> bool:
    """Whether it is about something that is in no room, or that has a name of its own."""
    used = set(map(int, re.findall(r"<t(\d+)>", found.text)))
    shouted = all(found.words[k].isupper() for k in used) if used else False
    for k in used:
        words = found.words[k].split()
        if any(word.lower() in WORLDLY for word in words):
            return True
        if not shouted and any(word[0].isupper() and len(word) > 1 for word in words):
            return True
    return False


def _imagined(found: Skeleton) -> Intent | None:
    """Somebody stands at one place and faces another: what is asked, then those two."""
    words = re.sub(r" in <f\d+>", "", found.text)
    match = _IMAGINED.search(words)
    if match is None:
        return None
    stands = [group for group in match.groups() if group]
    asked = [x for x in re.findall(X, words[match.end() :]) if x[1] != "r"]
    if not asked or "where" not in words[match.end() :]:
        return None
    subjects = tuple(subject_of(found, x) for x in (*asked, *stands))
    return Intent(Kind.IMAGINED, subjects) if len(subjects) in (3, 4) else None


def _place_of_camera(found: Skeleton) -> Intent | None:
    """Where in one frame a place, or the camera of another frame, is: one of the marks."""
    match = _MATCHED.search(found.text)
    if match is None:
        return None
    frame, asked = (group for group in match.groups() if group)
    return Intent(Kind.MATCH, (subject_of(found, asked),), frame_of(found, frame))


def _told_depth(found: Skeleton, words: str, frame: str) -> Intent | None:
    """A depth where another one is told: it gives the scale."""
    match = _GIVEN.search(words)
    if match is None:
        return None
    told, length = (group for group in match.groups() if group)
    asked = [x for x in re.findall(r"<[mt]\d+>", words) if x != told]
    asked = [x for x in asked if subject_of(found, x) != subject_of(found, told)]
    if len(asked) != 1 or not re.search(r"\bdepth|\bdeep", words[match.end() :]):
        return None
    frames = re.findall(r"<f\d+>", words)
    frame = frame_of(found, frames[0]) if frames else frame
    subjects = (subject_of(found, asked[0]), subject_of(found, told))
    return Intent(Kind.DEPTH, subjects, frame, str(found.mentions[int(length[2:-1])]))


def _pronoun(found: Skeleton, words: str, labels: Sequence[str]) -> str:
    """Words with the mark in the place of "it", where there is one mark and no other subject."""
    if re.search(r"<[mtp]\d+>|\bwhich\b", words) or len(labels) != 1:
        return words
    mark = found.put("m", Subject(Role.MARK, labels[0]), "it").strip()
    return re.sub(
        r"\b(?:it|this|that|these|those)(?: (?:object|thing|item|point|one|place|spot|"
        r"mark|marker|position|location))?\b"
        r"|(?<=\bis )(?:object|thing|item|mark|point|marker|spot|position|place)\b|"
        r"\b(?:marked|mark|marker)(?: (?:object|thing|item|point|place|spot|position|"
        r"location))?\b",
        mark,
        words,
        count=1,
    )


def _all_marked(found: Skeleton, words: str, labels: Sequence[str]) -> str:
    """Words with all marks in the place of "the two marks", "both points"."""
    if len(labels) < 2 or re.search(r"<m\d+>", words):
        return words
    marks = [found.put("m", Subject(Role.MARK, label), label).strip() for label in labels]
    return re.sub(
        r"\b(?:(?:both|two|three|four|all|these|those|marked) )+(?:of )?(?:marks|markers|points|"
        r"places|spots|things|objects|ones|them)?\b|\b(?:marks|markers)\b",
        " and ".join(marks),
        words,
        count=1,
    )


def _pointed(found: Skeleton, words: str) -> str:
    """Words in which "it" is a thing: without a name, so whoever asks is asked back."""
    thing = found.put("t", Subject(Role.THING, "it"), "it").strip()
    return re.sub(
        r"\b(?:it|this|that)(?: (?:object|thing|item|one|point|place|spot))?\b",
        thing,
        words,
        count=1,
    )
