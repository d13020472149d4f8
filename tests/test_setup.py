# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The set-up: what it says where something is missing, and what it does again."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.helpers import REPO

sys.path.insert(0, str(REPO / "scripts"))

import setup_host
import setup_venv

HEADERS = "import sysconfig; print(sysconfig.get_path('include'))"


def tool(folder: Path, name: str, text: str) -> None:
    """A program of the given name that prints the given text."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{text}'\n")
    path.chmod(0o755)


def run_setup(path: str, repo: Path) -> subprocess.CompletedProcess[str]:
    """Run the set-up script of a copied repository with only the given programs."""
    environment = {"PATH": path, "HOME": str(repo)}
    command = [sys.executable, "-S", str(repo / "scripts" / "setup_venv.py")]
    return subprocess.run(command, env=environment, capture_output=True, text=True, cwd=repo)


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A repository of its own: a failing test must not touch the real environment."""
    repo = tmp_path / "repo"
    for name in ("setup_venv.py", "setup_host.py"):
        target = repo / "scripts" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text((REPO / "scripts" / name).read_text(encoding="utf-8"))
    return repo


def test_all_missing_tools_are_named_in_one_line_with_the_command_that_installs_them(
    copied: Path,
) -> None:
    done = run_setup("/nonexistent", copied)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1, done.stderr
    assert "missing: cmake >= 3.20, a C++ compiler, ninja or make" in done.stderr
    assert "sudo apt install cmake g++ ninja-build" in done.stderr
    assert not (copied / ".venv").exists()


def test_an_old_cmake_is_named_with_its_version(copied: Path, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    for name, text in {"cmake": "cmake version 3.16.3", "g++": "", "make": ""}.items():
        tool(tools, name, text)
    done = run_setup(str(tools), copied)
    assert done.returncode == 1
    assert (
        "missing: cmake >= 3.20 (found 3.16); install with: sudo apt install cmake" in done.stderr
    )


def test_missing_headers_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tools = tmp_path / "tools"
    for name, text in {"cmake": "cmake version 3.25.1", "g++": "", "ninja": ""}.items():
        tool(tools, name, text)
    tool(tools, "python", "/nonexistent/include")
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}/bin{os.pathsep}/usr/bin")
    missing = setup_host._missing_build_tools(str(tools / "python"), "3.12")
    assert missing == [("Python.h of python 3.12", "python3.12-dev")]


def test_this_machine_has_what_it_needs() -> None:
    """The tests run in an environment that the set-up made: it must find its own tools."""
    host = setup_host.find_host(os.environ, needs_build=True)
    assert host.version == "{}.{}".format(*sys.version_info[:2])


def test_traces_of_another_environment_are_removed() -> None:
    inherited = {setup_host.GUARD: "1", "LD_LIBRARY_PATH": "/other/lib", "HOME": "/elsewhere"}
    assert setup_host.clean_environment(inherited) == {"HOME": "/elsewhere"}
    own = {"LD_LIBRARY_PATH": "/usr/local/cuda/lib64"}
    assert setup_host.clean_environment(own) == own


