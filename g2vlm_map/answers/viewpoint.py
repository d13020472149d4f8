# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""From whose place left and right are meant, and the words around a question that mean nothing."""

from __future__ import annotations

import re

from .intent import CAMERA
from .lexicon import ROBOT
from .mentions import Skeleton

__all__ = ["frame_of", "without_frame"]

# From whose place it is meant; what is found is taken out.
_FRAMES = (
    (
        r"\b(?:as )?(?:seen |viewed |looking |speaking )?(?:from|in|through|with|by) "
        r"(<[mtr]\d+> )(?:own )?(?:point of view|perspective|viewpoint|view|side|eyes|"
        r"standpoint|vantage point|frame|coordinates|reference frame|coordinate frame|"
        r"body frame|position)\b(?! of)",
        1,
    ),
    (
        r"\b(?:from|in) (?:perspective|point of view|viewpoint|view|standpoint|frame|"
        r"reference frame|coordinate frame) of (<[mtr]\d+>)",
        1,
    ),
    (
        r"\b(?:as )?(?:seen|viewed|observed|looking|watched|looked at) (?:from|by) "
        r"(<[mtrf]\d+>)(?: of (<f\d+>))?",
        1,
    ),
    (
        r"\bas (<[mtr]\d+>) sees? it\b|\bfor (<r\d+>) of (<f\d+>)|\bfor (<r\d+>)$|\bfrom "
        r"(<f\d+>)(?= (?:by|what|how|where|which|is))",
        1,
    ),
    (
        r"\b(?:if|when|while)? ?(?:<r\d+> )?(?:was|were|am|is)? ?(?:stand|stood|standing|"
        r"sit|sat|sitting|placed) (?:at|by|next to|near|in front of|on|beside|where) "
        r"(<[mt]\d+>)(?: (?:is|stands|was))?",
        1,
    ),
    (
        r"\bfrom where (<[mtr]\d+>) (?:am|is|are|stands?|sits?|was)(?: (?:standing|"
        r"sitting|now|right now))?",
        1,
    ),
    (
        r"\b(?:relative to|with respect to|in relation to|with regard to|compared to|"
        r"compared with|relative) (<r\d+>)",
        1,
    ),
    (
        r"\b(?:as seen )?from (?:here|this (?:place|position|point of view|viewpoint|"
        r"perspective|spot|view))\b|\bin (?:this|current|present) view\b",
        0,
    ),
)
_LEAD_IN = re.compile(
    r"^(?:(?:please|hey|hi|hello|ok|okay|so|well|now|and|excuse <r\d+>|could|can|"
    r"would|will|<r\d+>|do|you|know|want|need|like|to|"
    r"tell|give|say|show|measure|estimate|calculate|compute|determine|report|figure "
    r"out|work out|provide|check|whether|if|wonder|wondering|am|"
    r"i|think|for|about|let|of|me|us|idea|any|find out|would|mind|help|thanks|quickly|"
    r"roughly|approximately|exactly|question|telling|showing|trouble|got|kindly) )+"
    r"(?=(?:how|what|which|where|when|whether|if|is|are|was|were|did|does|do|has|have|"
    r"<[mtr]\d+>|distance|depth|height|width|size|angle|direction|number|colour|color|"
    r"name|gap|by|at|in|from|on|count|elevation|location|position|dimensions|there|"
    r"this|bearing|range|ratio|difference|free|clear|clearance|path|way)\b|<[mt])"
)
_ABOUT_SCENE = re.compile(
    r"\b(?:(?:in|on|of|inside|from|within) (?:this |whole |entire |full |current )?"
    r"(?:picture|image|scene|photo|video|shot|snapshot)s?|(?:in|inside) (?:this |whole )?room|"
    r"in this view)\b(?! of)"
)


def without_frame(found: Skeleton) -> tuple[str, str]:
    """The skeleton without lead-in and without what says from where; and that."""
    words = _ABOUT_SCENE.sub(" ", found.text)
    words, frame = re.sub(r"\s+", " ", words).strip(), CAMERA
    for pattern, named in _FRAMES:
        match = re.search(pattern, words)
        if match is None:
            continue
        places = [group for group in match.groups() if group] if named else []
        frame = frame_of(found, places[-1].strip()) if places else CAMERA
        words = re.sub(r"\s+", " ", words[: match.start()] + " " + words[match.end() :]).strip()
        break
    shorter = _LEAD_IN.sub("", words)
    return shorter or words, frame


def frame_of(found: Skeleton, placeholder: str) -> str:
    """The `Intent.frame` of a placeholder: "base", "camera" or a subject."""
    number = int(placeholder[2:-1])
    if placeholder[1] == "r":
        words = found.words[number]
        return ROBOT.get(words, CAMERA)
    return str(found.mentions[number])
