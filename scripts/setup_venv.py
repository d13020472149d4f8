# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Make or refresh `.venv`: packages, ROS 2, the project's interfaces, the project itself.

Each step remembers a digest of its inputs, and the next steps hang on it: what has not changed
is not done again. Where a ROS 2 distribution is sourced, that one is used and nothing that it
brings is replaced; elsewhere ROS 2 comes from the package index: Kilted, or the distribution that
`--distro` names, in an environment of its own, `.venv-DISTRO`. Writes nothing outside the virtual
environment but its lock. Standard library only: it runs before anything is installed.

Usage: python3 scripts/setup_venv.py [--dev] [--distro jazzy]
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from setup_host import Host, SetupError, clean_environment, find_host, run_logged

REPO = Path(__file__).resolve().parents[1]
REQUIREMENTS = REPO / "requirements"
OVERLAY = REPO / "scripts" / "overlay"
ROS_NAME = "g2vlm_ros"
DEFAULT_DISTRO = "kilted"
ON_THE_INDEX = ("jazzy", "kilted")  # distributions with a folder of requirements
# Quietly: some packages ship templates and tests that no Python compiles.
COMPILE = (
    "import compileall, sysconfig; "
    "compileall.compile_dir(sysconfig.get_path('purelib'), quiet=2, workers=0)"
)
COLCON = "import sys; from colcon_core.command import main; sys.exit(main())"


@dataclass(frozen=True)
class Step:
    """One part of the set-up.

    Args:
        name, title: For its stamp, and for the terminal.
        inputs: What it depends on, besides the steps before: files, or facts in words.
        action: What it does.
        aside: No later step hangs on it.
    """

    name: str
    title: str
    inputs: tuple[str | Path, ...]
    action: Callable[[Setup], None]
    aside: bool = False


class Setup:
    """The virtual environment that is being made.

    Args:
        host: Interpreter and ROS 2 of this machine.
        venv: Folder of the virtual environment.
        distro: Distribution that comes from the index where none is sourced.
    """

    def __init__(self, host: Host, venv: Path, distro: str = DEFAULT_DISTRO) -> None:
        self.host = host
        self.venv = venv
        self.distro = distro
        self.python = venv / "bin" / "python"
        self.logs = venv / "log" / "setup"
        self.env = clean_environment(os.environ)
        self.env["VIRTUAL_ENV"] = str(venv)
        self.env["PATH"] = f"{venv / 'bin'}{os.pathsep}{self.env['PATH']}"
        if not host.sourced:
            self.env.update(AMENT_PREFIX_PATH=str(venv), CMAKE_PREFIX_PATH=str(venv))
            self.env.update(ROS_DISTRO=distro, ROS_VERSION="2", ROS_PYTHON_VERSION="3")

    def run(self, name: str, command: Iterable[str | Path]) -> None:
        """Run a command with its progress on one line and its output in a log file."""
        # Not in the repository: its colcon_defaults.yaml is for a robot's workspace.
        words = [str(part) for part in command]
        run_logged(words, self.venv, self.env, self.logs / f"{name}.log")

    def ask(self, code: str) -> str:
        """Return what a line of Python prints in the virtual environment."""
        command = [str(self.python), "-c", code]
        done = subprocess.run(command, env=self.env, cwd=self.venv, capture_output=True, text=True)
        if done.returncode:
            raise SetupError(f"{' '.join(command)} failed:\n{done.stderr}")
        return done.stdout.strip()

    def pip(self, name: str, *files: str) -> None:
        """Install requirement files; beside a sourced ROS 2 only what is absent."""
        command: list[str | Path] = [self.python, "-m", "pip", "install", "--no-input"]
        command.append("--no-compile")  # done below, on all cores: half of what pip takes
        if self.host.sourced:
            wanted = self._absent(files)
            if not wanted:
                return
            command += wanted
        else:
            for file in files:
                command += ["-r", REQUIREMENTS / file]
            for folder in (REQUIREMENTS, REQUIREMENTS / self.distro):
                command += ["-c", folder / "constraints.txt"]
        self.run(name, command)
        self.run(f"{name}-compile", [self.python, "-c", COMPILE])

    def _absent(self, files: Iterable[str]) -> list[str]:
        listing = "import importlib.metadata as m; print([d.name for d in m.distributions()])"
        present = {
            name.lower().replace("_", "-") for name in re.findall(r"'(.+?)'", self.ask(listing))
        }
        lines = [line for file in files for line in (REQUIREMENTS / file).read_text().splitlines()]
        wanted = [line for line in lines if line and not line.startswith("#")]
        return [line for line in wanted if re.split(r"[=\[;<> ]", line)[0].lower() not in present]

    def colcon(self, name: str, *arguments: str | Path) -> None:
        """Build packages into the virtual environment itself."""
        command: list[str | Path] = [self.python, "-c", COLCON]
        command += ["--log-base", self.venv / "log", "build", "--merge-install"]
        command += ["--install-base", self.venv, "--build-base", self.venv / "build"]
        self.run(name, [*command, *arguments])


