# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Looks at the machine: processes, shared memory, versions, what executes the model. No rclpy."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from g2vlm_model.runtimes.auto import Machine as Runners
from g2vlm_ros.doctor.seen import Attention, Machine, Participant
from g2vlm_ros.launch_arguments import PROFILE_VARIABLE
from g2vlm_ros.params import NodeParams

from ..shared_memory import dead_segments

__all__ = ["Turns", "look_at_machine", "outdated", "participants", "remains", "runtime_problem"]

# Variables of a process by which Fast DDS carries large messages.
_PROFILES = (PROFILE_VARIABLE, "FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_BUILTIN_TRANSPORTS")
_LIBRARIES = (b"libfastdds.so", b"libfastrtps.so")
_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)(?:\[[^\]]*\])?\s*([^;]*)(;.*)?")
_PACKAGE = "g2vlm_ros"
_BY_PROVIDER = ("cuda", "tensorrt")  # the others are plugins: seen when they run
_TURNS = Path("/proc/thread-self/schedstat")  # ns on a core, ns ready without one, turns
_NS = 1e9
_WORDS = 80  # characters of a process's command line


def look_at_machine(params: NodeParams, domain: int | None, profile: Path | None) -> Machine:
    """All of it.

    Args:
        params: Of the node.
        domain: ROS domain whose processes count; None: no process does (a bag).
        profile: The project's shared-memory profile.
    """
    folder = Machine().shared_memory
    total, free = 0, 0
    if folder.is_dir():
        usage = shutil.disk_usage(folder)
        total, free = usage.total, usage.free
    is_live = domain is not None
    return Machine(
        participants=tuple(participants(domain)) if domain is not None else (),
        shared_memory=folder,
        shm_total=total,
        shm_free=free,
        remains=remains(folder) if is_live else 0,
        outdated=tuple(outdated()),
        runtime_problem=runtime_problem(params),
        profile=profile,
    )


class Turns:
    """How long the calling thread runs, and waits for a core, from here on.

    By the kernel's account, and by its own late timers: a machine that is itself halted (a guest
    without a core) accounts for nothing.
    """

    def __init__(self) -> None:
        self._began_s, self._worked_s, self._waited_s = time.monotonic(), *_turns()
        self._late_s, self._last_s = 0.0, self._began_s

    def step(self, period_s: float) -> None:
        """A timer of this period has come; what it is late by half of it or more counts."""
        now_s = time.monotonic()
        late_s = now_s - self._last_s - period_s
        self._late_s += late_s if late_s > 0.5 * period_s else 0.0
        self._last_s = now_s

    def attention(self) -> Attention:
        """What it had until now."""
        worked_s, waited_s = _turns()
        return Attention(
            seconds=time.monotonic() - self._began_s,
            worked_s=worked_s - self._worked_s,
            waited_s=max(waited_s - self._waited_s, self._late_s),
            load=os.getloadavg()[0],
            cores=len(os.sched_getaffinity(0)),
        )


def _turns() -> tuple[float, float]:
    """Seconds of this thread on a core and ready without one; the second 0 where unknown."""
    try:
        worked, waited, _ = _TURNS.read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return time.thread_time(), 0.0
    return int(worked) / _NS, int(waited) / _NS


def participants(domain: int) -> Iterator[Participant]:
    """Processes of this user in a ROS domain that have loaded Fast DDS, but this one."""
    for folder in Path("/proc").glob("[0-9]*"):
        if folder.name == str(os.getpid()):
            continue
        try:
            if not any(name in (folder / "maps").read_bytes() for name in _LIBRARIES):
                continue
            words = (folder / "environ").read_bytes().split(b"\0")
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # somebody else's, or gone meanwhile
        environment = dict(word.decode(errors="replace").partition("=")[::2] for word in words)
        if environment.get("ROS_DOMAIN_ID", "0") == str(domain):
            has_profile = any(environment.get(name) for name in _PROFILES)
            yield Participant(int(folder.name), line.strip()[-_WORDS:], has_profile)


def remains(folder: Path) -> int:
    """Bytes in files of Fast DDS whose process is gone."""
    total = 0
    for pair in dead_segments(folder):
        for path in pair:
            try:
                total += path.stat().st_blocks * 512  # sparse ones take less
            except OSError:
                continue
    return total


def outdated(requirements: Iterable[str] | None = None) -> Iterator[tuple[str, str, str]]:
    """(library, installed, required) of libraries that are installed and too old.

    Args:
        requirements: As in a package's metadata; None: this project's, optional parts included.
    """
    if requirements is None:
        try:
            requirements = importlib.metadata.requires(_PACKAGE) or ()
        except importlib.metadata.PackageNotFoundError:  # run from its sources
            return
    told = set()
    for line in requirements:
        match = _REQUIREMENT.match(line)
        least = re.search(r">=\s*([0-9][0-9.]*)", "" if match is None else match[2])
        if match is None or least is None or match[1] in told:
            continue
        try:
            installed = importlib.metadata.version(match[1])
        except importlib.metadata.PackageNotFoundError:
            continue  # an optional part, or missed when it is imported
        if _numbers(installed) < _numbers(least[1]):
            told.add(match[1])
            yield match[1], installed, least[1]


def _numbers(version: str) -> tuple[int, ...]:
    """The release of a version, without trailing zeros: "2.10.0+cpu" is (2, 10)."""
    release = re.match(r"\d+(\.\d+)*", version)
    numbers = [int(part) for part in release[0].split(".")] if release else [0]
    while len(numbers) > 1 and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def runtime_problem(params: NodeParams) -> str:
    """Why the runtime or the device that is asked for cannot run here; "" where it can.

    `auto` on a machine with a GPU that neither torch nor TensorRT can use is a problem too.
    """
    kind = params.device.partition(":")[0]
    found = Runners.probe(params.device, exported=bool(params.export))
    on_gpu = kind not in ("auto", "cpu")
    problem = {
        "torch": found.torch or (found.torch_cuda if on_gpu else ""),
        "onnx": found.onnx or (_without_provider(params.device) if kind in _BY_PROVIDER else ""),
        "tensorrt": found.tensorrt,
        "auto": found.torch and found.onnx,
    }.get(params.runtime, "")
    if params.runtime == "auto" and kind != "cpu" and (on_gpu or _has_gpu()):
        unused = [found.torch_cuda, found.tensorrt]
        problem = problem or ("; ".join(dict.fromkeys(unused)) if all(unused) else "")
    return problem


def _has_gpu() -> bool:
    """Whether the driver's device file of an NVIDIA GPU is there."""
    return Path("/dev/nvidia0").exists() or Path("/dev/nvhost-gpu").exists()


def _without_provider(device: str) -> str:
    """What ONNX Runtime lacks for a device; "" where it has it."""
    from g2vlm_model.runtimes.onnx.sessions import candidates, onnxruntime_module

    try:
        ort = onnxruntime_module()
        available = tuple(ort.get_available_providers())
        candidates(device, available)[0].check_available(ort)
    except (ValueError, RuntimeError) as error:
        return str(error)
    return ""
