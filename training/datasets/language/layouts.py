# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What the entries of each layout mean.

`jsonl` is this project's own: `pictures` (or `film`), `question` and `answer` (or `turns`),
`marks`, `system`. `llava` is the conversation layout of LLaVA, `webdataset` the entries of either
in tars; `spar`, `onevision` and `video178k` are the published folders of SPAR-7M, LLaVA-OneVision
and LLaVA-Video-178K, whose entries are LLaVA's too.

Places of pictures inside a text (`<image>`) have to be as many as there are pictures. The model
reads all pictures ahead of the first question, as at inference, so a place that the text only
begins with is left out, and another one becomes the words `frame 2`.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from g2vlm_model.interface import PixelMark

from ..base import DataError
from ..pictures import Picture
from .conversation import Film, Told, Turn, below
from .rows import Row

__all__ = ["LANGUAGE_LAYOUTS", "LanguageLayout"]

_PLACE = re.compile(r"<(?:image|video)>")
_LEADING = re.compile(r"(?:\s*<(?:image|video)>\s*)+")
_HUMAN, _MODEL, _SYSTEM = ("human", "user"), ("gpt", "assistant"), ("system",)
# SPAR-7M counts in thousandths of a picture's sides. A place's colour is its name in the question.
_SPAR_UNIT = 1000.0
_COLOURS = ("red", "blue", "green", "yellow")
_LISTED = ("red", "green", "blue")  # of several pictures, the order in which they are named
_MATCHED = ("green", "blue", "red", "yellow")
_SPAR_ORDER: dict[str, Sequence[str]] = {  # whose picture stands where in `point_img_idx`
    "depth_prediction_oc_mv": ("red", "blue"),
    "depth_prediction_oo_mv": ("red", "blue", "green"),
    "distance_infer_center_oo_mv": _LISTED,
    "spatial_imagination_oc_mv": _MATCHED,
    "spatial_imagination_oo_mv": _MATCHED,
    "spatial_imagination_oc_video": _MATCHED,
    "spatial_imagination_oo_video": _MATCHED,
}
# In films places are labelled by their number.
_SPAR_NUMBERED = ("spatial_imagination_oc_video", "spatial_imagination_oo_video")
# Of which all boxes are on the first picture that is named.
_SPAR_ONE = ("obj_spatial_relation_oc_mv", "obj_frame_locate")


@dataclass(frozen=True)
class LanguageLayout:
    """A layout.

    Args:
        files: Patterns of its files below the folder; the first that finds some counts.
        read: What an entry says, of the folder and the frames that a film is to give.
        needs: What the folder holds, for errors.
    """

    files: tuple[str, ...]
    read: Callable[[Row, Path, int], Told]
    needs: str


def _own(row: Row, root: Path, frames: int) -> Told:
    """An entry of the project's own layout."""
    fields = row.fields
    allowed = {"pictures", "film", "question", "answer", "turns", "marks", "system", "id"}
    if unknown := sorted(set(fields) - allowed):
        raise DataError(f"{row.where} has the keys {unknown}, expected some of {sorted(allowed)}")
    listed = fields.get("turns", [{key: fields.get(key) for key in ("question", "answer")}])
    if not isinstance(listed, list) or not all(isinstance(turn, dict) for turn in listed):
        raise DataError(f"{row.where}: turns is no list of objects")
    turns = tuple(
        Turn(_words(turn, "question", row.where), _words(turn, "answer", row.where))
        for turn in listed
    )
    if fields.get("film") is not None:
        pictures: tuple[Picture, ...] | Film = Film(
            below([row.path.parent, root], fields["film"], row.where), frames
        )
    else:
        pictures = _pictures(row, fields.get("pictures"), [row.path.parent, root])
        if not pictures and fields.get("pictures") != []:
            raise DataError(
                f"{row.where} has no picture; one in words alone says so with an empty list, "
                '"pictures": []'
            )
    system = fields.get("system", "")
    if not isinstance(system, str):
        raise DataError(f"{row.where}: system is no text")
    marks = _marks(fields.get("marks", []), row.where)
    return Told(row.where, pictures, turns, marks, system)


def _llava(row: Row, root: Path, frames: int) -> Told:
    """An entry of LLaVA's conversation layout; pictures beside the file, or in `images`."""
    folders = [row.path.parent, root, row.path.parent / "images", root / "images"]
    return _conversation(row, folders, frames)


