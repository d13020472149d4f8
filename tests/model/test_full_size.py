# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""All 4.5 B parameters on this CPU: a generated folder is loaded, sees, and answers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from g2vlm_model.runtimes.machine import free_memory
from tests.helpers import REPO

GIB = 2**30
MEMORY, DISK = 11 * GIB, 10 * GIB
MOST = 9.5 * GIB  # of the process, in bf16
GIVEN = "G2VLM_FULL_SIZE"  # a folder that scripts/write_published_folder.py made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Where it does not fit the kernel would end this process, or somebody else's: no test of ours.
    free = free_memory()
    if free is not None and free < MEMORY:
        pytest.skip(f"{free / GIB:.1f} GiB of memory are free, {MEMORY // GIB} are needed")
    if given := os.environ.get(GIVEN):
        return Path(given)
    out = tmp_path_factory.mktemp("full") / "published"
    # A disk that fills would fail whatever else writes there.
    if shutil.disk_usage(out.parent).free < DISK:
        pytest.skip(f"less than {DISK // GIB} GiB of disk are free at {out.parent}")
    command = [sys.executable, "scripts/write_published_folder.py", str(out)]
    subprocess.run(command, cwd=REPO, check=True)
    return out


@pytest.mark.slow
@pytest.mark.full_size
def test_it_loads_sees_two_frames_and_answers(folder: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    words = ["verify", str(folder), "--device", "cpu", "--precision", "bf16", "--out", str(report)]
    program = f"import sys; from g2vlm_model.model_cli import main; sys.exit(main({words!r}))"
    subprocess.run([sys.executable, "-c", program], cwd=REPO, check=True)
    found = json.loads(report.read_text())
    assert found["model"]["weights"] == 4_538_215_076
    assert found["sound"], found["checks"]
    assert found["runs"]["precision"] == "bf16"
    assert found["peak_rss_bytes"] < MOST
