# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What README.md and docs/ tell people to type is typed here, or checked word for word."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import inspect
import json
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from g2vlm_model import cli
from g2vlm_model.interface import Frame
from g2vlm_ros.camera_drivers import DRIVERS
from g2vlm_ros.launch_arguments import (
    NODE_ARGUMENTS,
    REPLAY_ARGUMENTS,
    SIMULATED_ARGUMENTS,
    driver_arguments,
)
from tests.helpers import REPO
from tests.map.frames import picture

PAGES = [
    *(
        REPO / name
        for name in ("README.md", "CONTRIBUTING.md", "QUALITY_DECLARATION.md", "SECURITY.md")
    ),
    *sorted((REPO / "docs").glob("*.md")),
]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
# Programs that change the machine or need a robot: only that they are the known ones is checked.
SYSTEM = {"sudo", "source", "rosdep", "pip", "export", "cd", "scp"}
KNOWN = SYSTEM | {"make", "g2vlm", "ros2", "colcon", "python", "torchrun", ".", "docker"}


def blocks(language: str) -> list[str]:
    """Code blocks of one language in all pages."""
    return [
        code
        for page in PAGES
        for found, code in FENCE.findall(page.read_text(encoding="utf-8"))
        if found == language
    ]


def commands() -> list[list[str]]:
    """Command lines of all bash blocks, split as a shell does; variables in front dropped."""
    lines = [line for code in blocks("bash") for line in code.splitlines()]
    words = [shlex.split(line, comments=True) for line in lines]
    bare = [[*line] for line in words if line]
    for line in bare:
        while re.match(r"[A-Z_]+=", line[0]):
            del line[0]
    return bare


def of(*start: str) -> list[list[str]]:
    """The command lines that start with the given words."""
    found = [line for line in commands() if tuple(line[: len(start)]) == start]
    assert found, f"no page shows: {' '.join(start)}"
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", text)
    missing = [link for link in links if not (page.parent / link).exists()]
    assert not missing, f"{page.name} links to {missing}"


def test_the_site_has_every_page_and_links_between_them() -> None:
    """What `make docs` builds strictly; here without its library."""
    site = runpy.run_path(str(REPO / "scripts" / "docs_site.py"))
    settings = yaml.safe_load((REPO / "mkdocs.yml").read_text(encoding="utf-8"))
    shown = [page for part in settings["nav"] for row in part.values() for page in row]
    named = [name for row in shown for name in row.values()]
    pages = {path.name for path in (REPO / "docs").glob("*.md")} | set(site["PAGES"].values())
    assert sorted(named) == sorted(pages)
    text = "[a](docs/map.md#scale) [b](LICENSE) [c](https://ros.org) [d](#here)"
    assert site["relinked"](text, "README.md") == (
        "[a](map.md#scale) [b](files/LICENSE) [c](https://ros.org) [d](#here)"
    )
    back = site["relinked"]("[x](../README.md) [y](node.md)", "docs/map.md")
    assert back == "[x](index.md) [y](node.md)"


def test_every_command_is_of_a_known_program() -> None:
    strange = {line[0] for line in commands() if line[0] not in KNOWN}
    assert not strange
    assert ["make", "demo"] in commands()
    assert ["make", "test"] in commands()


def test_make_targets_exist() -> None:
    for line in of("make"):
        done = subprocess.run([*line, "-n"], cwd=REPO, capture_output=True, text=True)
        assert done.returncode == 0, (line, done.stderr)


class Parsed(Exception):  # noqa: N818 - how a command is left once its words were understood
    """The command line was read without an error; what it asks for is not done."""


def shown() -> list[tuple[str, list[str]]]:
    """(page, words) of the project's own commands in all blocks, fenced or indented."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        code = [block for language, block in FENCE.findall(text) if language in ("", "bash")]
        code += re.findall(r"(?:^    .*\n)+", FENCE.sub("", text), re.MULTILINE)
        for line in "\n".join(code).replace("\\\n", " ").splitlines():
            if not re.match(r" *(g2vlm |python -m (benchmarks\.|g2vlm_)|torchrun )", line):
                continue
            # Brackets say that something may be left out, dots that it may be given again.
            words = shlex.split(re.sub(r"[\[\]](?=\s|-|$)", "", line), comments=True)
            if words[-1] != "...":
                found.append((page.name, [word.removesuffix("...") for word in words]))
    return found


def read(words: list[str]) -> None:
    """Have a command read its words, and raise `Parsed`; SystemExit where they are wrong."""
    if words[0] == "g2vlm":
        cli.main(words[1:])
        return
    at = words.index("-m") + 1
    module = importlib.import_module(words[at])
    sys.argv = words[at:]
    module.main(*([words[at + 1 :]] if inspect.signature(module.main).parameters else []))


def test_every_command_line_is_understood_by_its_own_parser(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of g2vlm, the benchmarks and torchrun; `python -m` of a node takes ROS's words."""
    parse = argparse.ArgumentParser.parse_args

    def parse_only(self: argparse.ArgumentParser, *words: Any, **more: Any) -> None:
        parse(self, *words, **more)
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_only)
    monkeypatch.setattr(sys, "argv", list(sys.argv))
    lines = [(page, words) for page, words in shown() if "--ros-args" not in words]
    assert len(lines) > 70
    problems = []
    for page, words in lines:
        if words[:2] == ["g2vlm", "help"]:
            assert cli.main(["help"]) == 0
            continue
        try:
            read(words)
            problems.append(f"{page}: {shlex.join(words)}: read no words")
        except Parsed:
            continue
        except SystemExit:
            problems.append(f"{page}: {shlex.join(words)}: {capsys.readouterr().err[-300:]}")
    assert not problems, "\n".join(problems)