def make_venv(setup: Setup) -> None:
    """Create the environment, anew where it belongs to another interpreter or place."""
    if not (setup.python.exists() and _is_usable(setup)):
        flags = ["--clear", *(["--system-site-packages"] if setup.host.sourced else [])]
        setup.run("venv", [setup.host.python, "-m", "venv", *flags, setup.venv])
    _write_env_file(setup)


def _is_usable(setup: Setup) -> bool:
    try:
        prefix, version = setup.ask(
            "import sys; print(sys.prefix, '%d.%d' % sys.version_info[:2])"
        ).split()
    except (SetupError, ValueError, OSError):
        return False
    config = (setup.venv / "pyvenv.cfg").read_text()
    shared = "include-system-site-packages = true" in config
    same = Path(prefix).resolve() == setup.venv.resolve()
    return same and version == setup.host.version and shared == setup.host.sourced


def _write_env_file(setup: Setup) -> None:
    """Write the file that shells and the Makefile source before they use the environment."""
    ros = 'export AMENT_PREFIX_PATH="$VIRTUAL_ENV" CMAKE_PREFIX_PATH="$VIRTUAL_ENV"'
    if setup.host.sourced:
        ros = '[ ! -f "$VIRTUAL_ENV/local_setup.sh" ] || . "$VIRTUAL_ENV/local_setup.sh"'
    text = f"""# Source this file to use the project by hand: . .venv/env.sh
export VIRTUAL_ENV="{setup.venv}"
export PATH="$VIRTUAL_ENV/bin:$PATH"
# Left behind by the interpreter of another environment with ROS 2 wheels, they would make
# this one load that one's libraries.
if [ -n "${{_ROS_WHEELS_BOOTSTRAP_COMPLETE:-}}" ]; then
  unset _ROS_WHEELS_BOOTSTRAP_COMPLETE LD_LIBRARY_PATH
fi
{ros}
"""
    (setup.venv / "env.sh").write_text(text)


def install_packages(setup: Setup) -> None:
    """Install what the node needs and what builds its interfaces."""
    if setup.host.sourced:
        setup.pip("packages", "runtime.txt", "build.txt")
        return
    own = [f"{setup.distro}/{name}" for name in ("ros.txt", "build.txt")]
    setup.pip("packages", "runtime.txt", "build.txt", *own)
    point_exports_here(setup)


def point_exports_here(setup: Setup) -> None:
    """Replace include folders of the machine that built the wheels by those of this one."""
    include = setup.ask("import sysconfig; print(sysconfig.get_path('include'))")
    numpy_include = setup.ask("import numpy; print(numpy.get_include())")
    root = r"/opt/python/cp3\d+-cp3\d+"
    for path in (setup.venv / "share").rglob("*.cmake"):
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
        if "/opt/python/cp3" not in text:
            continue
        text = re.sub(rf"{root}/include/python3\.\d+", include, text)
        text = re.sub(
            rf"{root}/lib/python3\.\d+/site-packages/numpy/_core/include", numpy_include, text
        )
        # A new file and a rename: an installer may have hard-linked this one from its cache.
        new = path.with_suffix(".new")
        new.write_text(text, encoding="utf-8", errors="surrogateescape")
        new.replace(path)


def build_interfaces(setup: Setup) -> None:
    """Build the project's messages, and those of the overlay that cannot be imported."""
    paths = [REPO / "g2vlm_interfaces"]
    for overlaid in sorted(OVERLAY.iterdir()):
        probe = (
            f"import importlib.util as u; print(int(u.find_spec('{overlaid.name}') is not None))"
        )
        built_here = (setup.venv / "build" / overlaid.name).is_dir()
        if built_here or setup.ask(probe) == "0":
            paths.append(overlaid)
    flags = ["-DBUILD_TESTING=OFF", *(["-GNinja"] if setup.host.ninja else [])]
    setup.env.setdefault("CMAKE_BUILD_PARALLEL_LEVEL", str(os.cpu_count() or 1))
    setup.colcon("interfaces", "--base-paths", *paths, "--cmake-args", *flags)


def install_project(setup: Setup) -> None:
    """Install the node by links into the sources: edits need no further set-up."""
    setup.colcon(
        "project", "--symlink-install", "--base-paths", REPO, "--packages-select", ROS_NAME
    )
    site = Path(setup.ask("import sysconfig; print(sysconfig.get_path('purelib'))"))
    (site / f"{ROS_NAME}_sources.pth").write_text(f"{setup.venv / 'build' / ROS_NAME}\n")
    command = setup.venv / "bin" / "g2vlm"
    command.unlink(missing_ok=True)
    command.symlink_to(Path("..") / "lib" / ROS_NAME / "g2vlm")


