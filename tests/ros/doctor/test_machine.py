# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What the doctor says of the machine: each is provoked with real processes, files and metadata."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from g2vlm_model.runtimes.machine import GpuMissingError, find_gpu
from g2vlm_ros.doctor.check_machine import check_libraries, check_runtime, check_shared_memory
from g2vlm_ros.doctor.command import main
from g2vlm_ros.doctor.machine_facts import (
    Turns,
    outdated,
    participants,
    remains,
    runtime_problem,
)
from g2vlm_ros.doctor.seen import Machine, Seen
from g2vlm_ros.doctor.wanted import GraphNames
from g2vlm_ros.launch_arguments import PROFILE_VARIABLE
from g2vlm_ros.params import parse
from g2vlm_ros.shipped import PROFILE_FILE, shipped_file
from tests.helpers import REPO, wait_for

LARGE = (
    *("--param", "camera.image_topic=/large/image_raw"),
    *("--param", "camera.camera_info_topic=''", "--seconds", "3.0"),
)
SEEN = Seen("a test", True, parse({}), GraphNames())


@pytest.fixture
def one_core() -> Iterator[None]:
    """This thread and three that never rest share a core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    burn = [sys.executable, "-S", "-c", "print(flush=True)\nwhile True: pass"]
    burning = [subprocess.Popen(burn, stdout=subprocess.PIPE) for _ in range(3)]
    for process in burning:
        assert process.stdout is not None
        process.stdout.readline()
    yield
    for process in burning:
        process.kill()
        process.communicate()
    os.sched_setaffinity(0, before)


def test_a_doctor_without_a_core_of_its_own_knows_it(one_core: None) -> None:
    """Three others on its core: it waits three times as long as it runs."""
    turns, spent_s = Turns(), time.thread_time()
    while time.thread_time() < spent_s + 0.05:
        turns.step(60.0)
    attention = turns.attention()
    assert attention.waited_s > attention.worked_s > 0.04
    assert attention.lost_s > 0.5 * attention.seconds
    assert f"waited {attention.waited_s:.2f} s for a core" in str(attention)


def test_timers_that_come_late_are_waits_too() -> None:
    """As where the whole machine is held up: the kernel counts nothing then."""
    turns = Turns()
    for period_s in (60.0, 0.0):
        time.sleep(0.05)
        turns.step(period_s)
    assert 0.05 <= turns.attention().waited_s < 0.05 + turns.attention().seconds


@pytest.fixture
def talker() -> Iterator[subprocess.Popen[bytes]]:
    environment = {name: v for name, v in os.environ.items() if name != PROFILE_VARIABLE}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.ros.doctor.talker"],
        cwd=REPO,
        env=environment,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"sends\n"
    yield process
    process.kill()
    process.communicate()


def segments(pid: int) -> list[Path]:
    """Files of Fast DDS in shared memory that a process has mapped and nobody else."""
    maps = Path(f"/proc/{pid}/maps").read_text(encoding="utf-8")
    return [Path(name) for name in set(re.findall(r"/dev/shm/fast(?:dds|rtps)_[0-9a-f]{16}", maps))]


def is_alone(path: Path) -> bool:
    return path.with_name(f"{path.name}_el").exists()


def test_a_process_without_the_profile_and_what_a_killed_one_leaves(
    talker: subprocess.Popen[bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    domain = int(os.environ["ROS_DOMAIN_ID"])
    wait_for(lambda: [p for p in participants(domain) if p.pid == talker.pid], 60.0, what="DDS")
    assert main([*LARGE, "--json"]) == 1
    (item,) = json.loads(capsys.readouterr().out)["findings"]
    assert (item["code"], item["about"]) == ("SHM_PROFILE", "/large/image_raw")
    assert f"{talker.pid} (" in item["text"]
    assert item["mend"] == f"export {PROFILE_VARIABLE}={shipped_file(PROFILE_FILE)}"

    owned = [path for path in segments(talker.pid) if is_alone(path)]
    for path in owned:
        for real in (path, path.with_name(f"{path.name}_el")):
            (tmp_path / real.name).symlink_to(real)
    assert owned
    assert remains(tmp_path) == 0  # its locks are held
    talker.send_signal(signal.SIGKILL)
    talker.wait()
    left = remains(tmp_path)
    assert left > 100_000
    seen = replace(SEEN, machine=Machine(shm_total=2 * left, shm_free=left, remains=left))
    (found,) = check_shared_memory(seen)
    assert (found.code, found.mend) == ("SHM_REMAINS", "fastdds shm clean")
    for path in owned:
        path.unlink(missing_ok=True)
        path.with_name(f"{path.name}_el").unlink(missing_ok=True)


def test_a_process_with_the_profile(talker: subprocess.Popen[bytes]) -> None:
    environment = {**os.environ, PROFILE_VARIABLE: str(shipped_file(PROFILE_FILE))}
    domain = int(os.environ["ROS_DOMAIN_ID"])
    with subprocess.Popen(
        [sys.executable, "-m", "tests.ros.doctor.talker"], cwd=REPO, env=environment
    ) as other:
        try:
            wait_for(lambda: len(list(participants(domain))) >= 2, 60.0, what="both")
            has = {item.pid: item.has_profile for item in participants(domain)}
        finally:
            other.kill()
    assert has[talker.pid] is False
    assert has[other.pid] is True
    elsewhere = 100 if domain != 100 else 99
    assert talker.pid not in {item.pid for item in participants(elsewhere)}


def test_shared_memory_without_room_and_with() -> None:
    small = replace(SEEN, machine=Machine(shm_total=64 << 20, shm_free=10 << 20))
    (found,) = check_shared_memory(small)
    assert found.code == "SHM_FULL"
    assert "--shm-size=1g" in found.mend
    roomy = replace(SEEN, machine=Machine(shm_total=8 << 30, shm_free=7 << 30, remains=1 << 20))
    assert not list(check_shared_memory(roomy))


def test_a_torch_that_is_too_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not list(outdated())
    installed = tmp_path / "torch-2.3.1.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 2.3.1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    seen = replace(SEEN, machine=Machine(outdated=tuple(outdated())))
    (found,) = check_libraries(seen)
    assert (found.code, found.about) == ("OLD_LIBRARY", "torch")
    assert found.text == "version 2.3.1 is installed, 2.10 or later is asked for"
    assert found.mend == "pip install --upgrade 'torch>=2.10'"


@pytest.mark.parametrize("version", ["2.10", "2.10.0+cpu", "2.13.0", "3"])
def test_versions_that_are_new_enough(
    version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = tmp_path / f"torch-{version}.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text(f"Metadata-Version: 2.1\nName: torch\nVersion: {version}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert not list(outdated(["torch>=2.10"]))


@pytest.mark.parametrize(
    ("runtime", "says"),
    [
        ("torch", "CUDA"),
        ("onnx", "has no CUDAExecutionProvider"),
        ("tensorrt", "CUDA"),
        ("auto", "CUDA"),
    ],
)
def test_a_device_or_provider_that_is_not_there(runtime: str, says: str) -> None:
    try:
        find_gpu(0)
    except GpuMissingError:
        pass
    else:
        pytest.skip("this machine has a GPU")
    params = parse({"runtime": runtime, "device": "cuda"})
    seen = replace(SEEN, params=params, machine=Machine(runtime_problem=runtime_problem(params)))
    (found,) = check_runtime(seen)
    assert found.code == "RUNTIME_MISSING"
    assert says in found.text
    assert found.about == f"runtime {runtime}, device cuda"


def test_what_every_machine_can_run() -> None:
    for device in ("auto", "cpu"):
        for runtime in ("torch", "onnx"):
            assert runtime_problem(parse({"runtime": runtime, "device": device})) == ""