# What is in the bag that pages name, and what ends or shortens a command by itself.
ROOM = REPO / "tests" / "data" / "room"
GIVEN = dict.fromkeys(("my_bag", "demo/drive.mcap"), str(ROOM / "room.mcap"))
MORE = {
    "view": ["--until-end", "--no-browser", "--port", "0"],
    "replay": ["--limit", "12"],
    "help": [],
    "export plan": [],
}
PRINTED = {"help": "explains a command", "export plan": "pictures 112x84"}
# A mark behind a command is about it, one on a line of its own about all lines to the next gap.
NEEDS = "# needs "
MADE_BY_SETUP = {"make setup", ". .venv/env.sh"}  # the environment of this test


def typed(text: str) -> list[list[str]]:
    """The paragraphs of a page that a reader types: bash blocks, and commands that are indented."""
    code = [block for language, block in FENCE.findall(text) if language in ("", "bash")]
    indented = re.findall(r"(?:^    .*\n)+", FENCE.sub("", text), re.MULTILINE)
    command = re.compile(rf" *(?:[A-Z_]+=\S+ )*(?:{'|'.join(map(re.escape, KNOWN))}) ")
    code += [block for block in indented if any(map(command.match, block.splitlines()))]
    parts = [part for block in code for part in re.split(r"\n\s*\n", block)]
    return [[line.strip() for line in part.splitlines() if line.strip()] for part in parts]


def unmarked(text: str) -> list[str]:
    """Command lines of a page that do not say what they need, without their comments."""
    found = []
    for part in typed(text):
        for line in part:
            if line.startswith(NEEDS):
                break
            words = shlex.split(line, comments=True)
            if words and NEEDS not in line and shlex.join(words) not in MADE_BY_SETUP:
                found.append(re.sub(r"\s+#.*", "", line))
    return found


def runs() -> list[str]:
    """Commands that need nothing but what `make setup` makes."""
    lines = [line for page in PAGES for line in unmarked(page.read_text(encoding="utf-8"))]
    return sorted(set(lines))


def kind(line: str) -> str:
    """The key of `MORE` that a command belongs to; empty: none."""
    return next((name for name in MORE if f"{line} ".startswith(f"g2vlm {name} ")), "")


def test_each_command_runs_here_or_says_what_it_needs() -> None:
    strange = [line for line in runs() if not kind(line)]
    assert not strange, f"put `# needs ...` above it, or run it below: {strange}"
    assert {kind(line) for line in runs()} == set(MORE)
    assert {"g2vlm view film.mp4", "g2vlm view demo/drive.mcap"} <= set(runs())


def test_a_mark_stands_for_its_paragraph() -> None:
    page = "```bash\nmake a\n# needs b\nmake b\nmake c\n\nmake d\nmake e  # needs e\n```\n"
    page += "text\n\n    g2vlm f  # said\n\n    # needs g\n    g2vlm g\n\n    no command\n"
    assert unmarked(page) == ["make a", "make d", "g2vlm f"]


