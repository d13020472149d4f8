# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Furniture archives made here: boxes with names, sizes, a texture, a pane of glass."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

CC_BY = "Creative Commons Attribution 3.0 Unported license"


def box_obj(material: str = "paint", library: str = "model.mtl") -> str:
    """A cube from 0 to 2 in OBJ's axes, with normals' places left to the reader."""
    lines = [f"mtllib {library}"]
    lines += [f"v {x} {y} {z}" for z in (0, 2) for y in (0, 2) for x in (0, 2)]
    lines += ["vt 0 0", "vt 1 0", "vt 1 1", "vt 0 1", f"usemtl {material}"]
    for quad in (
        (1, 3, 4, 2),
        (5, 6, 8, 7),
        (1, 2, 6, 5),
        (3, 7, 8, 4),
        (1, 5, 7, 3),
        (2, 4, 8, 6),
    ):
        corners = [f"{v}/{t}" for v, t in zip(quad, (1, 2, 3, 4), strict=True)]
        lines.append("f " + " ".join(corners[:3]))
        lines.append("f " + " ".join((corners[0], corners[2], corners[3])))
    return "\n".join(lines) + "\n"


MATERIALS = """newmtl paint
Kd 0.8 0.1 0.1
d 1.0
newmtl pane
Kd 0.9 0.9 0.9
d 0.3
newmtl print
Kd 1 1 1
map_Kd print.png
"""


def png(colour: tuple[int, int, int] = (20, 60, 200)) -> bytes:
    """A plain picture of 24 x 40 pixels."""
    buffer = io.BytesIO()
    Image.fromarray(np.full((40, 24, 3), colour, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def model_row(number: int, name: str, size_cm: Sequence[float], **more: object) -> str:
    """The lines of one model in a catalogue."""
    fields: dict[str, object] = {
        "name": name, "category": "Living room", "model": f"/test/m{number}/model.obj",
        "width": size_cm[0], "depth": size_cm[1], "height": size_cm[2], "creator": "A. Maker",
        "doorOrWindow": "false", **more,
    }  # fmt: skip
    return "\n".join(f"{key}#{number}={value}" for key, value in fields.items())


def write_archive(
    path: Path,
    rows: Sequence[str],
    licence: str = CC_BY,
    files: Mapping[str, bytes | str] | None = None,
) -> Path:
    """An archive with a box for each row; `files` replaces or adds members."""
    members: dict[str, bytes | str] = {
        "PluginFurnitureCatalog.properties": f"license={licence}\n" + "\n\n".join(rows) + "\n"
    }
    for number in range(1, len(rows) + 1):
        members[f"test/m{number}/model.obj"] = box_obj()
        members[f"test/m{number}/model.mtl"] = MATERIALS
        members[f"test/m{number}/print.png"] = png()
    members.update(files or {})
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path
