# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The `g2vlm` command: finds its sub-commands by entry point, so that no package imports another.

A package offers a sub-command under the entry-point group `g2vlm.commands`: its name, and a
function `main(argv: list[str]) -> int` whose module's first docstring line is the help text.
"""

from __future__ import annotations

import ast
import difflib
import importlib.util
import re
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, requires, version
from pathlib import Path
from typing import NoReturn

from .processes import INTERRUPTED, ended_by_signals, flush_output, leave

__all__ = ["GROUP", "command", "dispatch", "main"]

GROUP = "g2vlm.commands"
_DISTRIBUTION = "g2vlm_ros"
_PACKAGES = {"cv2": "opencv-python-headless", "yaml": "pyyaml"}  # by their modules


def main(argv: Sequence[str] | None = None) -> int:
    """Run a sub-command.

    Args:
        argv: Words after `g2vlm`; None takes those of the process.

    Returns:
        The sub-command's exit code; 2 where there is no such sub-command, or where it refuses
        its input; 130 where SIGINT, SIGTERM or SIGHUP ended it.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    with ended_by_signals() as told:
        try:
            code = dispatch(words, _commands(), "g2vlm")
            return code if flush_output() else 0
        except BrokenPipeError:  # who reads has seen enough: `| head`
            flush_output()
            return 0
        except SystemExit:  # of a parser that printed its help
            flush_output()
            raise
        except BaseException:
            if not told.asked:
                raise
    return _interrupted(words)


def _interrupted(words: Sequence[str]) -> int:
    print(f"{' '.join(['g2vlm', *words[:1]])}: interrupted", file=sys.stderr)
    return INTERRUPTED


def dispatch(argv: Sequence[str], commands: Mapping[str, EntryPoint], program: str) -> int:
    """Run one of several commands; a command may itself be made of commands.

    Args:
        argv: Words after the program's name: a command's name and its arguments.
        commands: By name.
        program: The words ahead of `argv`, for messages.

    Returns:
        As `main`.
    """
    words = list(argv)
    if not words:
        print(_overview(commands, program), file=sys.stderr)
        return 2
    if words[0] == "help" and len(words) > 1:
        words = [words[1], "--help"]
    if words[0] in ("-h", "--help", "help"):
        print(_overview(commands, program))
        return 0
    if words[0] == "--version":
        print(f"{_DISTRIBUTION} {version(_DISTRIBUTION)}")
        return 0
    name, rest = words[0], words[1:]
    if name not in commands:
        print(_unknown(name, commands, program), file=sys.stderr)
        return 2
    try:
        with ended_by_signals():
            command = commands[name].load()
    except ModuleNotFoundError as error:
        return _say_what_is_missing(program, name, error)
    try:
        with ended_by_signals():  # ahead of what follows: the user's errors are told apart there
            code = int(command(rest) or 0)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        raise  # nobody's fault: `main`
    except ModuleNotFoundError as error:  # what only some of a command's ways need
        return _say_what_is_missing(program, name, error)
    except (ValueError, RuntimeError, OSError, MemoryError) as error:
        if not _is_for_the_user(error):
            raise
        from .interface.command_line import (
            told,  # its package loads numpy: `g2vlm help` stays light
        )

        return told(f"{program} {name}", error)


def _say_what_is_missing(program: str, name: str, error: ModuleNotFoundError) -> int:
    """Name the package on stderr; exit code 2. Raises the error where a package is not absent."""
    module = (error.name or "").split(".")[0]
    if module.startswith("g2vlm_"):
        raise error  # a part of this project is broken
    needed = f"needs the Python package {error.name!r}: {_plain_lines(error)}"
    print(f"{program} {name} {needed}{_brought(module, name)}", file=sys.stderr)
    return 2


def _brought(module: str, command: str) -> str:
    """How to install a package that this one names; of its extras the command's own, if any."""
    package = _PACKAGES.get(module, module).replace("_", "-").lower()
    try:
        lines = requires(_DISTRIBUTION) or []
    except PackageNotFoundError:
        return ""
    named = [line for line in lines if re.match(rf"{re.escape(package)}(?![\w.-])", line.lower())]
    extras = [extra for line in named for extra in re.findall(r"extra == ['\"](.+?)['\"]", line)]
    if not named:
        return ""
    extra = command if command in extras else next(iter(extras), "")
    wanted = f"'{_DISTRIBUTION}[{extra}]'" if extra else package
    return f"; pip install {wanted}"


def _is_for_the_user(error: Exception) -> bool:
    """Whether the message says it all: files, memory, and what our own code refuses in words.

    Another error out of another package is more likely a fault here and keeps its traceback.
    """
    if isinstance(error, (OSError, MemoryError)):
        return True
    if isinstance(error, (NotImplementedError, RecursionError)):  # RuntimeErrors, and faults here
        return False
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    module = str(trace.tb_frame.f_globals.get("__name__", "")) if trace is not None else ""
    return module.startswith("g2vlm_")


def _plain_lines(error: Exception) -> str:
    from .interface.words import plain_lines  # its package loads numpy: `g2vlm help` stays light

    return plain_lines(str(error))


def _commands() -> dict[str, EntryPoint]:
    """Sub-commands by name, in alphabetical order."""
    found = {entry.name: entry for entry in entry_points(group=GROUP)}
    return dict(sorted(found.items()))


def _overview(commands: Mapping[str, EntryPoint], program: str) -> str:
    usage = f"usage: {program} COMMAND [ARGUMENTS ...]"
    if not commands:
        return f"{usage}\n\nno sub-command is installed; run `make setup` or `pip install .`"
    width = max(map(len, commands))
    lines = [f"  {name:<{width}}  {_summary(entry)}" for name, entry in commands.items()]
    more = f"`{program} COMMAND --help` explains a command."
    return "\n".join([usage, "", "commands:", *lines, "", more])


def _summary(entry: EntryPoint) -> str:
    """First line of the docstring of the command's module, read without importing it."""
    try:
        spec = importlib.util.find_spec(entry.module)
    except ModuleNotFoundError:
        spec = None
    if spec is None or spec.origin is None or not Path(spec.origin).is_file():
        return f"(module {entry.module} is not installed)"
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    return (ast.get_docstring(tree) or "").partition("\n")[0]


def _unknown(name: str, commands: Mapping[str, EntryPoint], program: str) -> str:
    near = difflib.get_close_matches(name, commands, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    known = ", ".join(commands) or "none installed"
    return f"{program}: unknown command {name!r}{hint} (commands: {known})"


def command() -> NoReturn:
    """The console command: ends the process with what `main` returns."""
    try:
        with ended_by_signals(last=True):
            code = main()
    except KeyboardInterrupt:  # in the moment before `main` or behind it
        code = _interrupted(sys.argv[1:])
    except SystemExit as error:  # of a parser: its code, whoever tells the process to end now
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    leave(code)


if __name__ == "__main__":
    command()
