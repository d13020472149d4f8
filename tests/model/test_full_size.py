# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""All 4.5 B parameters on this CPU: a generated folder is loaded, sees, and answers.

In bf16 and in int8; some ten CPU minutes each on a CPU that emulates bf16.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from g2vlm_model.runtimes.machine import free_memory
from tests.helpers import REPO

GIB = 2**30
MEMORY, DISK = 11 * GIB, 10 * GIB
MOST = {"bf16": 9.5 * GIB, "int8": 4.9 * GIB}  # of the process
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
@pytest.mark.parametrize(("precision", "most"), MOST.items())
def test_it_loads_sees_and_answers(
    folder: Path, tmp_path: Path, precision: str, most: float
) -> None:
    report = tmp_path / "report.json"
    command = [sys.executable, "-m", "g2vlm_model.cli", "model", "verify", str(folder)]
    words = ["--device", "cpu", "--precision", precision, "--out", str(report)]
    # The limit is the kernel's: what takes more fails here, and ends nobody else's process.
    done = subprocess.run([*command, *words], cwd=REPO, check=False, preexec_fn=_limited)
    found = json.loads(report.read_text())
    print(
        json.dumps(
            {name: found[name] for name in ("seconds", "cpu_seconds", "rss_bytes", "checks")},
            indent=2,
        )
    )
    assert done.returncode == 0, found["checks"]
    assert found["model"]["weights"] == 4_538_215_076
    assert found["runs"]["precision"] == precision
    assert found["rss_bytes"]["peak"] < most


def _limited() -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, resource.RLIM_INFINITY))
