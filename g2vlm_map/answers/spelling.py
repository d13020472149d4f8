# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Words as they are written: contractions, slips of the finger, plurals."""

from __future__ import annotations

import re

from .lexicon import SPELLED, VOCABULARY

__all__ = ["mended", "plural", "singular", "written_out"]

_CONTRACTED = (
    (r"[’`´]", "'"),
    (r"\bdist\b\.?", "distance"), (r"\b(?:pls|plz)\b", "please"), (r"\bcam\b", "camera"),
    (r"\bteh\b", "the"), (r"\bwaht\b", "what"), (r"\bmutch\b", "much"), (r"\bmny\b", "many"),
    (r"\bdimention", "dimension"),
    (r"(?<=\bhow )tal\b", "tall"),
    # What a radio operator begins and ends with.
    (r"^\W*(?:rover|robot|base|copy|roger)\s*,", ""), (r",\s*(?:over|thanks|thank you)\W*$", ""),
    (r"\bwall to wall\b", "wall-to-wall"), (r"\bas (?:the )?crow flies\b", ""),
    (r"\bapprox\b\.?", "about"), (r"\bdeg\b\.?", "degrees"), (r"\bmeter\b", "meters"),
    (r"(?<=\b[A-Z])\s*[-–/&+]\s*(?=[A-Z]\b)", " and "),
    (r"\b([zxy])-(?=distance|depth|value|coordinate)", r"\1 "),
    (r"\bcan't\b|\bcannot\b", "can not"),
    (r"n't\b", " not"),
    (r"\b(what|where|how|who|which|it|there|that|here)'s\b", r"\1 is"),
    (r"\b(whats|wheres|hows)\b", lambda found: found[0][:-1] + " is"),
    (r"'re\b", " are"), (r"'m\b", " am"), (r"'ve\b", " have"), (r"'d\b", " would"),
    (r"'ll\b", " will"), (r"'s\b", " 's "), (r"(?<=s)'(?=\s)", ""),
)  # fmt: skip
_PLURALS = {
    "people": "person", "men": "man", "women": "woman", "children": "child", "feet": "foot",
    "mice": "mouse", "teeth": "tooth", "shelves": "shelf", "knives": "knife", "leaves": "leaf",
    "bookshelves": "bookshelf", "stairs": "stairs", "scissors": "scissors", "glasses": "glasses",
}  # fmt: skip


def written_out(text: str) -> str:
    """A question without contractions and abbreviations."""
    for pattern, new in _CONTRACTED:
        text = re.sub(pattern, new, text, flags=re.IGNORECASE)
    return text


def singular(noun: str) -> str:
    """Singular of a noun in lower case; the last word of several."""
    head, _, last = noun.rpartition(" ")
    if last in _PLURALS:
        last = _PLURALS[last]
    elif last.endswith("ies") and len(last) > 4:
        last = last[:-3] + "y"
    elif re.search(r"(?:x|ch|sh|ss|z)es$", last):
        last = last[:-2]
    elif last.endswith("s") and not last.endswith(("ss", "us", "is")):
        last = last[:-1]
    return f"{head} {last}".strip()


def plural(noun: str) -> str:
    """Plural of a noun in lower case; the last word of several."""
    head, _, last = noun.rpartition(" ")
    for many, one in _PLURALS.items():
        if last == one:
            return f"{head} {many}".strip()
    if last.endswith("y") and last[-2:-1] not in "aeiou":
        last = last[:-1] + "ies"
    elif last.endswith(("x", "ch", "sh", "s", "z")):
        last += "es"
    else:
        last += "s"
    return f"{head} {last}".strip()


def mended(token: str) -> str:
    """A misspelt word that questions turn on, as it is spelled.

    Only slips of the finger are mended: two letters swapped, one left out, one doubled, one too
    many inside of a longer word, one vowel for another. "weight" and "bright" stay what they are.
    """
    word = token.lower()
    if len(word) < 4 or word in VOCABULARY or not word.isalpha():
        return token
    return next((right for right in SPELLED if _slipped(word, right)), token)


def _slipped(word: str, right: str) -> bool:
    long, short = (word, right) if len(word) > len(right) else (right, word)
    if len(long) - len(short) == 1:
        gaps = [k for k in range(len(long)) if long[:k] + long[k + 1 :] == short]
        doubled = any(k and long[k] == long[k - 1] for k in gaps)
        inside = len(right) > 4 and min(gaps, default=0) > 0 and max(gaps, default=0) < len(right)
        return bool(gaps) and (doubled or inside or len(word) < len(right))
    if len(word) != len(right):
        return False
    wrong = [k for k in range(len(word)) if word[k] != right[k]]
    if len(wrong) == 1:
        return {word[wrong[0]], right[wrong[0]]} <= set("aeiou")
    return (
        len(wrong) == 2
        and wrong[1] == wrong[0] + 1
        and word[wrong[0]] == right[wrong[1]]
        and word[wrong[1]] == right[wrong[0]]
    )
