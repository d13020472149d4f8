# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""How commands refuse what they were given: one line that says the next step, exit code 2."""

from __future__ import annotations

import argparse
import difflib
import errno
import math
import os
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from .progress import be_quiet
from .words import plain, plain_lines

__all__ = ["BAD_INPUT", "CommandParser", "at_least", "reason", "told", "within"]

BAD_INPUT = 2  # exit code where the input, the command line or the disk is at fault
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}  # of a write, which names no file
_RIGHTS = "choose a place that is yours; `ls -ld` says whose it is"
_NEXT = {
    errno.EEXIST: "a file is there, where a folder is to be; choose another place",
    errno.ENOTDIR: "a file is there, where a folder is to be; choose another place",
    errno.EISDIR: "a folder is there, where a file is to be; name a file",
    errno.ENOENT: "there is nothing of that name; look for a typing error",
    errno.EACCES: f"permission denied; {_RIGHTS}",
    errno.EPERM: f"permission denied; {_RIGHTS}",
    errno.EROFS: "nothing can be written there; choose another place",
    errno.ENOSPC: "the disk is full; make room (`df -h` says where) or choose another place",
    errno.EDQUOT: "your share of the disk is full; make room or choose another place",
    errno.EFBIG: "the file is larger than may be written; `ulimit -f` says how much may",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
}


class CommandParser(argparse.ArgumentParser):
    """argparse's; its errors are one line: what is wrong, what may be meant, where the help is.

    Every command has `--quiet`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.add_argument("--quiet", action=_Quiet, nargs=0, help="show no progress")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """argparse's; what is not known is refused by the command that it was given to.

        Else the outer parser refuses it, which knows the options of every command inside it.
        """
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return found, unknown

    def error(self, message: str) -> NoReturn:
        """Say it, and end the process with 2."""
        self.exit(
            BAD_INPUT,
            f"{self.prog}: {plain(message)}; {self._meant(message)}`{self.prog} --help` explains\n",
        )

    def _meant(self, message: str) -> str:
        """What a word that is not known may have been."""
        if message.startswith("the following arguments are required:"):
            missing = message.partition(": ")[2].split(", ")
            return "".join(
                f"{action.dest} is one of {', '.join(action.choices)}; "
                for action in self._actions
                if isinstance(action, argparse._SubParsersAction) and action.dest in missing
            )
        if message.startswith("unrecognized arguments:"):
            words = message.partition(":")[2].split()
        else:
            words = re.findall(r"invalid choice: '([^']*)'", message)
        known = sorted(set(_words_of(self)))
        for word in words:
            if near := difflib.get_close_matches(word.partition("=")[0], known, n=1):
                return f"did you mean {near[0]}? "
        return ""


class _Quiet(argparse.Action):
    """Silences progress, and leaves nothing among the arguments."""

    def __init__(self, option_strings: list[str], dest: str, **kwargs: Any) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, default=argparse.SUPPRESS, **kwargs)

    def __call__(self, *_: Any, **__: Any) -> None:
        be_quiet()


def _words_of(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Options and choices of a parser and of those inside it."""
    for action in parser._actions:
        yield from action.option_strings
        yield from map(str, action.choices or ())
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from _words_of(inner)


def at_least(low: int) -> Callable[[str], int]:
    """What reads an option that is a whole number.

    Args:
        low: The lowest that is allowed.

    Returns:
        `type` of `add_argument`.
    """

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if value < low:
            raise argparse.ArgumentTypeError(f"is {text!r}, expected a whole number from {low} on")
        return value

    return read


def within(low: float, high: float) -> Callable[[str], float]:
    """What reads an option that is a number.

    Args:
        low: The lowest that is allowed.
        high: The highest.

    Returns:
        `type` of `add_argument`.
    """

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"is {text!r}, expected {low:g} to {high:g}")
        return value

    return read


def reason(error: Exception) -> str:
    """Why a command refuses, with the next step where the system only names what it met.

    Args:
        error: Of the input, the command line or the disk.
    """
    said = plain_lines(str(error)) or type(error).__name__
    if isinstance(error, OSError) and error.strerror != os.strerror(error.errno or 0):
        pass  # in words of our own, which know more
    elif isinstance(error, OSError) and error.errno in _NEXT and error.filename is not None:
        place = error.filename
        place = place if isinstance(place, int) else os.fsdecode(place)  # or a descriptor
        said = plain(f"{place}: {_NEXT[error.errno]}")
    elif isinstance(error, OSError) and error.errno in _FULL:
        said = _NEXT[error.errno]
    elif isinstance(error, MemoryError):
        said = "no memory is left; take a smaller model, fewer points or smaller pictures"
    return said


def told(program: str, error: Exception) -> int:
    """Print `reason`, and give the exit code for it.

    Args:
        program: Words ahead of the reason, such as "g2vlm train".
        error: Of the input, the command line or the disk.
    """
    said = reason(error)  # plain
    print(f"{program}: {said}", file=sys.stderr)
    return BAD_INPUT
