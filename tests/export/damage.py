# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Ways in which an export folder comes to harm between the machine that wrote it and the robot."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from g2vlm_model.runtimes.export_folder import MANIFEST

__all__ = ["DAMAGES", "copy_of", "vouch_for"]

GRAPH = "geometry.onnx"


def copy_of(export: Path, folder: Path) -> Path:
    """A copy that a test may damage."""
    return shutil.copytree(export, folder)


def vouch_for(folder: Path, name: str) -> None:
    """Write a file's size and hash into the manifest, as somebody would who wants it taken."""
    content = (folder / name).read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    _edit(folder, lambda tree: tree["files"][name].update(bytes=len(content), sha256=sha256))


def _edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / MANIFEST
    tree = json.loads(path.read_text(encoding="utf-8"))
    change(tree)
    path.write_text(json.dumps(tree), encoding="utf-8")


def truncated(folder: Path) -> None:
    """A copy that was cut off."""
    content = (folder / GRAPH).read_bytes()
    (folder / GRAPH).write_bytes(content[: len(content) // 2])


def edited(folder: Path) -> None:
    """One byte of a weight is another one."""
    content = bytearray((folder / GRAPH).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / GRAPH).write_bytes(content)


def other_hash(folder: Path) -> None:
    """The manifest of another export."""
    _edit(folder, lambda tree: tree["files"][GRAPH].update(sha256="0" * 64))


def other_format(folder: Path) -> None:
    """Written by a later version."""
    _edit(folder, lambda tree: tree.update(format=99))


def missing(folder: Path) -> None:
    """A file was left behind."""
    (folder / GRAPH).unlink()


def no_manifest(folder: Path) -> None:
    """Any folder with an ONNX file in it."""
    (folder / MANIFEST).unlink()


def outside(folder: Path) -> None:
    """The manifest names a file that is not in its folder."""
    _edit(folder, lambda tree: tree["files"].update({f"../{GRAPH}": tree["files"].pop(GRAPH)}))


def linked(folder: Path) -> None:
    """A link to a file elsewhere that changed after the export."""
    elsewhere = folder.with_suffix(".elsewhere")
    (folder / GRAPH).rename(elsewhere)
    content = bytearray(elsewhere.read_bytes())
    content[-1] ^= 1
    elsewhere.write_bytes(content)
    (folder / GRAPH).symlink_to(elsewhere)


def no_graph(folder: Path) -> None:
    """Something else that is vouched for."""
    (folder / GRAPH).write_bytes(b"not a graph" * 1000)
    vouch_for(folder, GRAPH)


def later_opset(folder: Path) -> None:
    """A graph of an opset that this ONNX Runtime does not know."""
    import onnx

    model = onnx.load(folder / GRAPH)
    model.opset_import[0].version = 99
    (folder / GRAPH).write_bytes(model.SerializeToString())
    vouch_for(folder, GRAPH)


AGAIN = "export the model again with `g2vlm export onnx`"
DAMAGES: dict[str, tuple[Callable[[Path], None], tuple[str, ...]]] = {
    # What happens, and what has to be said.
    "truncated": (truncated, (GRAPH, "it was cut off or changed", AGAIN)),
    "edited": (edited, (GRAPH, "it was changed since", AGAIN)),
    "other hash": (other_hash, (GRAPH, "says 000000000000", AGAIN)),
    "other format": (other_format, ("has format 99, this version reads", AGAIN)),
    "missing": (missing, (f"{GRAPH} is missing", AGAIN)),
    "no manifest": (no_manifest, ("is no export folder", "`g2vlm export onnx --out`")),
    "outside": (outside, ("no plain file name", AGAIN)),
    "linked": (linked, (GRAPH, "it was changed since", AGAIN)),
    "no graph": (no_graph, (GRAPH, "cannot be loaded on cpu", AGAIN)),
    "later opset": (later_opset, (GRAPH, "cannot be loaded on cpu", AGAIN, "--opset 18")),
}
