# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The published prompt ahead of the geometry: the default where it matters, on every runtime."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from g2vlm_model.config import CHAT, RECONSTRUCT, ModelConfig
from g2vlm_model.interface import Scene, SpatialQuery, SpatialRuntime
from g2vlm_model.runtimes import load_runtime
from g2vlm_model.runtimes.export_folder import ExportFolder
from g2vlm_model.runtimes.onnx.geometry import open_geometry
from g2vlm_model.runtimes.request import geometry_prompt
from g2vlm_model.runtimes.torch.placement import choose_placement
from g2vlm_model.runtimes.torch.runtime import TorchRuntime

from .model_folders import window

QUERY = SpatialQuery("How far is the table from the camera?", max_tokens=6)
BOTH = (CHAT, RECONSTRUCT)


@pytest.mark.parametrize(
    ("mode", "isolated", "prompts", "expected"),
    [
        ("auto", False, BOTH, RECONSTRUCT),
        ("published", False, BOTH, RECONSTRUCT),
        ("shared", False, BOTH, CHAT),
        ("shared", False, (CHAT,), CHAT),
        ("auto", True, BOTH, CHAT),
        ("published", True, BOTH, RECONSTRUCT),
        ("published", True, (CHAT,), CHAT),
    ],
)
def test_what_the_geometry_stands_behind(
    mode: str, isolated: bool, prompts: tuple[str, ...], expected: str
) -> None:
    config = replace(ModelConfig.nano(), isolate_geometry=isolated)
    assert geometry_prompt(mode, config, prompts) == expected


@pytest.fixture(scope="module", params=["onnx", "torch on the graph"])
def by_export(
    request: pytest.FixtureRequest, whole_export: Path, model_folder: Path
) -> Iterator[SpatialRuntime]:
    """The small model, whose frames see the text; who answers differs."""
    if request.param == "onnx":
        runtime = load_runtime("onnx", model_folder, "cpu", export=whole_export)
    else:
        engine, _ = open_geometry(ExportFolder.open(whole_export), "cpu")
        runtime = TorchRuntime(model_folder, choose_placement("cpu"), geometry=engine)
    with closing(runtime):
        yield runtime


def observed(model: Path, mode: str) -> tuple[Scene, str, float]:
    """A window and an answer about it by torch's own weights."""
    with closing(load_runtime("torch", model, "cpu", prompt_mode=mode)) as runtime:
        scene = runtime.observe(window(1, 2, 3))
        answer = runtime.ask(scene, QUERY)
    return scene, answer.text, answer.confidence


def test_an_export_says_what_torch_says_behind_the_published_prompt(
    by_export: SpatialRuntime, model_folder: Path
) -> None:
    """By default, and far nearer than the two prompts are to each other."""
    published, text, confidence = observed(model_folder, "published")
    shared, *same = observed(model_folder, "shared")
    assert same == [text, pytest.approx(confidence, rel=1e-5)], "questions have their own pass"
    scene = by_export.observe(window(1, 2, 3))
    apart = np.abs(shared.geometry.local_points - published.geometry.local_points).max()
    gap = np.abs(scene.geometry.local_points - published.geometry.local_points).max()
    assert gap < 0.01 * apart, f"{gap:.1e} beside {apart:.1e} between the prompts"
    np.testing.assert_allclose(
        scene.geometry.T_world_cam, published.geometry.T_world_cam, atol=1e-4
    )
    assert scene.overlap is not None
    assert published.overlap is not None
    np.testing.assert_allclose(scene.overlap, published.overlap, atol=1e-4)
    for _ in range(2):  # the first question makes the pass behind its own prompt
        answer = by_export.ask(scene, QUERY)
        assert answer.text == text
        assert answer.confidence == pytest.approx(confidence, rel=1e-3)


@pytest.mark.parametrize("mode", ["auto", "published"])
def test_an_export_behind_the_chat_prefix_alone_is_not_taken_for_the_published_one(
    mode: str,
) -> None:
    config = replace(ModelConfig.nano(), isolate_geometry=False)
    with pytest.raises(ValueError, match=r"stands behind the chat prefix alone.*export the model"):
        geometry_prompt(mode, config, (CHAT,))


def test_a_damaged_file_of_prefixes_is_named(whole_export: Path) -> None:
    folder = ExportFolder.open(whole_export)
    wrong = replace(folder.manifest, prefixes=folder.manifest.goldens)
    with pytest.raises(ValueError, match=r"goldens\.safetensors holds .*expected prefix_keys and"):
        ExportFolder(folder.path, wrong, folder.digest).prefixes()
