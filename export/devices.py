# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Machines that a plan is made for: how much memory there is, and what is gone before the node.

On a Jetson processor and graphics share one memory, so the weights, the builder's copies and the
desktop all come out of the same one. A card has its own; what the host holds is not counted.

None of these numbers was read off such a machine here. Memory of the Jetsons is what
`tegrastats` prints on each module (forum posts), less than is soldered on, because firmware keeps
a part. `g2vlm export plan --device here` asks the machine that it runs on instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["DEVICES", "Device", "find_device", "this_machine"]

MIB = 2**20
MEMINFO = Path("/proc/meminfo")
COMPATIBLE = Path("/proc/device-tree/compatible")
MODEL = Path("/proc/device-tree/model")

# JetPack's services without a desktop [estimate], and what its GNOME desktop takes: disabling it
# gives 800 MB back according to NVIDIA's advice for Jetsons.
_JETPACK_MIB, _GNOME_MIB = 900, 800
# Driver and channels of a card [estimate], and a desktop with a browser on it [estimate].
_DRIVER_MIB, _DESKTOP_MIB = 300, 700


@dataclass(frozen=True)
class Device:
    """Memory of one machine.

    Args:
        name: For `--device`.
        memory: Bytes that the system can use.
        system: Of those, what the system takes without a desktop.
        desktop: What a desktop takes on top.
        kind: "jetson": one memory for all; "card": a graphics card's own; "cpu".
    """

    name: str
    memory: int
    system: int
    desktop: int
    kind: str

    def free(self, headless: bool) -> int:
        """Bytes that are left for the node."""
        return self.memory - self.system - (0 if headless else self.desktop)

    @property
    def shared(self) -> bool:
        """Host and device memory are the same."""
        return self.kind != "card"


def _jetson(name: str, memory_mib: int) -> Device:
    return Device(name, memory_mib * MIB, _JETPACK_MIB * MIB, _GNOME_MIB * MIB, "jetson")


def _card(gib: int) -> Device:
    return Device(f"rtx-{gib}", gib * 1024 * MIB, _DRIVER_MIB * MIB, _DESKTOP_MIB * MIB, "card")


DEVICES = {
    device.name: device
    for device in (
        _jetson("orin-nano-4", 3_430),
        _jetson("orin-nano-8", 7_620),
        _jetson("orin-nx-8", 7_620),
        _jetson("orin-nx-16", 15_656),
        _jetson("agx-orin-32", 30_588),
        _jetson("agx-orin-64", 62_841),
        _jetson("thor-128", 125_772),
        *(_card(gib) for gib in (8, 12, 16, 24)),
    )
}


def find_device(name: str) -> Device:
    """Return a device by name; "here" is this machine, "cpu" this machine's processor.

    Raises:
        ValueError: Unknown name.
    """
    if name in ("here", "cpu"):
        return this_machine(cpu=name == "cpu")
    if name not in DEVICES:
        known = ", ".join((*DEVICES, "here", "cpu"))
        raise ValueError(f"device is {name!r}, expected one of {known}")
    return DEVICES[name]


def this_machine(cpu: bool = False) -> Device:
    """What this machine has and what is in use now, this process included.

    Args:
        cpu: Plan for its processor, whatever graphics it has.
    """
    if not cpu and not is_jetson():
        card = _first_card()
        if card is not None:
            return card
    kib = {}
    for line in MEMINFO.read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(":")
        kib[name] = int(value.split()[0])
    total, available = kib["MemTotal"] * 1024, kib["MemAvailable"] * 1024
    if is_jetson() and not cpu:
        board = MODEL.read_text(encoding="ascii").rstrip("\0\n")
        return Device(board, total, total - available, 0, "jetson")
    return Device("cpu", total, total - available, 0, "cpu")


def is_jetson() -> bool:
    """Whether this machine is a Jetson."""
    return COMPATIBLE.is_file() and b"nvidia,tegra" in COMPATIBLE.read_bytes()


def _first_card() -> Device | None:
    import torch

    if not torch.cuda.is_available():
        return None
    free, total = torch.cuda.mem_get_info(0)
    return Device(torch.cuda.get_device_name(0), total, total - free, 0, "card")