def _either(row: Row, root: Path, frames: int) -> Told:
    """An entry of a WebDataset tar."""
    return (_llava if "conversations" in row.fields else _own)(row, root, frames)


def _video178k(row: Row, root: Path, frames: int) -> Told:
    """An entry of LLaVA-Video-178K: films below the folder that the entry's file is in."""
    source = row.fields.get("data_source")
    folders = [row.path.parent, root]
    if isinstance(source, str) and source and "/" not in source and ".." not in source:
        folders.insert(1, root / source)
    told = _conversation(row, folders, frames)
    if not isinstance(told.pictures, Film):
        raise DataError(f"{row.where} names no video")
    return told


def _spar(row: Row, root: Path, frames: int) -> Told:
    """An entry of SPAR-7M: SOURCE/qa_jsonl/..., its pictures in SOURCE/images."""
    parents = [parent for parent in row.path.parents if parent.name == "qa_jsonl"]
    folders = [parents[0].parent / "images"] if parents else []
    told = _conversation(row, [*folders, root], frames, places=False)
    if not told.pictures:
        raise DataError(f"{told.name} has no picture")
    return Told(told.name, told.pictures, told.turns, _spar_marks(row), told.system, _SPAR_UNIT)


def _conversation(row: Row, folders: Sequence[Path], frames: int, places: bool = True) -> Told:
    """LLaVA's keys: `conversations`, and `image`, `images` or `video`.

    Args:
        row: The entry.
        folders: Where its files are looked for.
        frames: Of a film.
        places: The texts have to say where the pictures are; else they may.
    """
    fields = row.fields
    film = fields.get("video")
    if film is not None:
        pictures: tuple[Picture, ...] | Film = Film(below(folders, film, row.where), frames)
    else:
        pictures = _pictures(row, fields.get("image", fields.get("images")), folders)
    system, said = "", list[tuple[bool, str]]()
    listed = fields.get("conversations")
    if not isinstance(listed, list) or not listed:
        raise DataError(f"{row.where} has no conversations")
    for number, entry in enumerate(listed):
        if not isinstance(entry, dict):
            raise DataError(f"{row.where}: turn {number + 1} is no object")
        who = entry.get("from", entry.get("role"))
        words = _words(entry, "value" if "value" in entry else "content", row.where)
        if who in _SYSTEM and number == 0:
            system = words
        elif who in (*_HUMAN, *_MODEL):
            said.append((who in _HUMAN, words))
        else:
            raise DataError(f"{row.where}: turn {number + 1} is of {who!r:.40}")
    asks = [asks for asks, _ in said]
    if len(said) % 2 or asks != [True, False] * (len(said) // 2):
        raise DataError(f"{row.where}: questions and answers do not take turns")
    count = 1 if isinstance(pictures, Film) else len(pictures)
    texts = _without_places([words for _, words in said], count, row.where, places)
    turns = tuple(itertools.starmap(Turn, zip(texts[::2], texts[1::2], strict=True)))
    return Told(row.where, pictures, turns, (), system)


def _without_places(texts: Sequence[str], count: int, where: str, wanted: bool) -> list[str]:
    """Texts with words where pictures are, and nothing where they only begin with them."""
    found = sum(len(_PLACE.findall(text)) for text in texts)
    if found != count and (wanted or found):
        raise DataError(f"{where} has {count} pictures and {found} times <image>")
    numbers = itertools.count(1)
    out = []
    for text in texts:
        if head := _LEADING.match(text):
            for _ in _PLACE.findall(head.group()):
                next(numbers)
            text = text[head.end() :]
        out.append(_PLACE.sub(lambda _: f"frame {next(numbers)}", text))
    return out


def _pictures(row: Row, named: Any, folders: Sequence[Path]) -> tuple[Picture, ...]:
    """Those that came with an entry, in the order of their names or as it names them; or files."""
    held = row.pictures
    names = [named] if isinstance(named, str) else named
    if held is not None and (row.path.suffix == ".parquet" or names is None):
        return tuple(held.values())
    if names is None:
        return ()
    if not isinstance(names, list):
        raise DataError(f"{row.where}: pictures is no list of names")
    if held is None:
        return tuple(below(folders, name, row.where) for name in names)
    if lacking := [name for name in names if name not in held]:
        raise DataError(f"{row.where}: {lacking[0]!r:.80} is missing in the tar")
    return tuple(held[name] for name in names)


def _words(fields: Mapping[str, Any], key: str, where: str) -> str:
    words = fields.get(key)
    if not isinstance(words, str):
        raise DataError(f"{where}: {key} is no text")
    return words.strip()


def _marks(listed: Any, where: str) -> tuple[PixelMark, ...]:
    """Marks of the project's own layout: picture (from 1), u, v, label, box."""
    if not isinstance(listed, list):
        raise DataError(f"{where}: marks is no list")
    found = []
    for entry in listed:
        try:
            box = entry.get("box")
            found.append(
                PixelMark(
                    int(entry.get("picture", 1)) - 1, float(entry["u"]), float(entry["v"]),
                    str(entry.get("label", "")), None if box is None else _size(box),
                )
            )  # fmt: skip
        except (AttributeError, ArithmeticError, KeyError, TypeError, ValueError) as error:
            raise DataError(f"{where}: a mark is {entry!r:.120}, expected picture, u, v") from error
    return tuple(found)


def _size(box: Any) -> tuple[float, float]:
    width, height = (float(side) for side in box)
    if not (width > 0 and height > 0):
        raise ValueError(box)
    return width, height


def _spar_marks(row: Row) -> tuple[PixelMark, ...]:
    """The places that SPAR-7M draws, each named by its colour.

    Raises:
        DataError: A place is none.
    """
    kind = str(row.fields.get("type", ""))
    found = []
    for shape in ("point", "bbox"):
        there = [c for c in _COLOURS if row.fields.get(f"{c}_{shape}")]
        order = [c for c in _SPAR_ORDER.get(kind, _COLOURS) if c in there]
        shown = row.fields.get(f"{shape}_img_idx") or [[]]
        try:
            frames = [int(frame) for frame in shown[0] if frame is not None]
            for colour in there:
                numbers = [float(x) for x in row.fields[f"{colour}_{shape}"][0]]
                at = 0 if kind in _SPAR_ONE else order.index(colour)
                # A picture that is not said is the first, of one that is said it is that one.
                frame = frames[min(at, len(frames) - 1)] if frames else 0
                numbered = f"object{at}" if kind in _SPAR_NUMBERED else f"{colour} {shape}"
                found.append(_spar_mark(frame, numbers, numbered))
            listed = (row.fields.get(f"{shape}_list") or [[]])[0]
            names = ["objectA"] * (shape == "point") + [f"object{k}" for k in range(len(listed))]
            for frame, place, name in zip(frames, listed, names, strict=False):
                found.append(_spar_mark(frame, [float(x) for x in place], name))
        except (ArithmeticError, IndexError, KeyError, TypeError, ValueError) as error:
            raise DataError(f"{row.where}: its {shape}s cannot be read: {error}") from error
    return tuple(found)


def _spar_mark(frame: int, numbers: Sequence[float], name: str) -> PixelMark:
    if len(numbers) == 2:
        return PixelMark(frame, numbers[0], numbers[1], name)
    left, top, right, bottom = numbers
    size = _size((right - left, bottom - top))
    return PixelMark(frame, (left + right) / 2, (top + bottom) / 2, name, size)


LANGUAGE_LAYOUTS: dict[str, LanguageLayout] = {
    "jsonl": LanguageLayout(("*.jsonl", "**/*.jsonl"), _own, "*.jsonl"),
    "llava": LanguageLayout(
        ("*.json", "*.jsonl", "**/*.json", "**/*.jsonl"), _llava, "*.json or *.jsonl"
    ),
    "webdataset": LanguageLayout(("*.tar", "**/*.tar"), _either, "*.tar"),
    "spar": LanguageLayout(
        (
            "*/qa_jsonl/train/**/*.jsonl", "qa_jsonl/train/**/*.jsonl",
            "spar/*/qa_jsonl/train/**/*.jsonl",
        ),
        _spar,
        "SOURCE/qa_jsonl/train/TASK/FORMAT/*.jsonl and SOURCE/images",
    ),
    "onevision": LanguageLayout(
        ("*/train-*.parquet", "train-*.parquet", "data/train-*.parquet", "*.json", "*/*.json"),
        _llava,
        "SUBSET/train-*.parquet, or *.json with pictures",
    ),
    "video178k": LanguageLayout(
        ("*/*_processed.json", "*_processed.json", "*/*.json", "*.json"),
        _video178k,
        "PART/*_processed.json and the films of PART's tars, unpacked there",
    ),
}  # fmt: skip
