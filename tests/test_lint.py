# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What ROS's own linters say of the node, and whose every source file says it is."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import REPO

sys.path.insert(0, str(REPO / "scripts"))

import write_licence

INSTALLED = ("g2vlm_ros", "launch", "setup.py")  # what a ROS developer looks at first


def test_every_source_says_whose_it_is() -> None:
    sources = list(write_licence.sources())
    assert len(sources) > 500
    lacking = [
        path.relative_to(REPO).as_posix()
        for path in sources
        if write_licence.with_notice(text := path.read_text(encoding="utf-8")) != text
    ]
    assert not lacking, f"run: python scripts/write_licence.py ({lacking})"


def test_the_notice_is_one_that_ros_and_spdx_read() -> None:
    owner, licence, _ = write_licence.NOTICE.split("\n", 2)
    # ament_copyright: "copyright", years, a name. SPDX: its tag, and a name of its list.
    assert re.fullmatch(r"# copyright \d{4}(-\d{4})?,? \S.*", owner, re.IGNORECASE)
    (declared,) = re.findall(r"<license>(.+)</license>", (REPO / "package.xml").read_text())
    assert licence == f"# SPDX-License-Identifier: {declared}"
    (maintainer,) = re.findall(
        r"<maintainer .*>(.+)</maintainer>", (REPO / "package.xml").read_text()
    )
    assert owner.endswith(maintainer)


def test_a_notice_is_written_once_and_below_the_interpreter() -> None:
    script = write_licence.with_notice("#!/bin/sh\necho\n")
    assert script == f"#!/bin/sh\n{write_licence.NOTICE}echo\n"
    assert write_licence.with_notice(script) == script


def test_ament_flake8(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    linter = pytest.importorskip("ament_flake8.main", reason="ament_flake8 is not installed")
    monkeypatch.chdir(REPO)
    code, errors = linter.main_with_errors(["--config", "setup.cfg", *INSTALLED])
    assert code == 0, "\n".join(errors) + capfd.readouterr().out


def test_ament_flake8_finds_what_is_wrong(tmp_path: Path) -> None:
    linter = pytest.importorskip("ament_flake8.main", reason="ament_flake8 is not installed")
    (tmp_path / "wrong.py").write_text("import os\n")
    code, errors = linter.main_with_errors(["--config", str(REPO / "setup.cfg"), str(tmp_path)])
    assert code == 1
    assert "F401" in " ".join(errors)


def test_ament_pep257(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """With the exceptions that pyproject.toml makes, and names of types that begin sentences."""
    linter = pytest.importorskip("ament_pep257.main", reason="ament_pep257 is not installed")
    monkeypatch.chdir(REPO)
    allowed = ["--add-ignore", "D105", "D107", "D403", "D417", "--"]
    code = linter.main(["--convention", "google", *allowed, *INSTALLED])
    assert code == 0, capfd.readouterr().err


def test_the_dockerfile_is_one_that_its_linter_takes(tmp_path: Path) -> None:
    linter = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if linter is None:
        pytest.skip("hadolint is not installed (no wheel for this machine)")
    done = subprocess.run([linter, REPO / "Dockerfile"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    wrong = tmp_path / "Dockerfile"
    wrong.write_text("FROM python\nRUN cd /opt\n")
    done = subprocess.run([linter, wrong], capture_output=True, text=True)
    assert done.returncode == 1
    assert "DL3006" in done.stdout
