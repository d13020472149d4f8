# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What is loaded from outside may fail, but does not end the process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from .interface.words import plain

__all__ = ["foreign", "is_panic"]


def is_panic(error: BaseException) -> bool:
    """Whether this is what a library written in Rust raises where it gives up (pyo3)."""
    return type(error).__name__ == "PanicException"


@contextmanager
def foreign(what: str) -> Iterator[None]:
    """Make a ValueError of a SystemExit and of a panic, which `except Exception` lets through.

    An interrupt stays what it is.

    Args:
        what: That is loaded, for the text.

    Raises:
        ValueError: It wanted to end the process.
    """
    try:
        yield
    except SystemExit as error:
        raise ValueError(f"{what} wanted to end the process (exit {error.code!r:.60})") from error
    except BaseException as error:
        if not is_panic(error):
            raise
        raise ValueError(f"{what} gave up: {plain(str(error))}") from error
