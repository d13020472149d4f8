# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Bad export folders through the command line and `load_runtime`, and exports that are killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from g2vlm_export.manifest import replaced_folder

from g2vlm_model.cli import main as g2vlm
from g2vlm_model.runtimes import load_runtime
from g2vlm_model.runtimes.export_folder import ExportFolder
from tests.export.damage import DAMAGES, copy_of
from tests.exports import Exports
from tests.helpers import REPO
from tests.runtimes.model_folders import small_config, write_model

WITHOUT_ROOTS_RIGHTS = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search")


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_told_and_what_to_do(
    damage: str,
    exports: Exports,
    tiny_export: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    harm, told = DAMAGES[damage]
    folder = copy_of(tiny_export, tmp_path / "export")
    harm(folder)
    model = exports.tiny_model()
    with pytest.raises((ValueError, OSError, RuntimeError)) as error:
        load_runtime("onnx", model, "cpu", export=folder)
    for words in told:
        assert words in str(error.value)
    assert g2vlm(["export", "check", str(folder), "--model", str(model)]) != 0
    said = capsys.readouterr()
    assert told[0] in said.out + said.err


def test_a_copy_elsewhere_and_a_link_to_the_same_bytes_serve(
    exports: Exports, tiny_export: Path, tmp_path: Path
) -> None:
    """Whether they are the right bytes counts, not where they lie."""
    folder = copy_of(tiny_export, tmp_path / "export")
    graph = folder / "geometry.onnx"
    graph.rename(tmp_path / "elsewhere.onnx")
    graph.symlink_to(tmp_path / "elsewhere.onnx")
    runtime = load_runtime("onnx", exports.tiny_model(), "cpu", export=folder)
    assert runtime.info.runtime == "onnx"
    runtime.close()


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="no setpriv to give up root's rights")
def test_files_that_may_not_be_read(tiny_export: Path, tmp_path: Path) -> None:
    folder = copy_of(tiny_export, tmp_path / "export")
    (folder / "geometry.onnx").chmod(0)
    command = [sys.executable, "-m", "g2vlm_model.cli", "export", "check", str(folder)]
    if os.geteuid() == 0:
        command = [*WITHOUT_ROOTS_RIGHTS, *command]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "permission denied" in done.stderr
    assert "geometry.onnx" in done.stderr
    assert "Traceback" not in done.stderr


def start_export(model: Path, out: Path) -> subprocess.Popen[str]:
    """`g2vlm export onnx` in a process of its own."""
    words = ["export", "onnx", "--model", str(model), "--out", str(out), "--parts", "geometry"]
    return subprocess.Popen(
        [sys.executable, "-m", "g2vlm_model.cli", *words, "--progress", "json"],
        cwd=REPO,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


AT_WORK = """
import os, signal, sys
from pathlib import Path
from g2vlm_export.manifest import replaced_folder
with replaced_folder(Path(sys.argv[1]), force=False) as folder:
    (folder / "manifest.json").write_text("the other's")
    print("at work", flush=True)
    if sys.stdin.readline() == "die\\n":
        os.kill(os.getpid(), signal.SIGKILL)
"""


def another_at_work(out: Path) -> subprocess.Popen[str]:
    """A process that is in the midst of writing an export, until it is told a line."""
    process = subprocess.Popen(
        [sys.executable, "-c", AT_WORK, str(out)],
        cwd=REPO, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "at work\n"
    return process


def write_export(out: Path) -> None:
    with replaced_folder(out, force=False) as folder:
        (folder / "manifest.json").write_text("mine")


def test_what_a_killed_export_left_goes_with_the_next_one(tmp_path: Path) -> None:
    out = tmp_path / "small"
    with another_at_work(out) as process:
        process.communicate("die\n", timeout=30)
    assert process.returncode == -signal.SIGKILL
    assert not out.exists(), "half an export stands where a whole one is expected"
    assert [path.name.startswith(".small.") for path in tmp_path.iterdir()] == [True]
    write_export(out)
    assert list(tmp_path.iterdir()) == [out], "what the killed one left is still there"


def test_two_exports_to_one_place_are_whole_one_after_the_other(tmp_path: Path) -> None:
    out = tmp_path / "small"
    with another_at_work(out) as process:
        write_export(out)
        assert (out / "manifest.json").read_text() == "mine"
        assert len(list(tmp_path.iterdir())) == 2, "what the other is at work on was removed"
        process.communicate("go on\n", timeout=30)
    assert process.returncode == 0
    assert (out / "manifest.json").read_text() == "the other's"
    assert list(tmp_path.iterdir()) == [out]
    with pytest.raises(FileExistsError, match="holds an export; give --force to replace it"):
        write_export(out)


@pytest.mark.slow
def test_killed_half_way_started_again_and_twice_at_once(tmp_path: Path) -> None:
    config = small_config()
    config = replace(
        config,
        text=replace(config.text, num_hidden_layers=1),
        dino=replace(config.dino, num_hidden_layers=1),
    )
    model = write_model(tmp_path / "model", config)
    out = tmp_path / "exports" / "small"
    process = start_export(model, out)
    assert process.stdout is not None
    for line in process.stdout:
        if json.loads(line)["stage"] == "tracing":
            process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not out.exists(), "half an export stands where a whole one is expected"
    left = list(out.parent.iterdir())
    assert [path.name.startswith(".small.") for path in left] == [True]

    both = [start_export(model, out) for _ in range(2)]
    said = [process.communicate(timeout=300)[1] for process in both]
    codes = sorted(process.returncode for process in both)
    assert codes[0] == 0, said
    assert codes[1] in (0, 2), said
    if codes[1] == 2:
        assert any("holds an export; give --force to replace it" in text for text in said)
    assert ExportFolder.open(out).manifest.model_id.startswith("model@")
    assert list(out.parent.iterdir()) == [out], "what the killed one left is still there"
