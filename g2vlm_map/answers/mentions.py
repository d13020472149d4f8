# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What a question names: marks, things, the robot, frames; the rest of it as a skeleton.

"How far is the red chair from mark A?" becomes "how far is <t0> from <m1>", with t0 a thing "red
chair" and m1 a mark "A". Grammar rules are written against the skeleton. A name is a run of words
that the lexicon does not know, so no list of things is needed.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field

from .intent import Role, Subject
from .lexicon import (
    ADJECTIVES,
    COLOURS,
    DETERMINERS,
    NUMBERS,
    ORDINALS,
    ROBOT,
    VOCABULARY,
)
from .spelling import mended, singular, written_out

__all__ = ["Skeleton", "read_mentions"]

_PICTURE = r"(?:frame|picture|image|photo|photograph|view|shot|snapshot|keyframe)"
_ORDINAL = "|".join(ORDINALS)
_FRAME = re.compile(
    rf"\b(?:{_PICTURE}s?|no\.?)\s*(?:number\s*|no\.?\s*|#\s*)?(?P<n>\d+|{'|'.join(NUMBERS)})\b"
    rf"|\b(?:the\s+|your\s+)?(?P<o>{_ORDINAL}|\d+(?:st|nd|rd|th))"
    rf"(?=\s+(?:(?:and|to|or)\s+(?:the\s+)?(?:{_ORDINAL})\s+)?(?:camera\s+)?{_PICTURE}s?\b)"
    rf"(?:\s+(?:camera\s+)?{_PICTURE}s?\b)?"
    rf"|(?<=and\s)the\s+(?P<e>{_ORDINAL})\s+one\b|"
    rf"(?<=to\s)the\s+(?P<g>{_ORDINAL})(?:\s+one\b|(?=\s*[?.!]?$))",
    re.IGNORECASE,
)
_MORE_FRAMES = re.compile(r"(<f\d+>\s*(?:,|and|to|or|-|–|through|until|till)\s*(?:the\s+)?)(\d+)\b")
_START = re.compile(
    r"\b(?:(?:the\s+)?(?:place|point|position|spot|"
    r"location)\s+)?(?:from\s+)?where\s+(?:i|we|you|it|"
    r"the\s+robot|the\s+camera)\s+(?:had\s+)?(?:first\s+)?(?:started|began|begun|start|set\s+off|"
    r"set\s+out|came\s+from)(?:\s+(?:from|out|off))?\b"
    r"|\b(?:the\s+)?(?:place|point|spot|position)\s+(?:that\s+|where\s+)?(?:i|we|you|it)\s+"
    r"(?:started|set\s+off|set\s+out|came|began)\s+(?:from|at)\b"
    r"|(?<=since\s)(?:i|we|you|it|(?:the|our)\s+(?:robot|camera|start|beginning|departure))"
    r"(?:\s+(?:first\s+)?(?:started|began|begun|set\s+off|set\s+out|left|departed))?\b"
    r"|\b(?:the|my|our|your|its)\s+(?:very\s+)?(?:start(?:ing)?|initial|original|first)\s+"
    r"(?:point|position|place|location|spot|pose)\b"
    r"|\b(?:the|my|our|your|its)\s+(?:very\s+)?(?:start|beginning|origin|home(?:\s+position)?)\b"
    r"|(?<=to\s)start\b|(?<=from\s)start\b|\bhome\b(?!\s+\w+\s+(?:is|on|in)\b)",
    re.IGNORECASE,
)
_LENGTH = re.compile(
    rf"\b(?P<n>\d+(?:[.,]\d+)?|{'|'.join(NUMBERS)}|half\s+a|an?|one\s+and\s+a\s+half)[\s-]*"
    r"(?P<u>metres?|meters?|m|centimet(?:re|er)s?|cm|millimet(?:re|er)s?|mm|feet|foot|"
    r"ft|inch(?:es)?)\b",
    re.IGNORECASE,
)
_SPAN = re.compile(
    rf"\b(?:(?:in|over|during|within|for)\s+)?(?:the\s+)?(?:last|past|previous)\s+"
    rf"(?:(?P<n>\d+|half\s+an?|half|{'|'.join(NUMBERS)})\s+)?(?P<u>second|minute|hour|sec|min|s)s?\b",
    re.IGNORECASE,
)
_UNITS = {"c": "cm", "mi": "mm", "mm": "mm", "f": "ft", "i": "in"}  # by how a unit begins
_OVER_FLOOR = re.compile(
    r"\b(?:above|over|off|from|up\s+from|to|and)\s+(?:the\s+)?(?:floor|ground)(?:\s+level)?\b", re.I
)
_PLACE_WORDS = (
    r"(?:(?:the|a)\s+)?(?:(?:object|thing|item|one|place|point|spot|position|location|"
    r"pixel|mark(?:er)?|"
    r"label|number|surface)s?\s+)"
    r"(?:(?:that\s+is\s+|which\s+is\s+)?(?:marked|labelled|labeled|called|named|tagged|at|under|by|"
    r"with|as|mark(?:er)?|point|letter|label|the|position|number)\s+)*"
)
_AFTER_A_NAME = {
    *(
        "",
        ".",
        ",",
        ";",
        ":",
        "?",
        "!",
        "/",
        "(",
        ")",
        "and",
        "or",
        "to",
        "from",
        "is",
        "are",
        "was",
    ),
    *(
        "than",
        "at",
        "of",
        "lies",
        "lie",
        "relative",
        "compared",
        "versus",
        "vs",
        "when",
        "if",
        "as",
    ),
    *("away", "seen", "nearer", "closer", "farther", "further", "higher", "lower", "left", "right"),
    *("above", "below", "behind", "in", "on", "between", "have", "has", "does", "do", "look", "be"),
    *("appear", "appears", "sit", "sits", "stand", "stands", "please"),
}
_TOKEN = re.compile(r"<\w\d+>|[^\W_]+(?:[-'][^\W_]+)*|[.,;:/()\"?!-]|'s")


