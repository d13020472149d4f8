# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Checks of the machine: shared memory, versions, what executes the model."""

from __future__ import annotations

from collections.abc import Iterator

from g2vlm_ros.doctor.findings import Finding
from g2vlm_ros.doctor.seen import Seen
from g2vlm_ros.launch_arguments import PROFILE_VARIABLE

__all__ = ["check_libraries", "check_profile", "check_runtime", "check_shared_memory"]

_LARGE = 400_000  # bytes; above, the default segment of 512 kB loses best-effort messages
_MB = 2**20
_NEEDED = 256 * _MB  # of shared memory, for eight participants with the profile
_SHARE = 0.25  # of shared memory that may be remains
_SHOWN = 4


def check_profile(seen: Seen) -> Iterator[Finding]:
    """Large messages between processes of which some have no profile for them."""
    largest = max(seen.heard.values(), key=lambda item: item.largest, default=None)
    if not seen.is_live or largest is None or largest.largest < _LARGE:
        return
    without = [item for item in seen.machine.participants if not item.has_profile]
    if without:
        shown = ", ".join(f"{item.pid} ({item.command})" for item in without[:_SHOWN])
        profile = seen.machine.profile or "<share of g2vlm_ros>/launch/fastdds_shm.xml"
        yield Finding(
            "SHM_PROFILE",
            largest.topic,
            f"its messages have {largest.largest / 1e6:.1f} MB, and {len(without)} processes run "
            f"without a shared-memory profile, which lose such: {shown}",
            f"export {PROFILE_VARIABLE}={profile}",
            ("NO_IMAGES", "UNSYNCHRONISED"),
        )


def check_shared_memory(seen: Seen) -> Iterator[Finding]:
    """Shared memory that is full, of remains or otherwise."""
    machine = seen.machine
    if not seen.is_live or not machine.shm_total:
        return
    full = machine.shm_free < min(_NEEDED, machine.shm_total)
    said = f"{machine.shm_free / _MB:.0f} of {machine.shm_total / _MB:.0f} MB are free"
    if machine.remains and (full or machine.remains > _SHARE * machine.shm_total):
        yield Finding(
            "SHM_REMAINS",
            str(machine.shared_memory),
            f"{said}, {machine.remains / _MB:.0f} MB are files of killed processes",
            "fastdds shm clean",
        )
    elif full and machine.shm_free < _NEEDED:
        yield Finding(
            "SHM_FULL",
            str(machine.shared_memory),
            f"{said}; a participant with the profile takes 32 MB",
            "start the container with --shm-size=1g, or mount -o remount,size=1g /dev/shm",
        )


def check_libraries(seen: Seen) -> Iterator[Finding]:
    """Libraries that are older than this project asks for."""
    for name, installed, required in seen.machine.outdated:
        yield Finding(
            "OLD_LIBRARY",
            name,
            f"version {installed} is installed, {required} or later is asked for",
            f"pip install --upgrade '{name}>={required}'",
            ("RUNTIME_FAILED", "RUNTIME_FALLBACK"),
        )


def check_runtime(seen: Seen) -> Iterator[Finding]:
    """A runtime, device or provider that is asked for and cannot run here."""
    params, problem = seen.params, seen.machine.runtime_problem
    if problem:
        yield Finding(
            "RUNTIME_MISSING",
            f"runtime {params.runtime}, device {params.device}",
            problem,
            "device: auto with runtime: auto runs what this machine has"
            if (params.runtime, params.device) != ("auto", "auto")
            else "device: cpu, or install what is named here",
            ("RUNTIME_FALLBACK", "RUNTIME_FAILED", "ENGINE_BUILDING"),
        )
