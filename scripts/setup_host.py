# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What this machine offers to the set-up: interpreter, ROS 2, build tools. And running commands.

Standard library only.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

OLDEST, NEWEST = (3, 10), (3, 13)  # interpreters that the index has ROS 2 wheels for
OLDEST_CMAKE = (3, 20)
GUARD = "_ROS_WHEELS_BOOTSTRAP_COMPLETE"


class SetupError(RuntimeError):
    """The set-up cannot go on; the text says why and what to do."""


@dataclass(frozen=True)
class Host:
    """What was found.

    Args:
        python: Interpreter that the virtual environment is made from.
        version: Its version, "3.12".
        distro: Name of the sourced ROS 2 distribution; "" where none is.
        ninja: Whether ninja is there; else make builds the messages.
    """

    python: str
    version: str
    distro: str
    ninja: bool

    @property
    def sourced(self) -> bool:
        """Whether a ROS 2 distribution is sourced."""
        return bool(self.distro)


def clean_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return a copy without what another environment's interpreter left in it.

    The interpreter of an environment with ROS 2 wheels sets a guard and its own library path
    for all its children; with them this environment would load that one's libraries.
    """
    env = dict(environ)
    if env.pop(GUARD, None) is not None:
        env.pop("LD_LIBRARY_PATH", None)
    env.pop("PYTHONHOME", None)
    return env


def sourced_prefix(environ: Mapping[str, str]) -> Path | None:
    """Prefix of a sourced ROS 2 that has rclpy, or None; virtual environments do not count."""
    if not environ.get("ROS_DISTRO"):
        return None
    for entry in environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep):
        prefix = Path(entry)
        if entry and (prefix / "share" / "rclpy").is_dir() and not (prefix / "pyvenv.cfg").exists():
            return prefix
    return None


def find_host(environ: Mapping[str, str], *, needs_build: bool) -> Host:
    """Look round.

    Raises:
        SetupError: Something is missing; one line names all of it and the command that
            installs it.
    """
    prefix = sourced_prefix(environ)
    python = _python_of(prefix) if prefix else _python_for_wheels()
    missing: list[tuple[str, str]] = []
    if python is None:
        wanted = f"python {OLDEST[0]}.{OLDEST[1]} to {NEWEST[0]}.{NEWEST[1]}"
        raise SetupError(_sentence([(wanted, "python3 python3-venv python3-dev")]))
    version = _answer(python, "import sys; print('%d.%d' % sys.version_info[:2])") or ""
    if _answer(python, "import venv, ensurepip; print(1)") is None:
        missing.append(("the venv module of " + python, f"python{version}-venv"))
    if needs_build:
        missing += _missing_build_tools(python, version)
    if prefix:
        for module in ("cv2", "numpy", "sensor_msgs", "nav_msgs"):
            if _answer(python, f"import {module}; print(1)") is None:
                missing.append((f"{module} of {python}", _apt_name(module, environ["ROS_DISTRO"])))
    if missing:
        raise SetupError(_sentence(missing))
    distro = environ["ROS_DISTRO"] if prefix else ""
    return Host(python, version, distro, shutil.which("ninja") is not None)


def _missing_build_tools(python: str, version: str) -> list[tuple[str, str]]:
    missing = []
    found = _cmake_version()
    if found is None or found < OLDEST_CMAKE:
        have = "" if found is None else f" (found {found[0]}.{found[1]})"
        missing.append((f"cmake >= {OLDEST_CMAKE[0]}.{OLDEST_CMAKE[1]}{have}", "cmake"))
    if not any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), "g++", "c++")):
        missing.append(("a C++ compiler", "g++"))
    if not (shutil.which("ninja") or shutil.which("make")):
        missing.append(("ninja or make", "ninja-build"))
    include = _answer(python, "import sysconfig; print(sysconfig.get_path('include'))") or ""
    if not (Path(include) / "Python.h").is_file():
        missing.append((f"Python.h of python {version}", f"python{version}-dev"))
    return missing


def _apt_name(module: str, distro: str) -> str:
    own = {"cv2": "python3-opencv", "numpy": "python3-numpy"}
    return own.get(module, f"ros-{distro}-{module.replace('_', '-')}")


def _sentence(missing: list[tuple[str, str]]) -> str:
    names = ", ".join(what for what, _ in missing)
    packages = " ".join(dict.fromkeys(package for _, package in missing))
    return f"missing: {names}; install with: sudo apt install {packages}"


def _cmake_version() -> tuple[int, int] | None:
    cmake = shutil.which("cmake")
    if cmake is None:
        return None
    said = subprocess.run([cmake, "--version"], capture_output=True, text=True, check=False).stdout
    match = re.search(r"(\d+)\.(\d+)", said)
    return (int(match[1]), int(match[2])) if match else None


def _answer(python: str, code: str) -> str | None:
    """What a line of Python prints; None where it fails."""
    try:
        done = subprocess.run(
            [python, "-c", code], capture_output=True, text=True, env=clean_environment(os.environ)
        )
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _python_of(prefix: Path) -> str | None:
    """The interpreter that a ROS 2 distribution was built for."""
    for package in sorted(prefix.glob("**/python3.*/*-packages/rclpy")):
        name = package.parent.parent.name
        for candidate in (f"/usr/bin/{name}", shutil.which(name)):
            if candidate and _answer(candidate, "import rclpy; print(1)"):
                return candidate
    return None


def _python_for_wheels() -> str | None:
    """This interpreter where there are wheels for it, else another one that is installed."""
    if OLDEST <= sys.version_info[:2] <= NEWEST:
        return sys.executable
    for minor in range(NEWEST[1], OLDEST[1] - 1, -1):
        candidate = shutil.which(f"python3.{minor}")
        if candidate and _answer(candidate, "print(1)"):
            return candidate
    return None


def run_logged(command: list[str], cwd: Path, env: Mapping[str, str], log: Path) -> None:
    """Run a command: its last line and the time on the terminal, all of it in a log file.

    Raises:
        SetupError: It failed; the text holds the end of its output.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    start = last_shown = time.monotonic()
    interactive = sys.stdout.isatty()
    period_s = 0.2 if interactive else 20.0
    tail: list[str] = []
    with log.open("w") as file, subprocess.Popen(
        command, cwd=cwd, env=dict(env), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, errors="replace",
    ) as process:  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            file.write(line)
            tail = [*tail[-24:], line.rstrip()]
            now = time.monotonic()
            if line.strip() and now - last_shown > period_s:
                last_shown = now
                text = f"      {now - start:4.0f} s  {line.strip()[:80]}"
                print(
                    f"\r{text:<96}" if interactive else text,
                    end="" if interactive else "\n",
                    flush=True,
                )
    if interactive:
        print(f"\r{'':<96}\r", end="", flush=True)
    if process.returncode:
        end = "\n".join(tail)
        raise SetupError(f"{' '.join(command[:6])} ... failed ({log}):\n{end}")
