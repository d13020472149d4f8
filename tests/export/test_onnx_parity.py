# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Exported graphs against torch in float32, run by ONNX Runtime, at sizes never traced."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest
from g2vlm_export.goldens import golden_pictures
from g2vlm_export.reference import TorchReference
from numpy.typing import NDArray

from g2vlm_model.runtimes.export_folder import ExportFolder
from g2vlm_model.runtimes.golden_check import compare
from tests.exports import HALF, NANO_OPTIONS, Exports

SIZES = ((1, 42, 56), (2, 56, 56), (3, 70, 42), (5, 28, 84))
FUSED = {"Attention", "RMSNormalization"}  # operators of opset 23


def run(folder: ExportFolder, graph: str, inputs: dict[str, Any]) -> dict[str, NDArray[Any]]:
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    settings.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        str(folder.graph(graph)), settings, providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


def check(
    folder: ExportFolder,
    graph: str,
    inputs: dict[str, NDArray[Any]],
    said: dict[str, NDArray[Any]],
) -> dict[str, NDArray[Any]]:
    """The graph's outputs are torch's, each within its tolerance."""
    got = run(folder, graph, inputs)
    records = folder.manifest.graphs[graph].outputs
    assert [record.dtype for record in records] == [str(got[one.name].dtype) for one in records]
    expected = SimpleNamespace(outputs={record.name: said[record.name] for record in records})
    comparison = compare(got, expected, folder.manifest.tolerances)
    shape = inputs["pictures"].shape
    assert comparison.passed, f"{graph} at {shape}\n{comparison.report()}"
    return got


def check_prompts(
    folder: ExportFolder, reference: TorchReference, pictures: NDArray[np.uint8]
) -> dict[str, NDArray[Any]]:
    """`check` behind each prompt that the geometry may stand behind; what the last one gives."""
    got: dict[str, NDArray[Any]] = {}
    for prompt, prefix in folder.prefixes().items():
        inputs = {"pictures": pictures, **prefix}
        got = check(folder, "geometry", inputs, reference.geometry(pictures, prompt))
    return got


def test_nano_at_sizes_far_from_its_own(nano_export: Path) -> None:
    folder, reference = ExportFolder.open(nano_export), TorchReference.load("nano")
    for size in ((1, 84, 112), (2, 112, 84), (4, 84, 112), (3, 140, 196)):
        pictures = golden_pictures(size, seed=4)
        said = reference.geometry(pictures)
        check(folder, "geometry", {"pictures": pictures}, said)
        tokens = run(folder, "encoder", {"pictures": pictures})["tokens"]
        check(folder, "expert", {"pictures": pictures, "tokens": tokens}, said)
    geometry = folder.manifest.graphs["geometry"]
    assert [record.shape for record in geometry.inputs] == [("N", "14*rows", "14*columns", 3)]
    shapes = {record.name: record.shape for record in geometry.outputs}
    assert shapes["local_points"] == ("N", "14*rows", "14*columns", 3)
    assert shapes["rotation9"] == ("N", 9)
    assert node_types(folder.graph("geometry")) >= FUSED


@pytest.mark.slow
def test_the_published_structure_in_half_precision(exports: Exports, half_export: Path) -> None:
    folder, reference = (
        ExportFolder.open(half_export),
        TorchReference.load(exports.tiny_model(HALF)),
    )
    for size in SIZES:
        got = check_prompts(folder, reference, golden_pictures(size, seed=3))
        assert got["keys"].dtype == np.float16
        square = got["rotation"] @ got["rotation"].swapaxes(1, 2)
        np.testing.assert_allclose(square, np.broadcast_to(np.eye(3), square.shape), atol=3e-6)
    assert not node_types(folder.graph("geometry")) & FUSED


@pytest.mark.slow
def test_nanos_options_in_half_precision(exports: Exports, nanos_options: Path) -> None:
    """The search for matches takes the best of near equals: it must find the same ones."""
    folder = ExportFolder.open(nanos_options)
    reference = TorchReference.load(exports.tiny_model(NANO_OPTIONS))
    for seed in range(4):
        pictures = golden_pictures((4, 56, 42), seed)
        check(folder, "geometry", {"pictures": pictures}, reference.geometry(pictures))


@pytest.mark.slow
def test_attention_of_other_kinds_at_one_size(exports: Exports) -> None:
    """The encoder's of a window as one, as published; the expert's causal from frame to frame."""
    config: dict[str, object] = {
        "dino_attention": "compat",
        "geometry_attention": "frame_causal",
        "match_width": 8,
        "geometry_feedback": True,
    }
    path = exports.tiny(config, opset=18, static_nhw=(3, 42, 56), in_graph_rotation=True)
    folder, reference = ExportFolder.open(path), TorchReference.load(exports.tiny_model(config))
    check_prompts(folder, reference, golden_pictures((3, 42, 56), seed=5))
    assert folder.manifest.graphs["geometry"].inputs[0].shape == (3, 42, 56, 3)
    assert [golden.case for golden in folder.goldens()] == ["3x42x56", "3x42x56 reconstruct"]


def node_types(path: Path) -> set[str]:
    import onnx

    return {node.op_type for node in onnx.load(path, load_external_data=False).graph.node}
