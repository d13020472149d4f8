# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Room for an export: planned with numbers, refused ahead of it, watched while it runs."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from g2vlm_export import export_plan
from g2vlm_export.export_onnx import Exporter
from g2vlm_export.export_plan import MemoryTakenError, plan_export
from g2vlm_export.tensorrt_build import WORKSPACE, GraphBuilder
from g2vlm_export.tensorrt_cli import timings_file
from g2vlm_export.to_onnx import ExportOptions

from g2vlm_model.config import ModelConfig
from g2vlm_model.runtimes.machine import TensorRT
from tests.export.conftest import RTX_4090
from tests.export.test_bad_input import WITHOUT_ROOTS_RIGHTS
from tests.exports import STATIC, Exports
from tests.helpers import REPO

GIB = 2**30
OPTIONS = ExportOptions(static_nhw=STATIC, opset=18)


@pytest.mark.parametrize(
    ("precision", "most", "disk"), [("fp16", 1.5, 9.0), ("fp32", 1.5, 17.5), ("int8", 6, 4.7)]
)
def test_the_published_size_needs_the_memory_of_a_layer(
    precision: str, most: float, disk: float
) -> None:
    """Or that of the rounded weights, whose numbers the goldens are; wanted: 10 GiB at most."""
    plan = plan_export(ModelConfig.g2vlm_2b(), precision)
    assert 0.8 * most * GIB < plan.memory < most * GIB
    assert 0.9 * disk * GIB < plan.disk < disk * GIB


def test_too_little_of_either_is_refused_with_numbers(
    exports: Exports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter = Exporter(exports.tiny_model())
    monkeypatch.setattr(export_plan, "free_memory", lambda: 50 << 20)
    told = r"takes about \d\.\d\d GiB of memory and \d\.\d\d GiB of disk, and 0\.05 GiB of memory"
    with pytest.raises(ValueError, match=told):
        exporter.write(tmp_path / "new" / "out", OPTIONS)
    monkeypatch.setattr(export_plan, "free_memory", lambda: None)
    full = SimpleNamespace(free=10 << 20)
    monkeypatch.setattr(export_plan, "shutil", SimpleNamespace(disk_usage=lambda path: full))
    with pytest.raises(OSError, match=r"0\.01 GiB of disk are free.* --out on another") as caught:
        exporter.write(tmp_path / "new" / "out", OPTIONS)
    assert caught.value.errno == errno.ENOSPC
    assert not list(tmp_path.iterdir())


def test_memory_that_another_process_takes_ends_the_export_and_not_the_kernel(
    exports: Exports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter = Exporter(exports.tiny_model())
    stages: list[str] = []

    def taken() -> int:
        return 64 * GIB if len(stages) < 2 else 10 << 20

    monkeypatch.setattr(export_plan, "free_memory", taken)
    with pytest.raises(MemoryTakenError, match=r"loading the model: 0\.01 GiB .*another process"):
        exporter.write(tmp_path / "out", OPTIONS, report=lambda stage, *_: stages.append(stage))
    assert stages == ["computing goldens", "loading the model"]
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="no setpriv to give up root's rights")
def test_a_folder_that_may_not_be_written(exports: Exports, tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    words = ["export", "onnx", "--model", str(exports.tiny_model()), "--out", str(locked / "out")]
    command = [sys.executable, "-m", "g2vlm_model.cli", *words]
    if os.geteuid() == 0:
        command = [*WITHOUT_ROOTS_RIGHTS, *command]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "permission denied" in done.stderr
    assert str(locked) in done.stderr
    assert "Traceback" not in done.stderr


def test_tensorrt_has_the_workspace_that_the_plan_counts(rtx: TensorRT) -> None:
    api = rtx.api
    builder = api.Builder(api.Logger())
    config = GraphBuilder(rtx, ("sm89",))._config(builder, builder.create_network(0), {})
    assert config.get_memory_pool_limit(api.MemoryPoolType.WORKSPACE) == WORKSPACE


class Timings:
    """Of a builder's config, what keeps times: takes its own kind of file only."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []

    def create_timing_cache(self, known: bytes) -> bytes | None:
        return None if known.startswith(b"damaged") else known

    def set_timing_cache(self, cache: bytes, ignore: bool) -> bool:
        assert not ignore
        if cache.startswith(b"other"):
            return False
        self.taken.append(cache)
        return True


@pytest.mark.parametrize(
    ("found", "taken"),
    [(None, b""), (b"known", b"known"), (b"damaged", b""), (b"other GPU", b"")],
)
def test_times_of_kernels_are_taken_where_they_fit(
    found: bytes | None, taken: bytes, rtx: TensorRT, tmp_path: Path
) -> None:
    """TensorRT itself needs a GPU for this: its bindings are stood in for."""
    if found is not None:
        (tmp_path / "timings").write_bytes(found)
    config = Timings()
    GraphBuilder(rtx, timings=tmp_path / "timings")._take_timings(config)
    assert config.taken == [taken]


def test_times_outlive_a_build_for_each_machine(
    rtx: TensorRT, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("G2VLM_CACHE", str(tmp_path))
    own = timings_file(rtx, RTX_4090)
    own.write_bytes(b"times")
    assert timings_file(rtx, RTX_4090) == own
    for number in range(6):
        (own.parent / f"older-{number}").write_bytes(b"")
        os.utime(own.parent / f"older-{number}", (number, number))
    assert timings_file(rtx, RTX_4090).read_bytes() == b"times"
    assert {path.name for path in own.parent.iterdir()} == {
        own.name, "older-3", "older-4", "older-5",
    }  # fmt: skip