@pytest.mark.parametrize("guard", [True, False])
def test_the_file_to_source_leaves_the_users_own_library_path(tmp_path: Path, guard: bool) -> None:
    host = setup_host.Host(sys.executable, "3.11", "", True)
    setup_venv._write_env_file(setup_venv.Setup(host, tmp_path))
    inherited = {"PATH": os.environ["PATH"], "LD_LIBRARY_PATH": "/some/lib"}
    inherited |= {setup_host.GUARD: "1"} if guard else {}
    command = ["sh", "-c", f". {tmp_path}/env.sh && env"]
    done = subprocess.run(command, env=inherited, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result = dict(line.split("=", 1) for line in done.stdout.splitlines())
    assert result.get("LD_LIBRARY_PATH") == (None if guard else "/some/lib")
    assert setup_host.GUARD not in result
    assert result["PATH"].startswith(f"{tmp_path}/bin:")
    assert result["AMENT_PREFIX_PATH"] == str(tmp_path)


def test_only_a_real_installation_counts_as_sourced(tmp_path: Path) -> None:
    prefix, venv = tmp_path / "ros", tmp_path / "venv"
    for folder in (prefix, venv):
        (folder / "share" / "rclpy").mkdir(parents=True)
    (venv / "pyvenv.cfg").touch()
    environment = {"AMENT_PREFIX_PATH": f"{venv}{os.pathsep}{prefix}", "ROS_DISTRO": "jazzy"}
    assert setup_host.sourced_prefix(environment) == prefix
    assert setup_host.sourced_prefix({**environment, "AMENT_PREFIX_PATH": str(venv)}) is None
    assert setup_host.sourced_prefix({"AMENT_PREFIX_PATH": str(prefix)}) is None


def test_a_step_depends_on_contents_on_names_and_on_the_steps_before(tmp_path: Path) -> None:
    first, second = REPO / "setup.cfg", REPO / "package.xml"
    base = setup_venv.digest("", (first,))
    assert setup_venv.digest("", (first,)) == base
    others = {
        setup_venv.digest("", (second,)),
        setup_venv.digest("", (first, second)),
        setup_venv.digest(base, (first,)),
        setup_venv.digest("", ("setup.cfg",)),
    }
    assert base not in others
    assert len(others) == 4


def test_only_what_changed_is_done_again(tmp_path: Path) -> None:
    calls: list[str] = []

    def step(name: str, *inputs: str | Path) -> setup_venv.Step:
        return setup_venv.Step(name, name, inputs, lambda setup: calls.append(name))

    def fail(setup: setup_venv.Setup) -> None:
        raise setup_host.SetupError("no network")

    aside = replace(step("aside", "e"), aside=True)
    setup = setup_venv.Setup(setup_host.Host(sys.executable, "3.11", "", True), tmp_path / "venv")
    for todo, expected in [
        ([step("one", "a"), step("two", "b")], ["one", "two"]),
        ([step("one", "a"), step("two", "b")], []),
        ([step("one", "a"), step("two", "c")], ["two"]),
        ([step("one", "d"), step("two", "c")], ["one", "two"]),
        ([step("one", "d"), aside, step("two", "c")], ["aside"]),
    ]:
        calls.clear()
        setup_venv.bring_up_to_date(setup, todo)
        assert calls == expected
    with pytest.raises(setup_host.SetupError):
        setup_venv.bring_up_to_date(setup, [setup_venv.Step("three", "three", (), fail)])
    assert not (setup.venv / ".setup" / "three").exists()


@pytest.mark.slow  # makes an environment with pip
def test_a_copy_that_pip_installed_is_taken_away(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    setup = setup_venv.Setup(setup_host.Host(sys.executable, "3.11", "", True), venv)
    (site,) = venv.glob("lib/python3*/site-packages")
    copy, about = site / "g2vlm_model", site / "g2vlm_ros-0.1.0.dist-info"
    for folder in (copy, about):
        folder.mkdir()
    (copy / "__init__.py").touch()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: g2vlm_ros\nVersion: 0.1.0\n")
    (about / "INSTALLER").write_text("pip\n")
    own = [f"{about.name}/{name}" for name in ("METADATA", "INSTALLER", "RECORD")]
    rows = [f"{name},,\n" for name in ("g2vlm_model/__init__.py", *own)]
    (about / "RECORD").write_text("".join(rows))
    calls: list[int] = []
    step = setup_venv.Step("project", "project", ("a",), lambda setup: calls.append(1))
    setup_venv.bring_up_to_date(setup, [step])
    assert not (copy / "__init__.py").exists()
    assert "pip install 'g2vlm_ros[EXTRA]'" in capsys.readouterr().out
    setup_venv.bring_up_to_date(setup, [step])  # nothing is left to take away
    assert calls == [1]


def test_a_failing_command_shows_the_end_of_its_output(tmp_path: Path) -> None:
    code = "print('one'); print('the reason'); raise SystemExit(3)"
    log = tmp_path / "log" / "step.log"
    with pytest.raises(setup_host.SetupError, match=r"the reason"):
        setup_host.run_logged([sys.executable, "-c", code], tmp_path, os.environ, log)
    assert log.read_text() == "one\nthe reason\n"


def test_exported_include_folders_are_replaced_in_new_files(tmp_path: Path) -> None:
    """A package installer may have hard-linked the file from its cache: that one must stay."""
    host = setup_host.Host(sys.executable, "3.11", "", True)
    setup = setup_venv.Setup(host, tmp_path / "venv")
    setup.python = Path(sys.executable)
    cached = tmp_path / "cache.cmake"
    before = (
        'set(A "/opt/python/cp311-cp311/include/python3.11;'
        '/opt/python/cp311-cp311/lib/python3.11/site-packages/numpy/_core/include")\n'
    )
    cached.write_text(before)
    target = setup.venv / "share" / "some_msgs" / "cmake" / "export.cmake"
    target.parent.mkdir(parents=True)
    target.hardlink_to(cached)
    setup_venv.point_exports_here(setup)
    assert cached.read_text() == before
    folders = re.findall(r'"(.+);(.+)"', target.read_text())[0]
    assert [(Path(folder) / name).is_file() for folder, name in zip(
        folders, ("Python.h", "numpy/arrayobject.h"), strict=True)] == [True, True]  # fmt: skip


def test_beside_a_sourced_ros_only_what_is_absent_is_installed() -> None:
    host = setup_host.Host(sys.executable, "3.11", "jazzy", True)
    setup = setup_venv.Setup(host, REPO / ".venv")
    setup.python = Path(sys.executable)
    setup.venv = REPO
    assert setup._absent(["runtime.txt", "kilted/ros.txt", "dev.txt"]) == []


@pytest.mark.parametrize("distro", setup_venv.ON_THE_INDEX)
def test_requirements_are_pinned_once(distro: str) -> None:
    """Each name has one place; each line has one version, and a marker where it has two."""
    places: dict[str, set[str]] = {}
    folder = REPO / "requirements"
    for path in sorted([*folder.glob("*.txt"), *(folder / distro).glob("*.txt")]):
        for line in path.read_text(encoding="utf-8").splitlines():
            if line and not line.startswith("#"):
                match = re.fullmatch(
                    r"([A-Za-z0-9._-]+)(\[\w+\])?==([\w.+!]+)(; (python|platform)_.*)?", line
                )
                assert match, f"{path.name}: {line!r} is not pinned"
                places.setdefault(match[1].lower(), set()).add(str(path))
    assert {name: files for name, files in places.items() if len(files) > 1} == {}
    assert {"torch", "ros-rclpy", "numpy"} <= set(places)


def test_each_distribution_on_the_index_has_its_own_environment(tmp_path: Path) -> None:
    """No step of one depends on files of the other, and both have all that the node needs."""
    host = setup_host.Host(sys.executable, "3.11", "", True)
    named: dict[str, set[str]] = {}
    for distro in setup_venv.ON_THE_INDEX:
        packages = next(s for s in setup_venv.steps(host, False, distro) if s.name == "packages")
        paths = [item for item in packages.inputs if isinstance(item, Path)]
        own = {path.name for path in paths if path.parent.name == distro}
        assert own == {"ros.txt", "build.txt", "constraints.txt"}
        assert not {path.parent.name for path in paths} - {distro, "requirements"}
        assert distro.title() in packages.title
        lines = (REPO / "requirements" / distro / "ros.txt").read_text("utf-8").splitlines()
        named[distro] = {re.split(r"[=\[]", line)[0] for line in lines if line[0] != "#"}
        setup = setup_venv.Setup(host, tmp_path / distro, distro)
        assert setup.env["ROS_DISTRO"] == distro
    assert named["jazzy"] == named["kilted"]


@pytest.mark.parametrize(
    ("sourced", "asked", "expected"),
    [("", "", "kilted"), ("", "jazzy", "jazzy"), ("humble", "", "humble"),
     ("jazzy", "jazzy", "jazzy")],
)  # fmt: skip
def test_the_distribution_is_the_sourced_one_or_the_one_that_was_asked_for(
    sourced: str, asked: str, expected: str
) -> None:
    host = setup_host.Host(sys.executable, "3.12", sourced, True)
    assert setup_venv.choose_distro(host, asked) == expected


@pytest.mark.parametrize(
    ("sourced", "asked", "said"),
    [("kilted", "jazzy", "has sourced kilted"), ("", "lyrical", "index has jazzy and kilted")],
)
def test_a_distribution_that_cannot_be_had_is_an_error(sourced: str, asked: str, said: str) -> None:
    host = setup_host.Host(sys.executable, "3.12", sourced, True)
    with pytest.raises(setup_host.SetupError, match=said):
        setup_venv.choose_distro(host, asked)


@pytest.mark.parametrize(("words", "venv"), [([], ".venv"), (["ROS_DISTRO=jazzy"], ".venv-jazzy")])
def test_make_takes_the_distribution_from_its_command_line_only(
    words: list[str], venv: str
) -> None:
    environment = {**os.environ, "ROS_DISTRO": "kilted"}
    command = ["make", "-n", "test-ros", *words]
    done = subprocess.run(command, cwd=REPO, env=environment, capture_output=True, text=True)
    assert f". {venv}/env.sh" in done.stdout
    assert ("--distro jazzy" in done.stdout) == bool(words)


def test_make_clean_leaves_the_users_own_replays(tmp_path: Path) -> None:
    shutil.copy(REPO / "Makefile", tmp_path)
    made = ("out/demo", "out/demo-jazzy", "out/benchmarks", ".venv", ".venv-jazzy", "build")
    for name in (*made, "out/my_bag", "out/demonstration"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "report.html").touch()
    subprocess.run(["make", "-s", "-C", tmp_path, "clean"], check=True)
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("report.html")}
    assert left == {"out/my_bag/report.html", "out/demonstration/report.html"}


def test_make_help_lists_the_targets() -> None:
    done = subprocess.run(["make", "help"], cwd=REPO, capture_output=True, text=True)
    assert done.returncode == 0
    listed = {line.split()[1] for line in done.stdout.splitlines()}
    assert {"demo", "test", "setup", "clean", "help", "lint", "types"} <= listed


@pytest.mark.parametrize("failing", ["", "test", "lint", "types"])
def test_ci_fails_with_each_of_its_steps(tmp_path: Path, failing: str) -> None:
    """The real script with a `make` that only notes what it was asked for."""
    tool(tmp_path / "tools", "make", "")
    script = f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n'
    script += f'for target do [ "$target" != "{failing}" ] || exit 2; done\n'
    (tmp_path / "tools" / "make").write_text(script)
    environment = {**os.environ, "PATH": f"{tmp_path / 'tools'}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run([REPO / ".ci" / "run"], env=environment, capture_output=True)
    assert (done.returncode != 0) == bool(failing)
    asked = (tmp_path / "asked").read_text().split()
    assert failing in asked if failing else {"test", "lint", "types"} <= set(asked)
