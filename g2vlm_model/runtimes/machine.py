# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What this machine is: its CPU, its NVIDIA GPU, the TensorRT on it; found without torch.

Engines are bound to all of it, so the builder and the runtime ask the same functions.
Standard library only; TensorRT itself is imported when it is asked for.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import platform
import re
import resource
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

__all__ = [
    "FLAVOURS",
    "Gpu",
    "GpuMissingError",
    "TensorRT",
    "cpu_facts",
    "cpu_threads",
    "find_gpu",
    "find_tensorrt",
    "free_memory",
    "give_free_blocks_back",
    "keep_no_large_blocks",
    "package_version",
]

CPUINFO = Path("/proc/cpuinfo")
OWN_STATUS = Path("/proc/self/status")
MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")
_M_MMAP_THRESHOLD, _LARGE_BLOCK = -3, 8 << 20
TOPOLOGY = Path("/sys/devices/system/cpu")


def cpu_facts() -> tuple[str, frozenset[str]]:
    """Name and instruction sets as the kernel says them; no sets where it does not."""
    text = _read(CPUINFO)
    flags = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    name = re.search(r"^model name\s*:(.*)$", text, re.MULTILINE)
    return (
        name.group(1).strip() if name else platform.processor() or "CPU",
        frozenset(flags.group(1).split()) if flags else frozenset(),
    )


def free_memory() -> int | None:
    """Bytes that this process can still take; None where unknown.

    Within the container's limit, and within its own of data (`ulimit -d`, RLIMIT_DATA).
    """
    found = [_left(*(CGROUP / name for name in names)) for names in _LIMITS]
    found.append(_left_of_own())
    if available := re.search(r"^MemAvailable:\s*(\d+) kB$", _read(MEMINFO), re.MULTILINE):
        found.append(int(available[1]) * 1024)
    known = [size for size in found if size is not None]
    return min(known) if known else None


def _read(file: Path) -> str:
    """What the kernel says there; nothing where it does not."""
    try:
        return file.read_text(encoding="utf-8")
    except OSError:
        return ""


# Limit and use of a container: version 2 of the kernel's control groups, and version 1.
_LIMITS = (
    ("memory.max", "memory.current", "memory.stat"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"),
)


def _left(limit: Path, used: Path, statistics: Path) -> int | None:
    """What a limit leaves; None where there is none. Cached files count as free: they give way."""
    try:
        most, taken = limit.read_text(encoding="utf-8").strip(), int(used.read_text("utf-8"))
        cached = re.search(r"^inactive_file (\d+)$", statistics.read_text("utf-8"), re.MULTILINE)
    except (OSError, ValueError):
        return None
    if not most.isdigit():  # "max"
        return None
    return max(0, int(most) - taken + (int(cached[1]) if cached else 0))


def _left_of_own() -> int | None:
    """What RLIMIT_DATA leaves, which counts what is private and writable (getrlimit(2))."""
    most, _ = resource.getrlimit(resource.RLIMIT_DATA)
    if most == resource.RLIM_INFINITY:
        return None
    taken = re.search(r"^VmData:\s*(\d+) kB$", _read(OWN_STATUS), re.MULTILINE)
    return None if taken is None else max(0, most - int(taken[1]) * 1024)


def keep_no_large_blocks() -> bool:
    """Have the C library give blocks of megabytes back to the system as soon as they are freed.

    glibc keeps what is freed below a threshold that grows with what is freed, up to 32 MiB
    (mallopt(3), M_MMAP_THRESHOLD), in heaps that smaller blocks hold open; named once, it stays.
    For a process that holds gigabytes of weights and makes passes of seconds: each large block is
    then new pages.

    Returns:
        Whether this C library has such a thing.
    """
    try:
        return bool(ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE_BLOCK))
    except (OSError, AttributeError):  # musl, macOS
        return False


def give_free_blocks_back() -> bool:
    """Have the C library give what is free in its heaps back to the system (malloc_trim(3)).

    Behind loading: what weights were converted in lies in pieces between them.

    Returns:
        Whether this C library has such a thing.
    """
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError):  # musl, macOS
        return False
    return True