@pytest.mark.slow
@pytest.mark.parametrize("line", runs())
def test_what_needs_nothing_runs(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    form = cv2.VideoWriter.fourcc(*"mp4v")
    film = cv2.VideoWriter(str(tmp_path / "film.mp4"), form, 10.0, (320, 240))
    for number in range(12):
        film.write(cv2.resize(picture(8 * number), (320, 240)))
    film.release()
    asked = json.loads((ROOM / "questions.json").read_text(encoding="utf-8"))
    early = [one for one in asked if one["at"]["frame"] < 12][:2]
    (tmp_path / "questions.json").write_text(json.dumps(early), encoding="utf-8")
    words = [GIVEN.get(word, word) for word in shlex.split(line)[1:]]
    played = Path(words[-1]).name
    code = cli.main([*words, *MORE[kind(line)]])
    said = capsys.readouterr()
    if kind(line) in PRINTED:
        assert (code, PRINTED[kind(line)] in said.out) == (0, True), said
    elif kind(line) == "view":
        assert (code, f"{played} at http://127.0.0.1:" in said.out) == (0, True), said
    else:  # 1: what `--fail-if` holds back is told, and written all the same
        assert code in ((0, 1) if "--fail-if" in words else (0,)), said
        assert (tmp_path / "out" / "my_bag" / "report.html").stat().st_size > 1000


def test_launch_arguments_and_parameters_exist() -> None:
    files = {"g2vlm.launch.py": list(NODE_ARGUMENTS), "replay.launch.py": list(REPLAY_ARGUMENTS)}
    files |= {f"{name}.launch.py": driver_arguments(name) for name in DRIVERS}
    files["simulated.launch.py"] = list(SIMULATED_ARGUMENTS)
    for line in of("ros2", "launch", "g2vlm_ros"):
        assert (REPO / "launch" / line[3]).is_file()
        known = {item.name for item in (*NODE_ARGUMENTS, *files[line[3]])}
        given = {word.partition(":=")[0] for word in line[4:] if ":=" in word}
        assert given <= known, line
    for line in of("ros2", "run", "g2vlm_ros"):
        assert line[3] in {"node", "simulator", "g2vlm"}, line
    named = {name for page in PAGES for name in re.findall(r"`(\w+):=", page.read_text("utf-8"))}
    assert named <= {item.name for arguments in files.values() for item in arguments}


def test_modules_and_scripts_exist() -> None:
    pages = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    modules = set(re.findall(r"python -m ([\w.]+)", pages))
    assert {"benchmarks.forward", "benchmarks.ask"} <= modules
    missing = {name for name in modules - {"colcon"} if importlib.util.find_spec(name) is None}
    assert not missing
    scripts = set(re.findall(r"python ((?:\w+/)+\w+\.py)", pages))
    assert all((REPO / name).is_file() for name in scripts), scripts


def tracked_copy(target: Path) -> Path:
    """A copy of the files that a clone would have."""
    listing = subprocess.run(
        ["git", "ls-files", "-z"], cwd=REPO, capture_output=True, text=True, check=False
    )
    if listing.returncode:
        pytest.skip("not run in a git checkout: what a clone holds is unknown")
    for name in filter(None, listing.stdout.split("\0")):
        if (REPO / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPO / name, target / name)
    return target


def colcon(folder: Path, *words: str) -> str:
    """Run colcon as the pages say, in a shell (for the wildcards)."""
    code = "import sys; from colcon_core.command import main; sys.exit(main())"
    line = f"{shlex.quote(sys.executable)} -c {shlex.quote(code)} {' '.join(words)}"
    done = subprocess.run(line, shell=True, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_robot_install_finds_both_packages_and_installs_the_node(tmp_path: Path) -> None:
    pytest.importorskip("colcon_core")
    workspace = tmp_path / "ws"
    repo = tracked_copy(workspace / "src" / "a_clone")
    assert {row.split()[0] for row in colcon(repo, "list").splitlines()} == {
        "g2vlm_interfaces",
        "g2vlm_ros",
    }
    in_workspace = next(line for line in of("colcon", "build") if "--base-paths" in line)
    rows = colcon(workspace, "list", *in_workspace[2:]).splitlines()
    assert {row.split()[0] for row in rows} == {"g2vlm_interfaces", "g2vlm_ros"}

    # The messages, whose build takes half a minute, are built by the set-up in the same way.
    colcon(repo, "build", "--base-paths", ".")
    prefix = repo / "install" / "g2vlm_ros"
    assert (prefix / "lib" / "g2vlm_ros" / "node").is_file()
    share = prefix / "share" / "g2vlm_ros"
    shipped = {path.name for path in (REPO / "launch").iterdir() if path.is_file()}
    assert {path.name for path in (share / "launch").iterdir()} == shipped
    assert (share / "package.xml").is_file()
    assert (prefix / "share/ament_index/resource_index/packages/g2vlm_ros").is_file()
    site = next(prefix.glob("l*/python3*/*-packages"))
    nano = sorted(path.name for path in (REPO / "g2vlm_model/weights/nano").iterdir())
    assert sorted(path.name for path in (site / "g2vlm_model/weights/nano").iterdir()) == nano
    assert (site / "g2vlm_training" / "configs").is_dir()


@pytest.mark.parametrize(
    "page", [page for page in PAGES if "```python" in page.read_text("utf-8")], ids=lambda p: p.name
)
def test_the_python_examples_run(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a clone, for README.md; pages for those who know may use `frames`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").symlink_to(REPO / "demo")
    noise = np.random.default_rng(0)
    noisy = noise.integers(0, 255, (60, 90, 3), np.uint8)
    wall = cv2.resize(noisy, (960, 640)).astype(np.uint8)
    frames = []
    for number in range(4):
        picture = np.ascontiguousarray(wall[80:560, 100 + 20 * number : 740 + 20 * number])
        frames.append(Frame(picture, number * 10**8, "camera", "camera", str(number)))
    names = {"__name__": "example", "frames": tuple(frames)}
    for language, code in FENCE.findall(page.read_text(encoding="utf-8")):
        if language == "python":
            exec(compile(code, page.name, "exec"), names)
