# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Export folders are checked when they are opened, and vouch for every file."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from g2vlm_model.runtimes import vouched
from g2vlm_model.runtimes.export_folder import (
    MANIFEST,
    ExportFolder,
    Golden,
    GraphRecord,
    Largest,
    Manifest,
    TensorRecord,
    golden_key,
)
from g2vlm_model.runtimes.golden_check import Tolerances
from g2vlm_model.runtimes.vouched import FileRecord, file_sha256

GOLDEN = Golden(
    "geometry",
    "1x14x28",
    {"pictures": np.arange(14 * 28 * 3, dtype=np.uint8).reshape(1, 14, 28, 3)},
    {"translation": np.array([[0.5, -1.0, 2.0]], dtype=np.float32)},
)


def write_folder(folder: Path) -> Manifest:
    """An export folder whose graph nobody runs."""
    folder.mkdir()
    (folder / "geometry.onnx").write_bytes(b"graph" * 1000)
    arrays = {
        golden_key(GOLDEN, side, name): array
        for side, arrays in (("inputs", GOLDEN.inputs), ("outputs", GOLDEN.outputs))
        for name, array in arrays.items()
    }
    save_file(arrays, folder / "goldens.safetensors")
    manifest = Manifest(
        model_id="nano-01234567",
        model_sha256="0" * 64,
        precision="fp32",
        opset=23,
        parts=("geometry",),
        in_graph_rotation=False,
        static_nhw=None,
        patch=14,
        prefix_tokens=27,
        prefix_position=27,
        tolerances=Tolerances.of("fp32"),
        files={
            path.name: FileRecord(file_sha256(path), path.stat().st_size)
            for path in sorted(folder.iterdir())
        },
        graphs={
            "geometry": GraphRecord(
                "geometry.onnx",
                "",
                (TensorRecord("pictures", "uint8", ("N", "14*rows", "14*columns", 3)),),
                (TensorRecord("translation", "float32", ("N", 3)),),
            )
        },
        goldens="goldens.safetensors",
        versions={"torch": "2.13.0"},
        largest=(Largest("trunk.layers.0", 12.5),),
    )
    (folder / MANIFEST).write_text(manifest.to_json())
    return manifest


def changed(folder: Path, **changes: Any) -> None:
    tree = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps({**tree, **changes}))


def test_what_was_written_is_read(tmp_path: Path) -> None:
    manifest = write_folder(tmp_path / "out")
    folder = ExportFolder.open(tmp_path / "out")
    assert folder.manifest == manifest
    assert folder.graph("geometry") == tmp_path / "out" / "geometry.onnx"
    (golden,) = folder.goldens()
    assert (golden.graph, golden.case) == ("geometry", "1x14x28")
    np.testing.assert_array_equal(golden.inputs["pictures"], GOLDEN.inputs["pictures"])
    np.testing.assert_array_equal(golden.outputs["translation"], GOLDEN.outputs["translation"])
    assert [one.case for one in folder.goldens("geometry")] == [golden.case]
    with pytest.raises(ValueError, match="no golden for expert"):
        folder.goldens("expert")


def test_the_digest_covers_everything(tmp_path: Path) -> None:
    write_folder(tmp_path / "one")
    manifest = write_folder(tmp_path / "two")
    first = ExportFolder.open(tmp_path / "one").digest
    assert ExportFolder.open(tmp_path / "two").digest == first
    again = dataclasses.replace(manifest, opset=18)
    (tmp_path / "two" / MANIFEST).write_text(again.to_json())
    assert ExportFolder.open(tmp_path / "two").digest != first


@pytest.mark.parametrize("damage", ["cut", "edited", "missing", "edited after it was read"])
def test_a_file_that_is_not_the_one_exported_is_refused(tmp_path: Path, damage: str) -> None:
    write_folder(tmp_path / "out")
    path = tmp_path / "out" / "geometry.onnx"
    content = bytearray(path.read_bytes())
    if damage == "edited after it was read":
        ExportFolder.open(tmp_path / "out")
        os.utime(path, ns=(0, 0))
    expected: tuple[type[Exception], str] = (ValueError, "it was changed since")
    if damage == "cut":
        path.write_bytes(content[:-1])
        expected = (ValueError, "has 4999 bytes, manifest.json says 5000")
    elif damage == "missing":
        path.unlink()
        expected = (FileNotFoundError, "is missing, manifest.json names it")
    else:
        content[100] ^= 1
        path.write_bytes(content)
    with pytest.raises(expected[0], match=expected[1]) as caught:
        ExportFolder.open(tmp_path / "out")
    assert "geometry.onnx" in str(caught.value)
    assert "g2vlm export onnx" in str(caught.value)


@pytest.mark.parametrize("name", ["g2vlm_config.json", "vocab.json"])
def test_settings_that_the_manifest_does_not_vouch_for_are_refused(
    tmp_path: Path, name: str
) -> None:
    write_folder(tmp_path / "out")
    (tmp_path / "out" / "report.json").write_text("{}")  # nobody reads it: it may lie there
    ExportFolder.open(tmp_path / "out")
    (tmp_path / "out" / name).write_text("{}")
    with pytest.raises(ValueError, match=f"holds {name}, which .* has no hash for"):
        ExportFolder.open(tmp_path / "out")


def test_a_big_file_is_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(tmp_path / "out")
    ExportFolder.open(tmp_path / "out")
    monkeypatch.setattr(vouched, "file_sha256", lambda path: pytest.fail(f"{path} read again"))
    ExportFolder.open(tmp_path / "out")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "has format 2, this version reads 1"),
        ({"opset": "new"}, "opset is 'new', expected int"),
        ({"precision": "fp8"}, "precision is 'fp8'"),
        ({"parts": ["kv"]}, "expected geometry and some of"),
        ({"colour": 1}, "unknown key colour"),
        ({"opset": -3}, "opset -3, patch 14 .* expected to be numbers from 1"),
        ({"patch": 0}, "patch 0 and static_nhw None are expected"),
        ({"static_nhw": [0, -14, 14]}, r"static_nhw \(0, -14, 14\) are expected"),
        ({"static_nhw": [1]}, "three of them in static_nhw"),
        ({"graphs": {}}, r"graphs are \[\], expected geometry"),
        ({"files": {}}, "no hash for geometry.onnx, goldens.safetensors"),
        ({"goldens": "../goldens.safetensors"}, "no plain file name"),
        (
            {"graphs": {"geometry": {"file": "geometry.onnx", "data": ""}}},
            "missing key graphs.geometry.inputs",
        ),
        ({"tolerances": {"share_of_range": 0, "angle_rad": 1}}, "share_of_range is 0"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    write_folder(tmp_path / "out")
    changed(tmp_path / "out", **changes)
    with pytest.raises(ValueError, match=message) as caught:
        ExportFolder.open(tmp_path / "out")
    assert MANIFEST in str(caught.value)
    assert "export the model again" in str(caught.value)


def test_other_folders_are_named_in_the_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no export folder"):
        ExportFolder.open(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"it has no manifest\.json"):
        ExportFolder.open(tmp_path)
    write_folder(tmp_path / "out")
    for garbage in (b"\xff\xfe{", b"[" * 100_000, b'{"format": ' + b"9" * 5000 + b"}"):
        (tmp_path / "out" / MANIFEST).write_bytes(garbage)
        with pytest.raises(ValueError, match=r"manifest\.json is not valid JSON"):
            ExportFolder.open(tmp_path / "out")
    folder = tmp_path / "two"
    write_folder(folder)
    with pytest.raises(ValueError, match="has no graph 'encoder', it has geometry"):
        ExportFolder.open(folder).graph("encoder")