def package_version(name: str) -> str:
    """Of an installed package; "none" where it is not."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"


def cpu_threads() -> int:
    """Threads of one graph: OMP_NUM_THREADS, else the physical cores that this process may use."""
    wanted = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if wanted.isdigit() and int(wanted) > 0:
        return int(wanted)
    everything = range(os.cpu_count() or 1)
    usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else everything
    return max(1, len({_core(number) for number in usable}))


def _core(number: int) -> str:
    """Names the physical core of a logical one."""
    try:
        siblings = TOPOLOGY / f"cpu{number}" / "topology" / "thread_siblings_list"
        return siblings.read_text(encoding="utf-8").strip()
    except OSError:  # a system without this folder: every logical core counts
        return str(number)


FLAVOURS = ("tensorrt", "tensorrt_rtx")  # in the order in which "auto" tries them
DRIVER_FILE = Path("/proc/driver/nvidia/version")
CUDA_LIBRARY = "libcuda.so.1"
CC_MAJOR, CC_MINOR = 75, 76  # CUdevice_attribute
NAME_BYTES = 256


class GpuMissingError(RuntimeError):
    """There is no such CUDA device; the text says why."""


@dataclass(frozen=True)
class Gpu:
    """A CUDA device; `driver` is the kernel module's version, or CUDA's where that is not known."""

    index: int
    name: str
    compute_capability: str
    driver: str

    @property
    def target(self) -> str:
        """The capability as compilers write it, "sm87"."""
        return "sm" + self.compute_capability.replace(".", "")


@dataclass(frozen=True)
class TensorRT:
    """An installed TensorRT.

    Args:
        api: The Python module; 10.x, 11.x and RTX differ in what it has: ask with `hasattr`.
        name: Of `FLAVOURS`.
        version: All parts.
    """

    api: Any
    name: str
    version: str

    @property
    def compiles_ahead(self) -> bool:
        """Whether it compiles for named GPUs on a machine that has none (TensorRT-RTX)."""
        return hasattr(self.api.IBuilderConfig, "set_compute_capability")

    @property
    def opset(self) -> int:
        """The opset to export for: 23 where attentions and norms are read as one node each."""
        numbers = tuple(int(part) for part in re.findall(r"\d+", self.version)[:2])
        return 23 if self.name == "tensorrt_rtx" or numbers >= (10, 15) else 18

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


def find_tensorrt(flavour: str = "auto") -> TensorRT:
    """Import a TensorRT of `FLAVOURS`, or for "auto" the first of them that is installed.

    Raises:
        ValueError: No such flavour.
        ModuleNotFoundError: None is installed, or its libraries cannot be loaded.
    """
    if flavour not in ("auto", *FLAVOURS):
        raise ValueError(f"flavour is {flavour!r}, expected auto or one of {list(FLAVOURS)}")
    problems = []
    for name in FLAVOURS if flavour == "auto" else (flavour,):
        try:
            api = importlib.import_module(name)
        except (ImportError, OSError) as error:  # OSError: a library that it loads is missing
            problems.append(f"{name}: {error}")
            continue
        return TensorRT(api, name, str(api.__version__))
    raise ModuleNotFoundError(
        f"no TensorRT can be imported ({'; '.join(problems)}); on a Jetson it comes with JetPack "
        "(apt install python3-libnvinfer, and a virtual environment that sees the system's "
        "packages), elsewhere: pip install 'g2vlm_ros[tensorrt]' or 'g2vlm_ros[tensorrt-rtx]'",
        name=FLAVOURS[0],
    )


@cache
def find_gpu(index: int = 0) -> Gpu:
    """Ask the CUDA driver for a device.

    Raises:
        GpuMissingError: No driver, no device, or not that many.
    """
    try:
        cuda = ctypes.CDLL(CUDA_LIBRARY)
    except OSError as error:
        raise GpuMissingError(f"no CUDA driver: {error}") from error
    _call(cuda, "cuInit", 0)
    count = ctypes.c_int()
    _call(cuda, "cuDeviceGetCount", ctypes.byref(count))
    if index >= count.value:
        raise GpuMissingError(f"CUDA device {index} is not there, the driver has {count.value}")
    device, major, minor, cuda_version = (ctypes.c_int() for _ in range(4))
    _call(cuda, "cuDeviceGet", ctypes.byref(device), index)
    name = ctypes.create_string_buffer(NAME_BYTES)
    _call(cuda, "cuDeviceGetName", name, NAME_BYTES, device)
    _call(cuda, "cuDeviceGetAttribute", ctypes.byref(major), CC_MAJOR, device)
    _call(cuda, "cuDeviceGetAttribute", ctypes.byref(minor), CC_MINOR, device)
    _call(cuda, "cuDriverGetVersion", ctypes.byref(cuda_version))
    cuda_name = f"CUDA {cuda_version.value // 1000}.{cuda_version.value % 1000 // 10}"
    driver = _kernel_module_version() or cuda_name
    return Gpu(index, name.value.decode(errors="replace"), f"{major.value}.{minor.value}", driver)


def _kernel_module_version(file: Path = DRIVER_FILE) -> str:
    """Version of the driver's kernel module; "" where the system does not say."""
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    found = re.search(r"^NVRM version:.*?\s(\d{3,}\.\d+(?:\.\d+)*)\s", text, re.MULTILINE)
    return found[1] if found else ""


def _call(cuda: ctypes.CDLL, function: str, *arguments: Any) -> None:
    code = getattr(cuda, function)(*arguments)
    if code:
        raise GpuMissingError(f"the CUDA driver says error {code} in {function}")