@dataclass
class Skeleton:
    """A question with its mentions taken out.

    Args:
        text: Lower case; mentions are "<m0>" (mark), "<t1>" (thing), "<r2>" (robot), "<f3>"
            (frame), "<p4>" (place), "<l5>" (length), "<s6>" (span of time); determiners are left
            out.
        mentions: What each number stands for.
        words: Of each mention, as written.
    """

    text: str = ""
    mentions: list[Subject | str] = field(default_factory=list)
    words: list[str] = field(default_factory=list)

    def put(self, letter: str, mention: Subject | str, words: str) -> str:
        """The placeholder of a new mention."""
        self.mentions.append(mention)
        self.words.append(words)
        return f" <{letter}{len(self.mentions) - 1}> "


def read_mentions(text: str, labels: Sequence[str]) -> Skeleton:
    """Take marks, frames, places, lengths, the robot and things out of a question."""
    found = Skeleton()
    text = re.sub(r"[<>]", " ", unicodedata.normalize("NFKC", text))  # placeholders are ours
    text = written_out(text)
    text = re.sub(
        r"\bfloor (?:area|space|surface)\b|\bfloor of the room\b", "area", text, flags=re.IGNORECASE
    )
    text = _OVER_FLOOR.sub(" overfloor ", text)
    text = _SPAN.sub(lambda m: _span(found, m), text)
    text = _LENGTH.sub(lambda m: _length(found, m), text)
    text = _START.sub(lambda m: found.put("p", Subject(Role.PLACE, "start"), m[0]), text)
    text = _frames(found, text)
    text = _marks(found, text, labels)
    tokens = [mended(match[0]) for match in _TOKEN.finditer(text)]
    found.text = _merged(found, " ".join(_names(found, tokens, labels)))
    return found


def _length(found: Skeleton, match: re.Match[str]) -> str:
    words, unit = match["n"].lower(), match["u"].lower()
    if words in ("a", "an") and unit == "m":
        return match[0]
    value = {"a": 1.0, "an": 1.0, "one and a half": 1.5}.get(words)
    if value is None:
        value = 0.5 if words.startswith("half") else NUMBERS.get(words)
    value = float(words.replace(",", ".")) if value is None else float(value)
    name = next((made for key, made in _UNITS.items() if unit.startswith(key)), "m")
    return found.put("l", f"{value:g} {name}", match[0])


