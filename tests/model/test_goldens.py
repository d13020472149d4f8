# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The model against the published code's outputs: every tensor of every golden case.

Our own cases run always; G2VLM_GOLDENS (folders, separated as in PATH) adds others.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from .golden_cases import SEGMENTS, Case, Record, Recorder, expected, folders_with

ATOL = 1e-4
RTOL = 1e-4


def cases(kind: str) -> list[Any]:
    """One parameter per case and DINO attention mode; skipped, and said so, without a file."""
    found: list[Any] = []
    for segment in SEGMENTS:
        file = f"{kind}.{segment}.safetensors"
        for folder in folders_with("config.json"):
            lacks = pytest.mark.skipif(
                not (folder / file).is_file(), reason=f"{folder.name} holds no {file}"
            )
            name = f"{folder.name}-{segment}"
            found.append(pytest.param(folder, segment, id=name, marks=lacks))
    return found


def difference(name: str, got: Tensor, want: Tensor) -> str | None:
    """Say how two tensors differ; None where they agree."""
    if got.shape != want.shape:
        return f"{name}: shape {list(got.shape)}, expected {list(want.shape)}"
    if not want.is_floating_point():
        wrong = int((got != want).sum())
        return f"{name}: {wrong} of {want.numel()} numbers differ" if wrong else None
    error = (got.double() - want.double()).abs()
    bad = ~(error <= ATOL + RTOL * want.double().abs())
    if not bad.any():
        return None
    return (
        f"{name}: {int(bad.sum())} of {want.numel()} beyond tolerance, "
        f"max error {error.max():.3e}, mean {error.mean():.3e}, "
        f"largest value {want.abs().max():.3e}"
    )


def compare(record: Record, want: Record) -> None:
    """Fail with every difference, or with tensors that nothing was recorded for."""
    assert want, "the golden file is empty"
    problems = [f"{name}: not computed" for name in want if name not in record]
    for name, tensor in want.items():
        if name in record:
            problem = difference(name, record[name], tensor)
            problems += [problem] if problem else []
    assert not problems, "\n" + "\n".join(problems)


@pytest.mark.parametrize(("folder", "segment"), cases("recon"))
def test_reconstruction(folder: Path, segment: str, tmp_path: Path) -> None:
    case = Case(folder, tmp_path)
    record = Recorder(case.model(segment), case).reconstruct(case.window())
    compare(record, expected(folder, f"recon.{segment}.safetensors"))


@pytest.mark.parametrize(("folder", "segment"), cases("recon_square"))
def test_square_reconstruction(folder: Path, segment: str, tmp_path: Path) -> None:
    case = Case(folder, tmp_path)
    record = Recorder(case.model(segment), case).reconstruct([case.images["square"]])
    compare(record, expected(folder, f"recon_square.{segment}.safetensors"))


@pytest.mark.parametrize(("folder", "segment"), cases("chat"))
def test_chat(folder: Path, segment: str, tmp_path: Path) -> None:
    case = Case(folder, tmp_path)
    recorder = Recorder(case.model(segment), case)
    record = recorder.chat(case.window(), case.raw.get("chat_max_length", 9))
    compare(record, expected(folder, f"chat.{segment}.safetensors"))


def test_modes_differ(tmp_path: Path) -> None:
    """The two attention modes are not the same network: a mix-up cannot pass unseen."""
    case = Case(folders_with("config.json")[0], tmp_path)
    one, other = (
        Recorder(case.model(segment), case).reconstruct(case.window())["out/points"]
        for segment in SEGMENTS
    )
    assert (one - other).abs().max() > 10 * ATOL


def test_comparison_notices_small_errors() -> None:
    want = {"x": torch.tensor([1.0, 2.0])}
    with pytest.raises(AssertionError, match=r"x: 1 of 2 beyond tolerance, max error 9.999e-04"):
        compare({"x": torch.tensor([1.0, 2.001])}, want)
    with pytest.raises(AssertionError, match="not computed"):
        compare({}, want)


@pytest.mark.parametrize("content", [None, "", "config.json", "recon.compat.safetensors"])
def test_named_folders_without_a_case_are_refused(
    content: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = tmp_path / "named"
    if content is not None:
        named.mkdir()
    if content:
        (named / content).touch()
    monkeypatch.setenv("G2VLM_GOLDENS", str(named))
    with pytest.raises(FileNotFoundError, match=r"named, which (is no folder|holds no case)"):
        folders_with("config.json")


def test_a_case_that_lacks_a_file_is_skipped_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = tmp_path / "several" / "C_part"
    case.mkdir(parents=True)
    for file in ("config.json", "recon.compat.safetensors"):
        (case / file).touch()
    monkeypatch.setenv("G2VLM_GOLDENS", str(tmp_path / "several"))
    marks = {
        (kind, param.id): param.marks[0].args[0]
        for kind in ("recon", "chat")
        for param in cases(kind)
        if param.id.startswith("C_part")
    }
    assert marks == {
        ("recon", "C_part-per_image"): True,
        ("recon", "C_part-compat"): False,
        ("chat", "C_part-per_image"): True,
        ("chat", "C_part-compat"): True,
    }
