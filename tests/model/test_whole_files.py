# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Files and folders that are written whole: success, failure, a kill, a full disk, two at once."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from g2vlm_model.interface import whole_files
from g2vlm_model.interface.whole_files import (
    only_writer,
    remove_remains,
    scratch_folder,
    whole_file,
    whole_folder,
)
from tests.helpers import REPO, full_disk, wait_for

# A process that writes for ever: the half of a file, or of a folder.
WRITER = """
import sys, time
from pathlib import Path
from g2vlm_model.interface.whole_files import whole_file, whole_folder
path = Path(sys.argv[2])
with {"file": whole_file, "folder": whole_folder}[sys.argv[1]](path) as partial:
    (partial / "part" if partial.is_dir() else partial).write_text("half")
    print("half", flush=True)
    time.sleep(600)
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def fill(path: Path, text: str) -> None:
    """Write a file, or a folder with one in it."""
    with whole_file(path) as partial:
        partial.write_text(text)


def fill_folder(path: Path, text: str) -> None:
    with whole_folder(path) as partial:
        (partial / "inner").mkdir()
        (partial / "inner" / "part").write_text(text)


def read(path: Path) -> str:
    return (path if path.is_file() else path / "inner" / "part").read_text()


@pytest.mark.parametrize("exchange", [True, False], ids=["exchange", "no exchange"])
@pytest.mark.parametrize("write", [fill, fill_folder])
def test_what_is_written_takes_the_place_of_what_was_there(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    write: Callable[[Path, str], None],
    exchange: bool,
) -> None:
    if not exchange:
        monkeypatch.setattr(whole_files, "_exchanged", lambda one, other: False)
    path = tmp_path / "it"
    for text in ("one", "two"):
        write(path, text)
        assert read(path) == text
        assert names(tmp_path) == ["it"]


@pytest.mark.parametrize("write", [fill, fill_folder])
def test_what_fails_leaves_everything_as_it_was(
    tmp_path: Path, write: Callable[[Path, str], None]
) -> None:
    path = tmp_path / "it"
    write(path, "one")
    with pytest.raises(ZeroDivisionError), (whole_file if path.is_file() else whole_folder)(path):
        raise ZeroDivisionError
    assert read(path) == "one"
    assert names(tmp_path) == ["it"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_a_killed_process_left_goes_and_what_a_living_one_writes_stays(
    tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "it"
    command = [sys.executable, "-c", WRITER, kind, str(path)]
    with subprocess.Popen(command, cwd=REPO, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "half\n"
            (left,) = names(tmp_path)
            assert remove_remains(tmp_path) == []
            (fill if kind == "file" else fill_folder)(path, "whole")
            assert names(tmp_path) == sorted([left, "it"])
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
    fill(tmp_path / "another", "its remains are its own")
    assert left in names(tmp_path)
    (fill if kind == "file" else fill_folder)(path, "again")
    assert names(tmp_path) == ["another", "it"]
    assert read(path) == "again"


def test_names_of_others_are_left_alone(tmp_path: Path) -> None:
    others = [".it.partial", ".it.123.partial", "it.0123abcd.partial", ".it.0123abcd.part"]
    for name in others:
        (tmp_path / name).mkdir()
    others.append(".it.0123abcd.partial")
    (tmp_path / others[-1]).write_text("a file is not ours either")
    fill(tmp_path / "it", "one")
    assert remove_remains(tmp_path) == []
    assert names(tmp_path) == sorted([*others, "it"])


def test_a_name_with_wildcards_sweeps_only_its_own(tmp_path: Path) -> None:
    (tmp_path / ".abc.01234567.partial").mkdir()
    fill(tmp_path / "a*c", "one")
    assert names(tmp_path) == [".abc.01234567.partial", "a*c"]


def test_a_full_disk_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "it"
    fill(path, "one")
    with full_disk(1000), pytest.raises(OSError, match="too large"):
        fill(path, "x" * 10_000)
    assert names(tmp_path) == ["it"]
    assert path.read_text() == "one"


def test_many_at_once_leave_the_work_of_one(tmp_path: Path) -> None:
    path, rounds = tmp_path / "it", 40
    failed: list[BaseException] = []

    def write(number: int) -> None:
        try:
            for _ in range(rounds):
                fill(path, str(number) * 1000)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert len(set(path.read_text())) == 1
    assert names(tmp_path) == ["it"]


def test_one_process_writes_to_a_folder_at_a_time(tmp_path: Path) -> None:
    refused = pytest.raises(BlockingIOError, match="another process writes there")
    with only_writer(tmp_path), refused, only_writer(tmp_path):
        pass
    with only_writer(tmp_path):
        pass


def test_no_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        fill(tmp_path / "missing" / "it", "one")


def test_libraries_may_put_files_beside_the_one_they_write(tmp_path: Path) -> None:
    with whole_file(tmp_path / "it.npz") as partial:
        np.savez(partial, a=np.arange(3))
    with whole_file(tmp_path / "it") as partial:
        save_file({"a": np.arange(3)}, partial)
        partial.with_name(".tmp123").write_text("a killed library's")
    assert names(tmp_path) == ["it", "it.npz"]
    assert load_file(tmp_path / "it")["a"].tolist() == [0, 1, 2]


def test_scratch_folders_go(tmp_path: Path) -> None:
    with scratch_folder(tmp_path / "it") as folder:
        (folder / "part").write_text("x")
        assert names(tmp_path) == [folder.name]
    assert names(tmp_path) == []


def test_modes_are_those_of_plain_files(tmp_path: Path) -> None:
    plain, whole = tmp_path / "plain", tmp_path / "whole"
    plain.write_text("x")
    fill(whole, "x")
    assert whole.stat().st_mode == plain.stat().st_mode
    assert os.access(whole, os.R_OK)
    wait_for(whole.is_file, 1.0)


# Others write into a folder that is there whole or not at all, or into what is no file of theirs.
WRITES_INSIDE = {
    "export/manifest.py", "export/tensorrt_build.py", "export/weights.py",
    "g2vlm_model/config.py", "g2vlm_model/runtimes/build_process.py",
    "replay/node/process.py",  # a log
    "training/datasets/bag.py", "training/datasets/bag_report.py",
    "training/run/checkpoint_index.py",
    "training/synthetic/models/library.py", "training/synthetic/models/packages.py",
}  # fmt: skip
PACKAGES = ("g2vlm_model", "g2vlm_map", "g2vlm_ros", "replay", "training", "export", "demo",
            "view")  # fmt: skip
WRITES = re.compile(r'\.(write_text|write_bytes)\(|\.open\("[wx]b?"')


def test_no_command_writes_a_file_in_its_place() -> None:
    """What is killed or has no space half-way would leave half of it, e.g. of a calibration."""
    found = set()
    for path in (path for package in PACKAGES for path in (REPO / package).rglob("*.py")):
        lines = path.read_text(encoding="utf-8").splitlines()
        if any(WRITES.search(line) and "partial" not in line for line in lines):
            found.add(str(path.relative_to(REPO)))
    assert found - {"g2vlm_model/interface/whole_files.py"} == WRITES_INSIDE


def test_a_folder_in_which_nothing_can_be_made_is_named_itself(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught, whole_file(tmp_path / "none" / "a.json"):
        pass
    assert caught.value.filename == str(tmp_path / "none")