def _span(found: Skeleton, match: re.Match[str]) -> str:
    """How far back a question looks: "in the last two minutes" is 120 s."""
    words = (match["n"] or "1").lower()
    count = 0.5 if words.startswith("half") else float(NUMBERS.get(words, words))
    seconds = count * {"s": 1.0, "m": 60.0, "h": 3600.0}[match["u"][0].lower()]
    return found.put("s", f"{seconds:g} s", match[0])


def _frames(found: Skeleton, text: str) -> str:
    def put(match: re.Match[str]) -> str:
        named = (match["n"] or match["o"] or match["e"] or match["g"]).lower()
        name = ORDINALS.get(named) or str(NUMBERS.get(named, re.sub(r"\D", "", named) or named))
        return found.put("f", Subject(Role.FRAME, name), match[0])

    text = _FRAME.sub(put, text)
    while match := _MORE_FRAMES.search(text):
        number = found.put("f", Subject(Role.FRAME, match[2]), match[2])
        text = text[: match.end(1)] + number + text[match.end() :]
    return text


def _marks(found: Skeleton, text: str, labels: Sequence[str]) -> str:
    """Labels that exist, single capitals, and whatever is called a mark or point."""
    known = sorted((re.escape(label) for label in labels if label), key=len, reverse=True)
    named = "|".join((*known, "[A-Z]", r"\d{1,2}"))

    def put(match: re.Match[str]) -> str:
        return found.put("m", Subject(Role.MARK, _label(match["label"], labels)), match[0])

    text = re.sub(
        rf"\b{_PLACE_WORDS}[\"'(]?(?-i:(?P<label>{named}))(?![\w'<])[\"')]?", put, text,
        flags=re.IGNORECASE,
    )  # fmt: skip
    text = re.sub(
        r"\b(?:mark(?:er)?|point|label)\s+[\"'(]?(?P<label>[a-z])(?!\w)[\"')]?", put, text,
        flags=re.IGNORECASE,
    )  # fmt: skip
    long = [re.escape(label) for label in sorted(labels, key=len, reverse=True) if len(label) > 1]
    if long:
        text = re.sub(rf"(?<![\w<])(?P<label>{'|'.join(long)})(?!\w)", put, text, flags=re.I)
    digits = [label for label in labels if len(label) == 1 and not label.isalpha()]
    alone = "".join((r"B-HJ-Z", *map(re.escape, digits)))
    return re.sub(rf"(?<![\w<'.-])[\"'(]?(?P<label>[{alone}])(?![\w'>])[\"')]?", put, text)


def _label(written: str, labels: Sequence[str]) -> str:
    """A label as it was given where one fits in upper or lower case, else in upper case."""
    for label in labels:
        if label.casefold() == written.casefold():
            return label
    return written.upper() if len(written) == 1 else written


def _names(found: Skeleton, tokens: Sequence[str], labels: Sequence[str]) -> list[str]:
    """Tokens with the robot, lone letters and things replaced, and determiners left out."""
    out: list[str] = []
    names = {label.casefold() for label in labels}
    shouted = not any(
        character.islower() for token in tokens for character in token if token[0] != "<"
    )
    i = 0
    while i < len(tokens):
        token, word = tokens[i], tokens[i].lower()
        following = tokens[i + 1].lower() if i + 1 < len(tokens) else ""
        article = i == 0 or token == "a" or shouted
        if word in ("a", "i") and _is_label(token, following, labels, not article):
            out.append(found.put("m", Subject(Role.MARK, token.upper()), token).strip())
            i += 1
            continue
        if len(token) == 1 and token.isalpha() and word not in ("a", "i") and word in names:
            out.append(found.put("m", Subject(Role.MARK, _label(token, labels)), token).strip())
            i += 1
            continue
        start = i + (word in DETERMINERS)
        if word in ("my", "your", "our") and not _named_from(tokens, start)[0]:
            out.append(found.put("r", Subject(Role.ROBOT), "i").strip())
            i += 1
            continue
        if word in ("anyone", "anybody", "someone", "somebody"):
            out.append(found.put("t", Subject(Role.THING, "person"), word).strip())
            i += 1
            continue
        noun = tokens[start].lower() if start < len(tokens) else ""
        if noun in ROBOT:
            out.append(found.put("r", Subject(Role.ROBOT), noun).strip())
            i = start + 1
            continue
        if noun in COLOURS and not _named_from(tokens, start)[0]:
            out.append("coloured")
            i = start + 1
            continue
        if noun == "picture" and start > i and word == "the" and _hangs(out):
            out.append(found.put("t", Subject(Role.THING, noun), noun).strip())
            i = start + 1
            continue
        name, end = _named_from(tokens, start, determined=start > i)
        if name and start == i and _acts(out):
            out.append("verb")
            i += 1
            continue
        if name:
            thing = Subject(Role.THING, singular(name.lower()))
            out.append(found.put("t", thing, name if i else name[0].lower() + name[1:]).strip())
            i = end
            continue
        if word not in DETERMINERS or word in ("this", "that", "these", "those", "any"):
            out.append(word)
        i += 1
    return out


