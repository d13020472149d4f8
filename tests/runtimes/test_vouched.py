# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A manifest and its files: what is written is read, and whatever does not fit is refused."""

from __future__ import annotations

import json
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from g2vlm_model.interface.whole_files import write_text
from g2vlm_model.runtimes.vouched import FileRecord, ManifestFile, file_sha256


class ToolRefusedError(ValueError):
    """Of the kind below."""


@dataclass(frozen=True)
class Tools:
    """A kind of manifest."""

    files: Mapping[str, FileRecord]
    sizes: tuple[int | str, ...]
    note: object = None


TOOLS = ManifestFile("tools.json", Tools, 3, "make it again", ToolRefusedError)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    path = tmp_path / "out" / "hammer.bin"
    path.write_bytes(b"hammer" * 100)
    files = {path.name: FileRecord(file_sha256(path), path.stat().st_size)}
    TOOLS.write(path.parent, Tools(files, (1, "N"), {"any": [1]}))
    return path.parent


def test_what_was_written_is_read(folder: Path) -> None:
    tools = TOOLS.read(folder)
    assert (tools.sizes, tools.note) == ((1, "N"), {"any": [1]})
    TOOLS.check(folder, tools.files)
    assert sorted(path.name for path in folder.iterdir()) == ["hammer.bin", "tools.json"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"format": 2}, "has format 2, this version reads 3"),
        ({"colour": 1}, "unknown key colour"),
        ({"files": []}, "files is .*, expected an object"),
        ({"files": {"a": {"sha256": "0"}}}, r"missing key files\.a\.bytes"),
        ({"files": {"a": {"sha256": "0", "bytes": "7"}}}, r"files\.a\.bytes is '7', expected int"),
        ({"sizes": [1, True]}, "sizes is True, expected str"),
        ({"sizes": 1}, "sizes is 1, expected a list"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(
    folder: Path, change: dict[str, Any], reason: str
) -> None:
    path = folder / TOOLS.name
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ToolRefusedError, match=f"tools.json.*{reason}.*; make it again"):
        TOOLS.read(folder)


@pytest.mark.parametrize("name", ["../hammer.bin", "/etc/hostname", "a/hammer.bin", ".hidden", ""])
def test_a_file_outside_the_folder_is_refused(folder: Path, name: str) -> None:
    record = TOOLS.read(folder).files["hammer.bin"]
    (folder.parent / "hammer.bin").write_bytes((folder / "hammer.bin").read_bytes())
    with pytest.raises(ToolRefusedError, match=r"tools\.json: '.*' is no plain file name; make it"):
        TOOLS.check(folder, {name: record})


@pytest.mark.parametrize("damage", ["cut", "edited", "missing", "a folder"])
def test_a_file_that_is_not_the_one_vouched_for_is_refused(folder: Path, damage: str) -> None:
    path, files = folder / "hammer.bin", TOOLS.read(folder).files
    content = path.read_bytes()
    expected: tuple[type[Exception], str] = (FileNotFoundError, "is missing, tools.json names it")
    if damage == "cut":
        path.write_bytes(content[:-1])
        expected = (
            ToolRefusedError,
            "has 599 bytes, tools.json says 600: it was cut off or changed",
        )
    elif damage == "edited":
        path.write_bytes(content[:-1] + b"x")
        expected = (
            ToolRefusedError,
            "has the SHA-256 .*, tools.json says .*: it was changed since",
        )
    else:
        path.unlink()
        if damage == "a folder":
            path.mkdir()
    with pytest.raises(expected[0], match=f"hammer.bin {expected[1]}; make it again"):
        TOOLS.check(folder, files)


def test_a_file_that_cannot_be_written_leaves_the_old_one(folder: Path) -> None:
    path = folder / TOOLS.name
    before = path.read_text()
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "\ud800")
    assert path.read_text() == before
    assert sorted(one.name for one in folder.iterdir()) == ["hammer.bin", "tools.json"]
    assert stat.S_IMODE(path.stat().st_mode) & 0o022 == 0
