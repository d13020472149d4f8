# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The answers of a run on disk: one JSON line each, so that a killed run continues.

The first line says who was asked and how, each answer which question it belongs to. A file of
another model, other data or other options is never added to.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path

from g2vlm_model.interface.documents import parse_json

from .base import BenchmarkItem

__all__ = ["AnswerStore", "fingerprint"]


def fingerprint(item: BenchmarkItem) -> str:
    """A short hash of a question and its truth, not of the pictures."""
    words = "\0".join((item.id, item.task, item.question, item.answer, *item.options))
    return sha256(words.encode()).hexdigest()[:12]


class AnswerStore:
    """Answers by item; a context manager that holds the file for one process.

    Args:
        path: Made where it does not exist.
        header: What has to be the same for answers to belong together.
        items: Every question of the benchmark's files.

    Raises:
        ValueError: The file is of another header or other questions, no such file, or in use.
        OSError: It cannot be written.
    """

    def __init__(
        self, path: Path, header: Mapping[str, str | int | bool], items: Iterable[BenchmarkItem]
    ) -> None:
        self.path = path
        self.answers: dict[str, str] = {}
        self._hashes = {item.id: fingerprint(item) for item in items}
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(path, "a+b", buffering=0)  # noqa: SIM115 - closed by __exit__
        try:
            self._lock()
            self._load(dict(header))
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> AnswerStore:
        return self

    def __exit__(self, *raised: object) -> None:
        self._file.close()

    def add(self, item_id: str, text: str) -> None:
        """Keep an answer; it is in the file when this returns."""
        self._write({"id": item_id, "item": self._hashes[item_id], "answer": text})
        self.answers[item_id] = text

    def _write(self, entry: Mapping[str, object]) -> None:
        data = (json.dumps(entry, ensure_ascii=False) + "\n").encode()
        written = self._file.write(data)
        if written != len(data):
            raise OSError(f"{self.path}: only {written} of {len(data)} bytes written; disk full?")

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(f"{self.path} is in use by another run; give another --out") from error

    def _load(self, header: dict[str, str | int | bool]) -> None:
        self._file.seek(0)
        content = self._file.read()
        whole, newline, _ = content.rpartition(b"\n")
        if not newline:  # new, or killed while the first line was written
            os.ftruncate(self._file.fileno(), 0)
            self._write(header)
            return
        # Half a line at the end is the answer that a killed run was writing.
        os.ftruncate(self._file.fileno(), len(whole) + 1)
        first, *lines = whole.split(b"\n")
        self._compare(self._entry(first, 1), header)
        others = 0
        for number, line in enumerate(lines, start=2):
            entry = self._entry(line, number)
            name, answer = entry.get("id"), entry.get("answer")
            if not isinstance(name, str) or not isinstance(answer, str):
                raise ValueError(f"{self.path}:{number} is no answer; give another --out")
            if name not in self._hashes:
                others += 1  # its pictures are missing now, or it is of other data
            elif entry.get("item") == self._hashes[name]:
                self.answers[name] = answer
            else:
                raise ValueError(
                    f"{self.path}:{number} answers another question {name!r} than the data has; "
                    "give another --out"
                )
        if others and not self.answers:
            raise ValueError(
                f"{self.path} answers none of the data's questions; give another --out"
            )

    def _entry(self, line: bytes, number: int) -> dict[str, object]:
        try:
            entry = parse_json(line)
        except ValueError:
            entry = None
        if not isinstance(entry, dict):
            raise ValueError(f"{self.path}:{number} is no JSON object; give another --out")
        return entry

    def _compare(self, found: Mapping[str, object], wanted: Mapping[str, object]) -> None:
        names = [name for name in (*wanted, *found) if found.get(name) != wanted.get(name)]
        if names:
            differences = ", ".join(
                f"{name} {found.get(name)!r} there, {wanted.get(name)!r} here"
                for name in dict.fromkeys(names)
            )
            raise ValueError(
                f"{self.path} holds answers of another run ({differences}); "
                "give another --out, or remove the file"
            )
