# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What a run tells: a progress line, `log.jsonl`, and TensorBoard files, all in its folder."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from g2vlm_model.interface.whole_files import whole_file

__all__ = ["LOG_FILE", "RunLog", "Table"]

LOG_FILE = "log.jsonl"
_LOG = logging.getLogger(__name__)


class Table(NamedTuple):
    """What a look at validation data says.

    Attributes:
        title: Of the table.
        text: For the terminal and TensorBoard.
        values: Its numbers, by what they are called in the logs.
    """

    title: str
    text: str
    values: Mapping[str, float]


class RunLog:
    """Writes the numbers of a run; what a killed run wrote after its checkpoint is dropped.

    A full disk does not stop a run: entries that cannot be written are counted in `lost`.

    Args:
        folder: Of the run; created where missing.
        step: The run goes on from here.
    """

    def __init__(self, folder: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / LOG_FILE
        self.lost = 0
        self._forget_after(step)
        self._board: Any = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)

    def write(self, step: int, values: Mapping[str, float], tables: Sequence[Table] = ()) -> None:
        """Add the numbers of a step to both logs, and tables to TensorBoard as they stand."""
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": step, **values}) + "\n")
            for name, value in values.items():
                self._board.add_scalar(name, value, step)
            for table in tables:  # four blanks: Markdown keeps the columns
                text = "".join(f"    {line}\n" for line in table.text.splitlines())
                self._board.add_text(table.title, text, step)
            self._board.flush()
        except OSError as error:
            self.lost += 1
            _LOG.warning("log entry %d of this run is lost: %s", self.lost, error)

    def close(self) -> None:
        """Finish the TensorBoard file."""
        try:
            self._board.close()
        except OSError as error:
            _LOG.warning("the TensorBoard log is incomplete: %s", error)

    def _forget_after(self, step: int) -> None:
        if not self.path.is_file():
            return
        lines = self.path.read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if _step_of(line) <= step]
        if kept != lines:
            with whole_file(self.path) as partial:
                partial.write_text("".join(line + "\n" for line in kept), encoding="utf-8")


def _step_of(line: str) -> float:
    """Step of an entry; infinite where a kill or a full disk cut the entry off."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")
