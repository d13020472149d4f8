# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""`make workspace DIR=ws`: what colcon, rosdep and bloom find in it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import REPO

sys.path.insert(0, str(REPO / "scripts"))

import lay_out_workspace as layout

BOTH = ["g2vlm_interfaces", "g2vlm_ros"]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with copies."""
    folder = tmp_path_factory.mktemp("ws")
    if not (REPO / ".git").exists():
        pytest.skip("not run in a git checkout: what a clone holds is unknown")
    layout.lay_out(folder, link=False)
    return folder


def colcon(folder: Path, *words: str) -> str:
    code = "import sys; from colcon_core.command import main; sys.exit(main())"
    command = [sys.executable, "-c", code, *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_rosdep_and_bloom_find_both_packages(workspace: Path) -> None:
    """Both go by catkin_pkg, which also checks the files."""
    packages = pytest.importorskip("catkin_pkg.packages")
    found = packages.find_packages(str(workspace / "src"))
    assert sorted(package.name for package in found.values()) == BOTH
    assert len({package.version for package in found.values()}) == 1
    for package in found.values():
        package.validate()
        kinds = {url.type for url in package.urls}
        assert kinds >= {"website", "bugtracker", "repository"}, package.name
    node = next(package for package in found.values() if package.name == "g2vlm_ros")
    assert "g2vlm_interfaces" in {depend.name for depend in node.exec_depends}


@pytest.mark.filterwarnings("ignore:nodes.Node.traverse:DeprecationWarning")
def test_a_release_finds_its_changes(workspace: Path) -> None:
    """As catkin_prepare_release names the section, and as bloom reads it then."""
    changelog = pytest.importorskip("catkin_pkg.changelog")
    version = pytest.importorskip("catkin_pkg.package_version")
    packages = pytest.importorskip("catkin_pkg.packages").find_packages(str(workspace / "src"))
    for folder, package in packages.items():
        path = workspace / "src" / folder / "CHANGELOG.rst"
        text = path.read_text(encoding="utf-8")
        assert version.get_forthcoming_label(text) == "Forthcoming"
        released = version.rename_section(text, "Forthcoming", "7.8.9 (2026-11-30)")
        path.write_text(released, encoding="utf-8")
        read = changelog.get_changelog_from_path(str(path.parent), package.name)
        path.write_text(text, encoding="utf-8")
        assert read.package_name == package.name
        assert [number for number, _, _ in read.foreach_version()] == ["7.8.9"]
        assert len(read.get_content_of_version("7.8.9")) >= 1


def test_plain_colcon_lists_both(workspace: Path) -> None:
    pytest.importorskip("colcon_core")
    rows = colcon(workspace, "list").splitlines()
    assert sorted(row.split()[0] for row in rows) == BOTH
    kinds = {row.split()[0]: row.split()[-1] for row in rows}
    assert kinds == {"g2vlm_interfaces": "(ros.ament_cmake)", "g2vlm_ros": "(ros.ament_python)"}


def test_links_are_found_too(tmp_path: Path) -> None:
    pytest.importorskip("colcon_core")
    for folder in layout.lay_out(tmp_path / "ws", link=True):
        assert folder.is_symlink()
    rows = colcon(tmp_path / "ws", "list").splitlines()
    assert sorted(row.split()[0] for row in rows) == BOTH


def test_a_second_time_refreshes_and_leaves_other_packages_alone(tmp_path: Path) -> None:
    if not (REPO / ".git").exists():
        pytest.skip("not run in a git checkout")
    other = tmp_path / "src" / "my_robot" / "package.xml"
    other.parent.mkdir(parents=True)
    other.write_text("<package><name>my_robot</name></package>")
    layout.lay_out(tmp_path, link=True)
    node, interfaces = layout.lay_out(tmp_path, link=False)
    stale = node / "g2vlm_ros" / "stale.py"
    stale.touch()
    assert not (node / "g2vlm_interfaces").exists()
    assert not (node / "colcon_defaults.yaml").exists()
    assert (interfaces / "msg" / "SceneStatus.msg").is_file()
    layout.lay_out(tmp_path, link=False)
    assert not stale.exists()
    assert other.is_file()


def test_what_stands_in_the_way_is_not_removed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = tmp_path / "src" / "g2vlm_ros" / "notes.txt"
    theirs.parent.mkdir(parents=True)
    theirs.touch()
    assert layout.main([str(tmp_path)]) == 1
    assert "is not the package g2vlm_ros; move it away" in capsys.readouterr().err
    assert theirs.is_file()
    assert layout.main([str(REPO / "docs")]) == 1
    assert "is inside the repository" in capsys.readouterr().err


def test_the_make_target_calls_it() -> None:
    command = ["make", "-n", "workspace", "DIR=some/ws"]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True)
    assert re.search(r"lay_out_workspace\.py some/ws", done.stdout)
    without = subprocess.run(["make", "workspace"], cwd=REPO, capture_output=True, text=True)
    assert without.returncode != 0
    assert "DIR" in without.stderr


@pytest.mark.slow
def test_plain_colcon_builds_both(workspace: Path) -> None:
    pytest.importorskip("colcon_core")
    colcon(workspace, "build", "--cmake-args", "-DBUILD_TESTING=OFF")
    install = workspace / "install"
    assert (install / "g2vlm_ros" / "lib" / "g2vlm_ros" / "node").is_file()
    assert (install / "g2vlm_interfaces" / "share" / "g2vlm_interfaces" / "package.xml").is_file()
    assert list(install.glob("g2vlm_interfaces/lib/python3*/*-packages/g2vlm_interfaces/msg"))
