# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Reads furniture archives of Sweet Home 3D (`.sh3f`): what they list and under which licence.

An archive is a zip file with `PluginFurnitureCatalog.properties` (`key#number=value`, Latin-1)
and one folder per model.
"""

from __future__ import annotations

import re
import zipfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

__all__ = ["ModelEntry", "ModelsError", "read_archive"]

_CATALOGUE = "PluginFurnitureCatalog.properties"
_LINE = re.compile(r"([A-Za-z]+)(?:#(\d+))?\s*=\s*(.*)")
_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")
# What may not be built upon freely, wherever a licence says so.
_REFUSED = re.compile(
    r"share.?alike|\bby-sa\b|\bgpl\b|general public|non.?commercial|\bby-nc|no.?deriv", re.I
)
# How the archives say it, and what it is called.
_LICENCES = (
    (re.compile(r"public domain|\bcc-?0\b|zero", re.I), "CC0-1.0"),
    (re.compile(r"attribution 3\.0 united states|by-3\.0-us", re.I), "CC-BY-3.0-US"),
    (re.compile(r"attribution 3\.0|by-3\.0", re.I), "CC-BY-3.0"),
    (re.compile(r"attribution 4\.0|by-4\.0", re.I), "CC-BY-4.0"),
)
_NO_TOP = -1.0  # the archives' word for "nothing stands on this"


class ModelsError(ValueError):
    """Models that cannot be fetched or read; the text says what to do."""


@dataclass(frozen=True)
class ModelEntry:
    """What an archive says about one model.

    Args:
        key: Name that no other model has: "Scopia/sofa3".
        name: In English, as a person would call it.
        category: Of the archive, e.g. "Kitchen".
        size: Width, depth, height, metres.
        elevation: Of its lower side above the floor where it hangs, metres.
        top: Height at which things stand on it, metres above its lower side; None: they do not.
        opening: Whether it is a door or window.
        creator: Who made it.
        licence: SPDX name.
        archive: Name of the archive without its suffix.
        model: Path of the OBJ file in the archive.
        turn: Rotation in the file's axes that comes first, row by row; None is none.
    """

    key: str
    name: str
    category: str
    size: tuple[float, float, float]
    elevation: float
    top: float | None
    opening: bool
    creator: str
    licence: str
    archive: str
    model: str
    turn: tuple[float, ...] | None = None


def read_archive(path: Path) -> tuple[list[ModelEntry], dict[str, str]]:
    """The models of an archive that anybody may build upon, and why others are left out.

    Args:
        path: A `.sh3f` file.

    Returns:
        Entries in the archive's order; reasons by key of the models that are left out.

    Raises:
        ModelsError: No archive, or no catalogue in it.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            text = archive.read(_CATALOGUE).decode("latin-1")
            notices = _notices(archive)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise ModelsError(
            f"{path} is no furniture archive ({error}); expected a .sh3f file that holds "
            f"{_CATALOGUE}"
        ) from error
    head, rows = _properties(text)
    licence = _licence(head.get("license", ""))
    kept: list[ModelEntry] = []
    left: dict[str, str] = {}
    used: defaultdict[str, int] = defaultdict(int)
    for row in rows:
        key = f"{path.stem}/{PurePosixPath(row.get('model', '?')).stem}"
        used[key] += 1
        key += f"-{used[key]}" if used[key] > 1 else ""
        notice = notices.get(str(PurePosixPath(row.get("model", "?").lstrip("/")).parent), "")
        if licence is None or _REFUSED.search(head.get("license", "")):
            left[key] = f"licence {head.get('license', 'not stated')!r}"
        elif _REFUSED.search(notice):
            left[key] = f"its own notice says {_REFUSED.search(notice)[0]!r}"  # type: ignore[index]
        else:
            try:
                kept.append(_entry(row, key, path.stem, licence))
            except (KeyError, ValueError) as error:
                left[key] = f"its description cannot be read: {error}"
    return kept, left


def _notices(archive: zipfile.ZipFile) -> dict[str, str]:
    """Licence files that lie beside models, by folder."""
    found: dict[str, str] = {}
    for name in archive.namelist():
        place = PurePosixPath(name)
        if len(place.parts) > 1 and "licen" in place.name.lower():
            found[str(place.parent)] = archive.read(name).decode("latin-1")
    return found


def _properties(text: str) -> tuple[dict[str, str], list[dict[str, str]]]:
    """What holds for the archive, and what for each model, in order."""
    head: dict[str, str] = {}
    rows: defaultdict[int, dict[str, str]] = defaultdict(dict)
    for line in text.splitlines():
        match = _LINE.match(line.strip())
        if match is None:
            continue
        value = _ESCAPE.sub(lambda code: chr(int(code[1], 16)), match[3].strip())
        if match[2] is None:
            head[match[1]] = value
        else:
            rows[int(match[2])][match[1]] = value
    return head, [rows[number] for number in sorted(rows)]


def _licence(text: str) -> str | None:
    return next((name for pattern, name in _LICENCES if pattern.search(text)), None)


def _entry(row: dict[str, str], key: str, archive: str, licence: str) -> ModelEntry:
    """One model's row; its lengths are centimetres.

    Raises:
        KeyError, ValueError: A field is missing or no number.
    """
    width, depth, height = (float(row[name]) / 100 for name in ("width", "depth", "height"))
    if min(width, depth, height) < 0:
        raise ValueError(f"size is {(width, depth, height)}, expected lengths above 0")
    # Absent means its height, as in Sweet Home 3D.
    top = float(row["dropOnTopElevation"]) / 100 if "dropOnTopElevation" in row else height
    turn = (
        tuple(float(value) for value in row["modelRotation"].split())
        if "modelRotation" in row
        else None
    )
    if turn is not None and len(turn) != 9:
        raise ValueError(f"modelRotation has {len(turn)} numbers, expected 9")
    return ModelEntry(
        key=key,
        name=row["name"],
        category=row["category"],
        size=(width, depth, height),
        elevation=float(row.get("elevation", 0)) / 100,
        top=None if top <= _NO_TOP / 100 else top,
        opening=row.get("doorOrWindow", "false") == "true",
        creator=row.get("creator", "unknown"),
        licence=licence,
        archive=archive,
        model=row["model"].lstrip("/"),
        turn=turn,
    )
