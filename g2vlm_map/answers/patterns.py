# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Words that mean the same, as patterns, and what a rule is.

Patterns are looked for in a question's skeleton (`mentions.py`): lower case, without articles, with
"<m0>" for a mark, "<t1>" for a thing, "<r2>" for the robot, "<f3>" for a frame, "<p4>" for a place,
"<l5>" for a length, "<s6>" for a span of time.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from .intent import Kind

X = r"<[mtrp]\d+>"
ENDS = r"from <m\d+> (?:\w+ )?(?:to|till|until) <m\d+>"  # of a thing, or of a way

Modifier = str | Callable[[str], str]


@dataclass(frozen=True)
class Rule:
    """What makes a question one of a kind.

    Args:
        kind: That it then is.
        pattern: To be found in the skeleton.
        least, most: Subjects beside the robot that it takes.
        modifier: Of the intent, or what reads it off the skeleton.
        without: Not to be found in the skeleton.
    """

    kind: Kind
    pattern: str
    least: int
    most: int
    modifier: Modifier = ""
    without: str = ""


def first_of(*pairs: tuple[str, str]) -> Callable[[str], str]:
    """The word of the first pattern that is found, "" where none is."""

    def read(text: str) -> str:
        return next((word for pattern, word in pairs if re.search(pattern, text)), "")

    return read


LEFT, RIGHT = r"\bleft(?:-hand|most|-most)?\b", r"\bright(?:-hand|most|-most)?\b"
ABOVE = r"\babove\b|\bover\b|\bon top\b|\bhigher\b"
BELOW = r"\bbelow\b|\bunder\b|\bunderneath\b|\bbeneath\b|\blower\b"
FRONT, BEHIND = r"\bin front\b|\bahead\b", r"\bbehind\b|\bin back\b|\bat back\b"
side_asked = first_of(
    (f"(?:{LEFT}).*(?:{RIGHT})|(?:{RIGHT}).*(?:{LEFT})|\\bside\\b(?!s)", "left/right"),
    (f"(?:{ABOVE}).*(?:{BELOW})|(?:{BELOW}).*(?:{ABOVE})", "above/below"),
    (f"(?:{FRONT}).*(?:{BEHIND})|(?:{BEHIND}).*(?:{FRONT})", "front/behind"),
    (LEFT, "left"),
    (RIGHT, "right"),
    (ABOVE, "above"),
    (BELOW, "below"),
    (FRONT, "front"),
    (BEHIND, "behind"),
)
way_asked = first_of(
    (r"\bleft\b", "left"),
    (r"\bright\b(?! ahead| now| in front)", "right"),
    (r"\bback(?:ward|wards)?\b|\breverse\b|\bbehind\b|\bbacking\b", "back"),
)
NEAR = (
    r"\b(?:closer|closest|nearer|nearest|least (?:far|distant)|less (?:far|distant)|"
    r"(?:more|most) near)\b"
)
FAR = (
    r"\b(?:farther|farthest|further|furthest|more distant|most distant|more remote|"
    r"farer|farest|most far|most remote|more far|least near|least close)\b"
)
COMPARED = (
    r"\b(?:closer|nearer|farther|further|deeper|shallower|higher|lower|taller|shorter|more distant|"
    r"(?:more|less) (?:far|distant|deep|high|near)|(?:how much|much|lot) longer)\b"
)
BULK = (
    r"\b(?:(?:more|most) (?:wide|tall|high|big|large|small)|taller|tallest|higher|"
    r"highest|lower|lowest|shorter|shortest|bigger|biggest|larger|largest|"
    r"greater|greatest|smaller|smallest|wider|widest|broader|broadest|narrower|narrowest)\b"
)
size_asked = first_of(
    (r"\btall|\bhigh", "high"),
    (r"\blower|\blowest|\bshorter|\bshortest", "low"),
    (r"\bbig|\blarge|\bgreat|\b(?:more|most) (?:room|space)", "big"),
    (r"\bsmall|\bnarrow", "small"),
    (r"\bwide|\bbroad", "wide"),
)
difference_asked = first_of(
    (r"\bdepths?\b|\bdeep|\bshallow", "depth"),
    (r"\bhigh|\blow|\btall|\bshort|\belevat|\bheight|\bvertical|\babove\b|\bbelow\b", "elevation"),
    (r"", "distance"),
)
ratio_asked = first_of(
    (r"\btall|\bhigh|\bheight", "height"), (r"\bwide|\bwidth|\bbroad", "width"), (r"", "distance")
)
GO = (
    r"(?:drive|drove|driven?|driving|go|going|move|moving|proceed|continue|advance|"
    r"pass|keep|get|getting|travel|reverse|backing|walk|head|turn|back up|come|fit)"
)
WENT = (
    r"(?:move[sd]?|moved|moving|movement|motion|gone|went|go|going|come|came|"
    r"travel(?:l?ed|l?ing|s)?|drive|driven|"
    r"drove|driving|walk(?:ed)?|cover(?:ed)?|advanced?|shift(?:ed)?|displaced?|"
    r"translat\w+|budge[ds]?|progress(?:ed)?|rolled|drift(?:ed)?)"
)
TURNED = (
    r"\b(?:orientation|twist(?:ed)?|heading change|change\w* heading|turn(?:ed|ing|"
    r"s)?|rotat\w+|spin|spun|pan(?:ned)?|yaw(?:ed)?|swivel(?:led)?|swing|swung|pivot(?:ed)?|veer(?:ed)?|"
    r"swerve[d]?|steer(?:ed)?)\b"
)
PAST = (
    r"\b(?:did|has|have|had|was|were|moved|turned|rotated|travel(?:l)?ed|driven|"
    r"rotation|motion|movement|between|since|<f\d+>)\b|<f\d+>"
)
OBSTACLE = (
    r"\bobstacles?\b|\bobstruct\w*|\bblock\w*|\bhit(?:ting)?\b|\bbump\w*|\bcolli\w+|"
    r"\bcrash\b|\brun into\b|\bin (?:<r\d+> )?way\b"
)
PATH = r"(?:way|path|route|road|lane|floor|passage|coast|space|area|region)"
PASSAGE = r"(?:passage|way|path|route|lane|opening|gap|space|room|clearance)"
turn_asked = first_of(
    (r"\bhow (?:much|far|many|large|big)\b|\bdegrees\b|\bangle\b|\bamount\b|\brotation\b", "angle"),
    (
        r"\bleft\b|\bright\b|\bwhich (?:way|direction|side)\b|\bwhat (?:way|direction)\b|clockwise|"
        r"\bdirection\b|\bwhere\b",
        "side",
    ),
    (r"", "yes"),
)
FREE = r"(?:free|clear|available|usable|passable|open)"
