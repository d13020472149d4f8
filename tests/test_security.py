# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What SECURITY.md promises of the code as a whole: nothing that is read can run."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from g2vlm_training.datasets.base import DataError
from g2vlm_training.datasets.folder import inside
from g2vlm_training.datasets.layouts import open_dataset

from g2vlm_model import cli
from tests.helpers import REPO
from tests.training.layout_folders import WRITERS

FOLDERS = ("g2vlm_model", "g2vlm_map", "g2vlm_ros", "replay", "training", "export", "demo")
# Modules whose reading functions run what they read.
RUNNING = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
CALLS = {"torch.load", "pd.read_pickle", "pandas.read_pickle", "os.system", "eval", "exec"}
TRUSTED_YAML = "training/config_file.py"  # a SafeLoader of its own, for 1e-4


# A file without any of these words is not looked at twice.
SUSPECT = re.compile(
    rf"{'|'.join(RUNNING)}|{'|'.join(re.escape(word) for word in CALLS)}|load\(|shell"
)


SPEAKING = re.compile(r"print\(|get_logger\(\)")
PLAIN = {"plain", "plain_lines", "one_line", "type"}  # what they make of an error


def files(suspect: re.Pattern[str] = SUSPECT) -> Iterator[tuple[str, ast.Module]]:
    for folder in FOLDERS:
        for path in sorted((REPO / folder).rglob("*.py")):
            text = path.read_text(encoding="utf-8")
            if suspect.search(text):
                yield path.relative_to(REPO).as_posix(), ast.parse(text)


def test_nothing_unpickles_evaluates_or_starts_a_shell() -> None:
    found = []
    for name, tree in files():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                wrong = {alias.name.split(".")[0] for alias in node.names} & RUNNING
                found += [f"{name}:{node.lineno} imports {item}" for item in wrong]
            elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in RUNNING:
                found.append(f"{name}:{node.lineno} imports from {node.module}")
            elif isinstance(node, ast.Call):
                found += [f"{name}:{node.lineno} {what}" for what in dangers(node, name)]
    assert not found


def dangers(call: ast.Call, name: str) -> Iterator[str]:
    called = ast.unparse(call.func)
    given = {word.arg: ast.unparse(word.value) for word in call.keywords}
    if called in CALLS:
        yield called
    if called.endswith("np.load") and given.get("allow_pickle", "False") != "False":
        yield f"{called} with pickles"
    if called in ("yaml.load", "yaml.unsafe_load", "yaml.full_load") and name != TRUSTED_YAML:
        yield called
    if called.startswith("subprocess.") and given.get("shell", "False") != "False":
        yield "a shell"


@pytest.mark.parametrize("text", ["torch.load(f)", "np.load(f, allow_pickle=True)", "eval(x)"])
def test_the_search_above_finds_what_it_looks_for(text: str) -> None:
    (statement,) = ast.parse(text).body
    assert isinstance(statement, ast.Expr)
    assert isinstance(statement.value, ast.Call)
    assert list(dangers(statement.value, "a.py"))


def test_an_error_of_a_command_reaches_no_terminal_raw(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hostile = tmp_path / ("\x1b[31m" + "long" * 40)
    assert cli.main(["dataset", "check", "--dataset", "tum", "--root", str(hostile)]) == 2
    said = capsys.readouterr().err
    assert "\x1b" not in said
    assert said.count("\n") == 1
    assert "\\x1b[31mlong" in said


def test_no_command_prints_and_no_node_logs_an_error_as_it_comes() -> None:
    found = [
        f"{name}:{call.lineno}"
        for name, tree in files(SPEAKING)
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and speaks(call) and any(map(says_an_error, call.args))
    ]
    assert not found, "make it plain (g2vlm_model/interface/words.py)"


@pytest.mark.parametrize(
    ("text", "raw"),
    [
        ("print(f'no: {error}')", True),
        ("self.get_logger().error(str(error))", True),
        ("print(plain(f'{path}: {reason}'))", False),
        ("print(f'no: {plain_lines(str(error))}')", False),
        ("print(f'no: {error.name!r}')", False),
    ],
)
def test_the_search_for_raw_errors_finds_them(text: str, raw: bool) -> None:
    (statement,) = ast.parse(text).body
    assert isinstance(statement, ast.Expr)
    assert isinstance(statement.value, ast.Call)
    assert speaks(statement.value)
    assert any(map(says_an_error, statement.value.args)) == raw


def speaks(call: ast.Call) -> bool:
    """Whether a call reaches a terminal without passing a handler of `log_plainly`."""
    called = ast.unparse(call.func)
    return called == "print" or "get_logger()" in called


def says_an_error(part: ast.AST) -> bool:
    """Whether an expression holds the words of an error that nobody made plain."""
    if isinstance(part, ast.FormattedValue) and part.conversion == ord("r"):
        return False  # repr escapes
    if isinstance(part, ast.Call) and ast.unparse(part.func).lstrip("_") in PLAIN:
        return False
    if isinstance(part, ast.Name):
        return part.id in ("error", "reason")
    return any(map(says_an_error, ast.iter_child_nodes(part)))


def test_what_a_command_logs_is_plain_too() -> None:
    program = (
        "import logging; from g2vlm_model.interface.words import log_plainly\n"
        "log_plainly(logging.INFO, '%(levelname)s: %(message)s')\n"
        "logging.getLogger('x').warning('%s left out', 'a\\x1b[2J\\nb' + 5000 * 'c')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=REPO)
    first, second = done.stderr.splitlines()
    assert first == "WARNING: a\\x1b[2J"
    assert len(second) < 2100


@pytest.mark.parametrize("name", ["../secret.png", "/etc/hostname", "a/../../b", ""])
def test_names_in_annotations_stay_in_their_folder(name: str, tmp_path: Path) -> None:
    assert inside(tmp_path, "images/a.png") == tmp_path / "images" / "a.png"
    if not name:
        assert inside(tmp_path, name) == tmp_path  # no file: refused where it is read
        return
    with pytest.raises(DataError, match="leads out of it"):
        inside(tmp_path, name)


@pytest.mark.parametrize("layout", ["dl3dv", "tum", "co3d"])
def test_a_data_set_that_points_outside_is_refused(layout: str, tmp_path: Path) -> None:
    """A picture beside the folder is there, and is not read."""
    WRITERS[layout](tmp_path / "inside")
    outside = tmp_path / "outside.png"
    picture = next(iter(sorted((tmp_path / "inside").rglob("*.[pj][np]g"))))
    outside.write_bytes(picture.read_bytes())
    with pytest.raises(DataError, match="leads out of it"):
        point_out(layout, tmp_path / "inside", outside)
        for sequence in open_dataset(layout, tmp_path / "inside"):
            sequence.read([0])


def point_out(layout: str, root: Path, outside: Path) -> None:
    if layout == "dl3dv":
        (path,) = root.rglob("transforms.json")
        content = json.loads(path.read_text())
        content["frames"][0]["file_path"] = str(outside)
        path.write_text(json.dumps(content))
    elif layout == "tum":
        (path,) = root.rglob("rgb.txt")
        lines = path.read_text().splitlines()
        at = next(i for i, line in enumerate(lines) if not line.startswith("#"))
        lines[at] = f"{lines[at].split()[0]} {outside}"
        path.write_text("\n".join(lines))
    else:
        import gzip

        (path,) = root.rglob("*.jgz")
        with gzip.open(path, "rt", encoding="utf-8") as file:
            entries = json.load(file)
        for entry in entries:
            entry["image"]["path"] = str(outside)
        with gzip.open(path, "wt", encoding="utf-8") as file:
            json.dump(entries, file)
