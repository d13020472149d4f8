# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""OST-Bench: a dialogue while an agent walks through a room (arXiv 2507.07984).

Entries have `scan_id`, `turn_id`, `type`, `new_observations` (paths), `origin_question`,
`option` (a list of words) and `answer`, besides the fixed texts `system_prompt` and
`user_message`. A turn sees the pictures of all turns so far; its last picture is where the
agent stands now.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ...datasets.pictures import Picture
from .base import (
    AnswerKind,
    Benchmark,
    BenchmarkItem,
    Column,
    Mean,
    Reading,
    Refusals,
    Score,
    Table,
    tasks_of,
)
from .files import Row, find_annotations, rows_of, text_field
from .reading import LETTERS, Ids, finite_number, pictures_of, read_rows
from .scoring import score_item

__all__ = ["OST"]

LAYOUT = """\
  DIR/OST_bench.json                 a list of turns
  DIR/images/SCAN_ID/...             the pictures; also imgs/ or image_upload/
  (of the hub's rbler/OST-Bench)
  fields: scan_id, turn_id, type, new_observations, origin_question, option, answer"""
_PATTERNS = ("OST_bench.json", "data/OST_bench.json", "*.json", "*.jsonl")
_PICTURES = ("images", "imgs", "image_upload", "")
PAPER_FRAMES = 15  # G2VLM's table keeps the turns with at most this many pictures

_VIEW, _STATE, _PLACE = "Agent_visible_info-", "Agent_state-", "Agent_object_spatial-"
# The 15 types of the leaderboard; those that come in several wordings are means of these.
STATE_JUDGE = (f"{_STATE}position(Judgement)", f"{_STATE}orientation(Judgement)")
STATE_ESTIMATE = (f"{_STATE}position(Estimation)", f"{_STATE}orientation(Estimation)")
INFO_JUDGE = tuple(f"{_VIEW}{what}(Judgement)" for what in ("existence", "order", "diversity"))
INFO_TIME = Mean(tuple(f"{_VIEW}existence(Temporal-loc{number})" for number in (1, 2)))
INFO_COUNT = f"{_VIEW}quantity(Counting)"
AO_JUDGE = tuple(
    Mean(tuple(f"{_PLACE}{what}(Judgement{number})" for number in (1, 2, 3)))
    for what in ("direction", "distance")
)
AO_ESTIMATE = tuple(f"{_PLACE}{what}(Estimation)" for what in ("direction", "distance"))
AO_TIME = tuple(f"{_PLACE}{what}(Temporal-loc)" for what in ("direction", "distance"))

A_STATE = Mean((*STATE_JUDGE, *STATE_ESTIMATE))
A_INFO = Mean((*INFO_JUDGE, INFO_TIME, INFO_COUNT))
AO = Mean((*AO_JUDGE, *AO_ESTIMATE, *AO_TIME))
OVERALL = Mean(
    (
        *(Mean(STATE_JUDGE), Mean(STATE_ESTIMATE)),
        *(Mean(INFO_JUDGE), INFO_TIME, INFO_COUNT),
        *(Mean(AO_JUDGE), Mean(AO_ESTIMATE), Mean(AO_TIME)),
    )
)
TASKS = frozenset(tasks_of(OVERALL))


def _read(root: Path) -> Reading:
    path = find_annotations(root, _PATTERNS, "OST-Bench", LAYOUT)[0]
    folders = [path.parent / name for name in _PICTURES]
    refusals = Refusals()
    dialogues = _Dialogues(folders)
    rows = sorted(rows_of(path, refusals), key=_turn_order)
    reading = read_rows(rows, dialogues.items_of, refusals)
    notes = [f"{dialogues.silent} turns ask nothing that is scored"] if dialogues.silent else []
    return Reading(reading.items, refusals, tuple(notes))


class _Dialogues:
    """Collects the pictures of each dialogue while its turns are read in order."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self.silent = 0
        self._folders = folders
        self._ids = Ids()
        self._scan = ""
        self._pictures: tuple[Picture, ...] = ()
        self._turns: tuple[tuple[int, int], ...] = ()
        self._whole = True

    def items_of(self, row: Row) -> Iterator[BenchmarkItem]:
        """The question of a turn; its pictures are kept for the turns behind it."""
        scan, turn = text_field(row, "scan_id"), int(finite_number(text_field(row, "turn_id")))
        if scan != self._scan:
            self._scan, self._pictures, self._turns, self._whole = scan, (), (), True
        if not self._whole:
            raise ValueError("a picture of an earlier turn is missing")
        self._whole = False
        new = pictures_of(row, "new_observations", self._folders)
        self._whole = True
        self._pictures += new
        self._turns += ((turn, len(new)),)
        task = _published_name(text_field(row, "type"))
        if task == "None":
            self.silent += 1
            return
        if task not in TASKS:
            raise ValueError("unknown task")
        kind, options, answer = _truth(row, task)
        yield BenchmarkItem(
            id=self._ids.unique(f"{scan}/{turn}"),
            task=task,
            question=text_field(row, "origin_question"),
            answer=answer,
            kind=kind,
            images=self._pictures,
            options=options,
            unit=_unit(task) if kind is AnswerKind.NUMBER else "",
            turns=self._turns,
        )


def _turn_order(row: Row) -> tuple[str, float]:
    """Dialogues together, their turns in order; what has no number goes to the end."""
    turn = str(row.fields.get("turn_id"))
    return str(row.fields.get("scan_id")), float(turn) if turn.isdecimal() else float("inf")


def _published_name(name: str) -> str:
    """The leaderboard's name of a type; some copies have the names of the generating code."""
    if name in ("None", "A_room-size(float)"):
        return "None"
    if name.startswith("Agent_"):
        return name
    whole = "Counting" if "quantity" in name else "Temporal-loc"
    name = name.replace("float", "Estimation").replace("int", whole).replace("option", "Judgement")
    for raw, published in (("A_object-", _VIEW), ("AO_", _PLACE), ("A_", _STATE)):
        if name.startswith(raw):
            return published + name.removeprefix(raw)
    return name


