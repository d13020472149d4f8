# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A conversation about pictures, checked once at this border."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from g2vlm_model.interface import Frame, FrameWindow, PixelMark

from ..base import DataError
from ..pictures import Picture, load_picture, video_frames

__all__ = ["Conversation", "Film", "Told", "Turn", "below"]


@dataclass(frozen=True)
class Turn:
    """A question and its answer, as they are said."""

    question: str
    answer: str


@dataclass(frozen=True)
class Film:
    """A film whose frames are pictures.

    Args:
        path: The file.
        frames: How many of its frames are taken, evenly spread, first and last among them.
    """

    path: Path
    frames: int


@dataclass(frozen=True)
class Told:
    """A conversation whose pictures nobody looked at yet.

    Args:
        name: File and place, for messages.
        pictures: In the order of the frames, none of a conversation in words alone; or a film.
        turns: In order, at least one.
        marks: Places that the first question is about. Where `mark_unit` is above 0, places and
            boxes count in that part of each picture's width and height (SPAR-7M: thousandths).
        system: What stands in the place of the model's own system text; "" is that text.
        mark_unit: 0 is pixels.

    Raises:
        DataError: No turn, words that are missing, or marks without a picture.
    """

    name: str
    pictures: tuple[Picture, ...] | Film
    turns: tuple[Turn, ...]
    marks: tuple[PixelMark, ...] = ()
    system: str = ""
    mark_unit: float = 0.0

    def __post_init__(self) -> None:
        if self.marks and not self.pictures:
            raise DataError(f"{self.name} has marks and no picture that they could be on")
        if not self.turns:
            raise DataError(f"{self.name} has no question")
        for number, turn in enumerate(self.turns, start=1):
            for what, words in (("question", turn.question), ("answer", turn.answer)):
                if not words.strip():
                    raise DataError(f"{self.name}: {what} {number} is empty")

    def missing(self) -> str:
        """The file that is not there; "" where all are."""
        film = self.pictures
        paths = [film.path] if isinstance(film, Film) else film
        for path in paths:
            if isinstance(path, Path) and not path.is_file():
                unpacked = isinstance(film, Film)
                return (
                    f"{path} (unpack the data set's tars of films there)" if unpacked else str(path)
                )
        return ""

    def read(self) -> Conversation:
        """The conversation with its pictures.

        Raises:
            DataError: A picture is missing or none, or a mark is not on its picture.
        """
        pictures = self._pictures()
        marks = tuple(_in_pixels(mark, pictures, self.mark_unit) for mark in self.marks)
        try:
            shown = tuple(Frame(one, 0, "", "", str(k)) for k, one in enumerate(pictures))
            if marks:
                FrameWindow(shown).check_marks(marks)
        except ValueError as error:
            raise DataError(f"{self.name}: {error}") from error
        return Conversation(self.name, pictures, self.turns, marks, self.system)

    def _pictures(self) -> tuple[NDArray[np.uint8], ...]:
        try:
            if isinstance(self.pictures, Film):
                return tuple(video_frames(self.pictures.path, self.pictures.frames))
            return tuple(load_picture(picture) for picture in self.pictures)
        except FileNotFoundError as error:
            raise DataError(
                f"{self.name}: {self.missing() or error.filename} is missing"
            ) from error
        except ModuleNotFoundError as error:
            raise DataError(
                f"{self.name}: films need OpenCV, which is not installed; "
                "`pip install opencv-python-headless`"
            ) from error
        except (OSError, ValueError) as error:
            raise DataError(f"{self.name}: {error}") from error


@dataclass(frozen=True, eq=False)
class Conversation:
    """A conversation about pictures that were read; for the fields see `Told`.

    Args:
        pictures: (H, W, 3) uint8 RGB each, any sizes; none of a conversation in words alone.
        marks: In pixels of these pictures.
    """

    name: str
    pictures: tuple[NDArray[np.uint8], ...]
    turns: tuple[Turn, ...]
    marks: tuple[PixelMark, ...] = ()
    system: str = ""


def below(folders: Sequence[Path], name: object, where: str) -> Path:
    """The file that a data set names, in the first of the folders that has it, else in the first.

    Raises:
        DataError: The name is none, or leaves the folder.
    """
    if not isinstance(name, str) or not name.strip():
        raise DataError(f"{where} names no file but {name!r:.80}")
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\0" in name:
        raise DataError(f"{where}: {name!r:.200} leads out of the data set's folder")
    places = [folder / path for folder in folders]
    return next((place for place in places if place.is_file()), places[0])


def _in_pixels(mark: PixelMark, pictures: Sequence[NDArray[np.uint8]], unit: float) -> PixelMark:
    if unit <= 0 or not 0 <= mark.frame_index < len(pictures):
        return mark
    height, width = pictures[mark.frame_index].shape[:2]
    box = mark.box_wh
    return PixelMark(
        mark.frame_index,
        min(mark.u / unit * width, width - 1.0),
        min(mark.v / unit * height, height - 1.0),
        mark.label,
        None if box is None else (box[0] / unit * width, box[1] / unit * height),
    )
