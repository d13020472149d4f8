# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The wheel: what is in it, and whether each extra can be installed on a robot's processor."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from tests.helpers import REPO
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


@pytest.fixture
def uv() -> str:
    """Resolves for another processor, finds and fills other interpreters."""
    found = shutil.which("uv", path=str(Path(sys.executable).parent))
    if found is None:
        pytest.skip("uv is not installed, which resolves and installs")
    return found


@pytest.fixture
def other_python(uv: str, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """The interpreter of an empty environment of a Python that this machine has."""
    version = str(request.param)
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    kept = [str(folder) for folder in root.glob(f"versions/{version}.*/bin")]
    path = os.pathsep.join([*kept, os.environ["PATH"]])
    find = [uv, "python", "find", "--offline", "--no-project", "--system", version]
    asked = {**os.environ, "PATH": path, "UV_PYTHON_DOWNLOADS": "never"}
    found = subprocess.run(find, env=asked, cwd=tmp_path, capture_output=True, text=True)
    if found.returncode:
        pytest.skip(f"this machine has no Python {version}: {found.stderr.strip()}")
    made = [uv, "venv", "-q", "--python", found.stdout.strip(), str(tmp_path / "venv")]
    subprocess.run(made, check=True, cwd=tmp_path)
    return tmp_path / "venv" / "bin" / "python"


def needed_without_torch(wheel: Path, *wanted: str) -> list[str]:
    """What the package and some of its extras need, as the wheel says."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith("dist-info/METADATA"))
        metadata = Parser().parsestr(archive.read(name).decode())
    lines = []
    for line in metadata.get_all("Requires-Dist") or []:
        requirement, _, condition = line.partition(";")
        of = re.search(r"extra == ['\"](.+?)['\"]", condition)
        if (of is None or of[1] in wanted) and not requirement.startswith("torch"):
            lines.append(requirement.strip())
    return lines


# The index has torch with CUDA alone for some of these, which no test installs: what needs
# torch names it here. With torch: the environment of all other tests.
@pytest.mark.parametrize("other_python", ["3.10", "3.12", "3.13"], indirect=True)
def test_it_runs_in_an_empty_environment_of_another_python(
    uv: str, other_python: Path, wheel: Path, nano_export: Path, tmp_path: Path
) -> None:
    needs = needed_without_torch(wheel, "replay", "view", "onnx", "train")
    install = [uv, "pip", "install", "-q", "--python", str(other_python), "--only-binary", ":all:"]
    subprocess.run([*install, *needs], check=True, cwd=tmp_path)
    subprocess.run([*install, "--no-deps", str(wheel)], check=True, cwd=tmp_path)
    keep = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}  # nothing of the tests' environment

    def said(words: str, command: str = "g2vlm") -> tuple[int, str]:
        line = [str(other_python.parent / command), *words.split()]
        done = subprocess.run(
            line, env=keep, cwd=tmp_path, text=True, capture_output=True, timeout=240
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, done.stdout + done.stderr

    for words in ("help", "view --help", "replay --help", "export onnx --help"):
        assert said(words)[0] == 0
    for words in ("train --help", "model info nano"):
        assert said(words)[0] == 2
        assert "needs the Python package 'torch'" in said(words)[1]
    for command, words in (("g2vlm", "doctor"), ("node", "")):
        code, text = said(words, command)
        assert code != 0
        assert "rclpy of ROS 2 is missing: source an installation" in text
    bag = REPO / "tests" / "data" / "room" / "room.mcap"
    code, text = said(
        f"replay {bag} --in-process --rate 0 --quiet --runtime onnx --export {nano_export} "
        f"--out {tmp_path / 'out'}"
    )
    assert code == 0, text
    assert (tmp_path / "out" / "report.html").is_file()


def test_every_extra_resolves_on_aarch64(uv: str, wheel: Path, tmp_path: Path) -> None:
    """A dry run: names and versions, wheels alone; nothing is installed."""
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