def remove_copies(setup: Setup) -> None:
    """Take away what `pip install .` left in the environment: it hides the sources from then on."""
    if not any(setup.venv.glob(f"lib/python3*/site-packages/{ROS_NAME}-*.dist-info")):
        return  # the links of colcon have none
    print(
        "a copy of the project that pip installed hides its sources and is removed; "
        f"for an extra say: pip install '{ROS_NAME}[EXTRA]'",
        flush=True,
    )
    setup.run("project", [setup.python, "-m", "pip", "uninstall", "--yes", "-q", ROS_NAME])
    (setup.venv / ".setup" / "project").unlink(missing_ok=True)


def install_dev(setup: Setup) -> None:
    """Install what tests, lint and type checks need; a sourced ROS 2 brings its own linters."""
    setup.pip("dev", "dev.txt", *([] if setup.host.sourced else [f"{setup.distro}/dev.txt"]))


def tree(*folders: Path) -> tuple[Path, ...]:
    """Files below some folders, in a fixed order."""
    return tuple(path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file())


def steps(host: Host, with_dev: bool, distro: str = DEFAULT_DISTRO) -> list[Step]:
    """What there is to do, in order."""
    source = f"ROS 2 {host.distro} of this shell"
    packages = ["runtime.txt", "build.txt"]
    if not host.sourced:
        source = f"ROS 2 {distro.title()} from the index"
        own = ("ros.txt", "build.txt", "constraints.txt")
        packages += ["constraints.txt", *(f"{distro}/{name}" for name in own)]
    inside = [path.relative_to(REPO).as_posix() for path in tree(REPO / "launch")]
    inside += [path.relative_to(REPO).as_posix() for path in sorted(REPO.glob("*/__init__.py"))]
    static = tuple(REPO / name for name in ("setup.py", "setup.cfg", "package.xml"))
    tools = ["dev.txt", *([] if host.sourced else [f"{distro}/dev.txt"])]
    needs = tuple(REQUIREMENTS / name for name in tools)
    dev = Step("dev", "pytest, ruff, mypy", needs, install_dev, aside=True)
    return [
        Step("venv", "virtual environment", (str(host), Path(__file__)), make_venv),
        Step(
            "packages",
            f"packages, {source} (some minutes the first time)",
            tuple(REQUIREMENTS / name for name in packages),
            install_packages,
        ),
        *([dev] if with_dev else []),
        Step(
            "interfaces",
            "messages and services (half a minute the first time)",
            tree(REPO / "g2vlm_interfaces", OVERLAY),
            build_interfaces,
        ),
        Step("project", "the node", (*static, *inside), install_project),
    ]


def digest(previous: str, inputs: Iterable[str | Path]) -> str:
    """Fold the inputs of a step, names and contents, into the digest of the one before."""
    summary = hashlib.sha256(previous.encode())
    for item in inputs:
        summary.update(b"\0" + (item.read_bytes() if isinstance(item, Path) else item.encode()))
        if isinstance(item, Path):
            summary.update(item.relative_to(REPO).as_posix().encode())
    return summary.hexdigest()


def bring_up_to_date(setup: Setup, todo: list[Step]) -> None:
    """Do the steps whose inputs have changed; a second set-up at the same time waits.

    Raises:
        SetupError: A step failed.
    """
    setup.venv.mkdir(exist_ok=True)
    with (setup.venv.parent / f"{setup.venv.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        remove_copies(setup)
        done = ""
        for number, step in enumerate(todo, 1):
            wanted = digest(done, step.inputs)
            done = done if step.aside else wanted
            stamp = setup.venv / ".setup" / step.name
            if stamp.is_file() and stamp.read_text() == wanted:
                continue
            print(f"[{number}/{len(todo)}] {step.title}", flush=True)
            step.action(setup)
            stamp.parent.mkdir(exist_ok=True)
            stamp.write_text(wanted)


def choose_distro(host: Host, asked: str) -> str:
    """The distribution that the environment gets.

    Args:
        host: What was found; a sourced distribution is the one that is used.
        asked: Name that somebody gave; "" for none.

    Raises:
        SetupError: Another one is sourced, or the index has no wheels of it.
    """
    if host.sourced:
        if asked and asked != host.distro:
            raise SetupError(
                f"ROS_DISTRO={asked}, but this shell has sourced {host.distro}; run it in a shell "
                "that has sourced nothing"
            )
        return host.distro
    if asked and asked not in ON_THE_INDEX:
        raise SetupError(
            f"ROS_DISTRO={asked}: the package index has {' and '.join(ON_THE_INDEX)}; source an "
            "installation of the others"
        )
    return asked or DEFAULT_DISTRO


def main(argv: list[str]) -> int:
    """Bring the environment up to date; 0 where it is."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--dev", action="store_true", help="with pytest, ruff and mypy")
    parser.add_argument("--distro", default="", help="ROS 2 of this name, in .venv-DISTRO")
    options = parser.parse_args(argv)
    try:
        host = find_host(os.environ, needs_build=True)
        distro = choose_distro(host, options.distro)
        venv = REPO / (f".venv-{options.distro}" if options.distro else ".venv")
        bring_up_to_date(Setup(host, venv, distro), steps(host, options.dev, distro))
    except SetupError as error:
        print(f"set-up: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nset-up: interrupted; the next run goes on from here", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
