# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Export folders that came to harm, in the node: refused in words, and served on where it can."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.export.damage import DAMAGES, copy_of
from tests.exports import Exports

Make = Callable[..., Any]


@pytest.fixture
def folder(tiny_export: Path, tmp_path: Path) -> Path:
    """An export that the test may damage."""
    return copy_of(tiny_export, tmp_path / "export")


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_export_is_refused_and_a_good_one_taken(
    damage: str, make_graph: Make, exports: Exports, tiny_export: Path, folder: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """The node stays; once the folder is whole it configures."""
    harm, told = DAMAGES[damage]
    harm(folder)
    graph = make_graph(
        runtime="onnx", model=str(exports.tiny_model()), export=str(folder), device="cpu"
    )
    assert not graph.configure()
    assert graph.state == "unconfigured"
    log = capfd.readouterr().err
    assert "cannot configure: " in log
    for words in told:
        assert words in log
    assert "Traceback" not in log
    shutil.rmtree(folder)
    copy_of(tiny_export, folder)
    assert graph.configure()
    assert graph.state == "inactive"


def test_a_node_serves_on_while_its_export_is_damaged(
    make_graph: Make, exports: Exports, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    graph = make_graph(
        runtime="onnx", model=str(exports.tiny_model()), export=str(folder), device="cpu",
        points__min_confidence=0.0,
    )  # fmt: skip
    graph.listen()
    graph.start()
    graph.scene()
    DAMAGES["edited"][0](folder)
    graph.scene()
    assert "RUNTIME_FAILED" not in graph.status().reason_codes
    assert graph.deactivate()
    assert graph.activate()
    graph.scene()
    assert graph.deactivate()
    assert graph.cleanup()
    assert not graph.configure()
    assert "it was changed since" in capfd.readouterr().err
    assert graph.state == "unconfigured"


def test_a_window_that_a_static_export_does_not_serve_goes_to_another_runtime(
    make_graph: Make, exports: Exports, static_export: Path
) -> None:
    """Pictures of 320 x 240 make 56 x 42 here; the export serves windows of two, not of three."""
    graph = make_graph(
        runtime="onnx", model=str(exports.tiny_model()), export=str(static_export), device="cpu",
        window__size=3, window__overlap=2, points__min_confidence=0.0,
    )  # fmt: skip
    graph.listen("status")
    graph.start()
    graph.scene()  # of the first two frames
    assert "RUNTIME_FALLBACK" not in graph.status().reason_codes
    graph.scene()
    status = graph.codes("RUNTIME_FALLBACK")
    text = dict(zip(status.reason_codes, status.reason_texts, strict=True))["RUNTIME_FALLBACK"]
    assert "a window went to torch on cpu" in text
    assert "the window has 3 frames, the runtime takes 2 only" in text
    assert "RUNTIME_FAILED" not in status.reason_codes
