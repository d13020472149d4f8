"""What this CPU is, and how many threads to use of it. Standard library only."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

__all__ = ["cpu_facts", "cpu_threads"]

CPUINFO = Path("/proc/cpuinfo")
TOPOLOGY = Path("/sys/devices/system/cpu")


def cpu_facts() -> tuple[str, frozenset[str]]:
    """Name and instruction sets as the kernel says them; no sets where it does not."""
    text = CPUINFO.read_text(encoding="utf-8") if CPUINFO.is_file() else ""
    flags = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    name = re.search(r"^model name\s*:(.*)$", text, re.MULTILINE)
    return (
        name.group(1).strip() if name else platform.processor() or "CPU",
        frozenset(flags.group(1).split()) if flags else frozenset(),
    )


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
        return siblings.read_text(encoding="ascii").strip()
    except OSError:  # a system without this folder: every logical core counts
        return str(number)
