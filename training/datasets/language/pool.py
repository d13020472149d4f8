# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The conversations of one data set, each drawn as often as another."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import torch

from ..base import DataError, Refusals
from .conversation import Conversation, Told
from .layouts import LANGUAGE_LAYOUTS
from .rows import RowFile, open_rows

__all__ = ["LanguagePool"]

_LOG = logging.getLogger(__name__)


class LanguagePool:
    """The conversations of a folder.

    Files that cannot be read as a whole are left out with a warning and listed in `refused`; an
    entry that cannot be used costs itself.

    Args:
        layout: A name of `LANGUAGE_LAYOUTS`.
        root: The folder, or one file.
        frames: Pictures that a film gives.

    Raises:
        FileNotFoundError: The folder holds nothing in that layout.
        DataError: None of its files can be read, or they are empty.
    """

    def __init__(self, layout: str, root: Path, frames: int = 8) -> None:
        self.layout, self.root = layout, root
        self.name = f"{layout} {root}"
        self.refused: dict[Path, str] = {}
        self.refusals = Refusals(f"conversations of {self.name}")
        self.files: list[RowFile] = []
        self._layout = LANGUAGE_LAYOUTS[layout]
        self._folder, self._frames = root if root.is_dir() else root.parent, frames
        for path in self._paths(root, layout):
            try:
                self.files.append(open_rows(path))
            except DataError as error:
                self.refused[path] = str(error)
                _LOG.warning("left out file %d: %s", len(self.refused), error)
        self._ends = np.cumsum([0, *map(len, self.files)])
        if not len(self):
            why = "; ".join(self.refused.values()) or "they are empty"
            raise DataError(f"no conversation can be read from the files of {self.name}: {why}")

    def __len__(self) -> int:
        return int(self._ends[-1])

    def told(self, index: int) -> Told:
        """What an entry says, before its pictures are read.

        Raises:
            DataError: It says nothing that can be used.
        """
        file = int(np.searchsorted(self._ends, index, side="right")) - 1
        row = self.files[file].row(index - int(self._ends[file]))
        return self._layout.read(row, self._folder, self._frames)

    def read(self, index: int) -> Conversation:
        """A conversation with its pictures.

        Raises:
            DataError: It cannot be used; the text says where it stands and why.
        """
        return self.told(index).read()

    def draw(self, generator: torch.Generator) -> int:
        """The number of an entry."""
        return int(torch.randint(len(self), (), generator=generator))

    def _paths(self, root: Path, layout: str) -> list[Path]:
        if root.is_file():
            return [root]
        for pattern in self._layout.files if root.is_dir() else ():
            if found := sorted(path for path in root.glob(pattern) if path.is_file()):
                return found
        raise FileNotFoundError(
            f"{root} holds nothing in the layout {layout}, which needs {self._layout.needs}"
        )