def _truth(row: Row, task: str) -> tuple[AnswerKind, tuple[str, ...], str]:
    """Kind, options and truth (the letter of the right option, or the number)."""
    answer = text_field(row, "answer").strip("\"' ")
    if "Judgement" not in task:
        number = finite_number(answer)
        if "Estimation" in task:
            return AnswerKind.NUMBER, (), answer
        if number != int(number):
            raise ValueError("answer is no whole number")
        return AnswerKind.COUNT, (), answer
    listed = row.fields.get("option")
    if not isinstance(listed, list) or not 2 <= len(listed) <= len(LETTERS):
        raise ValueError(f"field 'option' is no list of 2 to {len(LETTERS)}")
    options = tuple(str(option).strip("\"' ") for option in listed)
    if answer not in options:
        raise ValueError("answer is none of the options")
    return AnswerKind.CHOICE, options, LETTERS[options.index(answer)]


def _unit(task: str) -> str:
    return "deg" if "direction" in task or "orientation" in task else "m"


def _prompt(item: BenchmarkItem, shown: Sequence[int]) -> str:
    lines = [
        "You walk through a room in which nothing moves and take pictures, in this order.",
        _turns_in_words(item.turns, shown),
        "You now stand where the last picture was taken and look the same way.",
        item.question,
    ]
    if item.kind is AnswerKind.CHOICE:
        lines.append(f"Answer with one of these only: {', '.join(item.options)}.")
    elif item.kind is AnswerKind.COUNT:
        lines.append("Answer with one whole number only.")
    else:
        lines.append(f"Answer with one number in {'degrees' if item.unit == 'deg' else 'meters'}.")
    return "\n".join(lines)


def _turns_in_words(turns: Sequence[tuple[int, int]], shown: Sequence[int]) -> str:
    """Which of the pictures that the model is shown belong to which turn."""
    words, first, place = [], 0, 0
    for turn, count in turns:
        mine = sum(first <= index < first + count for index in shown)
        first += count
        if mine:
            pictures = (
                f"picture {place + 1}" if mine == 1 else f"pictures {place + 1} to {place + mine}"
            )
            words.append(f"turn {turn}: {pictures}")
        place += mine
    return "; ".join(words) + "."


def _score(item: BenchmarkItem, text: str) -> Score:
    return score_item(item, text, strict=True)


_TYPES = (
    ("position judge", STATE_JUDGE[0]),
    ("orientation judge", STATE_JUDGE[1]),
    ("position estimate", STATE_ESTIMATE[0]),
    ("orientation estimate", STATE_ESTIMATE[1]),
    ("existence judge", INFO_JUDGE[0]),
    ("order judge", INFO_JUDGE[1]),
    ("diversity judge", INFO_JUDGE[2]),
    ("existence time", INFO_TIME),
    ("quantity count", INFO_COUNT),
    ("direction judge", AO_JUDGE[0]),
    ("distance judge", AO_JUDGE[1]),
    ("direction estimate", AO_ESTIMATE[0]),
    ("distance estimate", AO_ESTIMATE[1]),
    ("direction time", AO_TIME[0]),
    ("distance time", AO_TIME[1]),
)

OST = Benchmark(
    name="ost",
    title="OST-Bench",
    layout=LAYOUT,
    read=_read,
    prompt=_prompt,
    score=_score,
    tables=(
        Table(
            f"turns with at most {PAPER_FRAMES} pictures, as in G2VLM's table",
            (
                Column("Avg.*", OVERALL),
                Column("A. State*", A_STATE),
                Column("A. Info*", A_INFO),
                Column("AO*", AO),
            ),
            keep=lambda item: len(item.images) <= PAPER_FRAMES,
        ),
        Table(
            "all turns",
            (
                Column("Overall", OVERALL),
                Column("A-State", A_STATE),
                Column("A-Info", A_INFO),
                Column("AO", AO),
                Column("Judge", Mean((*STATE_JUDGE, *INFO_JUDGE, *AO_JUDGE))),
                Column("Temp-Loc", Mean((INFO_TIME, *AO_TIME))),
                Column("Cnt.", INFO_COUNT),
                Column("Esti.", Mean((*STATE_ESTIMATE, *AO_ESTIMATE))),
            ),
        ),
        Table("types", tuple(Column(name, node) for name, node in _TYPES)),
    ),
)
