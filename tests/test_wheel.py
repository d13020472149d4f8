# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The wheel: what is in it, and whether each extra can be installed on a robot's processor."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from tests.test_readme import tracked_copy

pytestmark = pytest.mark.slow  # a build, and a look at the package index


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from what a clone holds."""
    source = tracked_copy(tmp_path_factory.mktemp("source"))
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(out), str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (built,) = out.glob("*.whl")
    return built


def test_it_holds_weights_and_no_tests(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        text = archive.read(next(n for n in names if n.endswith("entry_points.txt"))).decode()
    assert "g2vlm_model/weights/nano/model.safetensors" in names
    assert "g2vlm_view/page/index.html" in names
    assert "g2vlm_training/configs/nano.yaml" in names
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.startswith("g2vlm_")} == set()
    weights = [name for name in names if name.endswith((".safetensors", ".mcap", ".onnx"))]
    assert weights == ["g2vlm_model/weights/nano/model.safetensors"]
    assert not [name for name in names if "/tests/" in name or Path(name).name.startswith("test_")]
    assert "view = g2vlm_view:main" in text


def extras(wheel: Path) -> list[str]:
    """Names of all extras."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith("dist-info/METADATA"))
        metadata = Parser().parsestr(archive.read(name).decode())
    return metadata.get_all("Provides-Extra") or []


def test_every_extra_resolves_on_aarch64(wheel: Path, tmp_path: Path) -> None:
    """A dry run: names and versions, wheels alone; nothing is installed."""
    uv = shutil.which("uv", path=str(Path(sys.executable).parent))
    if uv is None:
        pytest.skip("uv is not installed, which resolves for another processor")
    found = extras(wheel)
    assert len(found) > 8
    failed = []
    for extra in found:
        asked = tmp_path / f"{extra}.in"
        asked.write_text(f"g2vlm_ros[{extra}] @ {wheel.as_uri()}\n")
        command = [uv, "pip", "compile", "-q", "--no-header", "--only-binary", ":all:"]
        command += ["--python-platform", "aarch64-manylinux_2_28", "--python-version", "3.12"]
        command += ["--cache-dir", str(tmp_path / "cache"), str(asked)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            failed.append(f"{extra}: {done.stderr[-300:]}")
        else:
            assert "torch==" in done.stdout
    assert not failed, "\n".join(failed)