def _acts(before: Sequence[str]) -> bool:
    """Whether the next word is what the robot does: "did the camera wobble"."""
    auxiliary = before[-2:-1] and before[-2] in ("did", "does", "do", "can", "could", "will")
    return bool(auxiliary) and before[-1].startswith("<r")


def _hangs(before: Sequence[str]) -> bool:
    """Whether "the picture" behind these words is a thing on a wall and not what the camera saw."""
    return not before or before[-1] not in ("in", "on", "of", "inside", "within", "to")


def _is_label(token: str, following: str, labels: Sequence[str], certain: bool) -> bool:
    """Whether "a" or "I" is a mark and not a word.

    Args:
        token: As written.
        following: The next token in lower case, "" at the end.
        labels: Of the marks that came.
        certain: It is a capital where only a name has one.
    """
    if token.upper() == "I":
        return "I" in labels and following in _AFTER_A_NAME
    if token == "a" and following.startswith("<l"):  # "a 70 cm arm"
        return False
    return certain or following in _AFTER_A_NAME or following.startswith("<")


def _named_from(tokens: Sequence[str], start: int, determined: bool = True) -> tuple[str, int]:
    """Words of a name that begins at a token, and the token behind it; "" where none does.

    Adjectives and colours belong to it before its noun only. Without an article or the like, what
    ends as adverbs and participles do begins no name.
    """
    end = last = start
    while end < len(tokens) and tokens[end][0].isalnum():
        word = tokens[end].lower()
        if word in COLOURS:
            if last > start:
                break
            end += 1
        elif _is_noun(word, determined or last > start):
            end = last = end + 1
        elif word in ADJECTIVES and determined and last == start:
            end += 1
        elif word in ("can", "frame") and last > start and _ends_name(tokens, end + 1):
            end = last = end + 1
        else:
            break
    return " ".join(tokens[start:last]), last


def _ends_name(tokens: Sequence[str], following: int) -> bool:
    """Whether "can" or "frame" is the last word of a name: "trash can", "door frame"."""
    word = tokens[following].lower() if following < len(tokens) else ""
    return not (word in ROBOT or word in DETERMINERS or word == "be" or word.isdigit())


def _is_noun(word: str, determined: bool) -> bool:
    if word in VOCABULARY or word in DETERMINERS or word in ROBOT:
        return False
    return determined or not re.search(r"\w{3}(?:ly|ed)$", word)


def _merged(found: Skeleton, text: str) -> str:
    """Where a name and a mark are one subject ("the chair at A"), or a place says which thing."""
    text = re.sub(r" ?'s(?!\w)", "", text)
    text = re.sub(
r"<t\d+> (?:(?:which|that) is )?(?:(?:at|marked|labelled|labeled|under|with|by|as|"
r"called|named|mark|marker|point|position|\() ?)*(<m\d+>)(?: \))?", r"\1", text)  # fmt: skip
    text = re.sub(
r"(<t\d+>) (?:(?:which|that) is )?(?:on|in|near|by|beside|next to|with|at|against|"
r"inside|of) <t\d+>", r"\1", text)  # fmt: skip
    text = re.sub(r"(<t\d+>) (?=<t\d+>)", r"\1 stray ", text)  # words that fit nowhere
    return re.sub(r"\s*[,;:()\"]\s*|\s+", " ", text).strip(" ?!.-")
