# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Arrays in numpy's format that somebody else wrote: numbers of a bounded size, or a ValueError.

numpy parses the header as Python, with Python's own errors (tokens, indentation, recursion), and
believes any shape: one of 2**60 elements is asked of the system before a byte is read.
"""

from __future__ import annotations

import math
import os
import tokenize
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from .words import plain

__all__ = ["NpyHeader", "load_npy", "read_npy_header"]

NpyHeader = tuple[tuple[int, ...], bool, "np.dtype[Any]"]
_MAX_HEADER = 4096
_READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
_OF_NUMPY = (tokenize.TokenError, SyntaxError, TypeError, MemoryError, RecursionError)


def read_npy_header(file: IO[bytes]) -> NpyHeader:
    """Read up to where the numbers begin.

    Args:
        file: At the beginning of the array.

    Returns:
        Shape, whether it is in Fortran's order, and dtype.

    Raises:
        ValueError: It is no array, holds Python objects, or has a side below 0.
    """
    version = np.lib.format.read_magic(file)
    if version not in _READERS:
        raise ValueError(f"version {version}, expected one of {sorted(_READERS)}")
    try:
        shape, fortran, dtype = _READERS[version](file, _MAX_HEADER)
    except _OF_NUMPY as error:
        raise ValueError(f"its header is damaged: {type(error).__name__}") from None
    except ValueError as error:  # numpy's goes on over lines, and advises to unpickle
        raise ValueError(plain(str(error).partition("\n")[0])) from None
    if dtype.hasobject:
        raise ValueError("it holds objects, expected numbers")
    if any(side < 0 for side in shape):
        raise ValueError(f"its shape is {shape!r:.80}")
    return tuple(int(side) for side in shape), fortran, dtype


def load_npy(path: Path) -> NDArray[Any]:
    """Read a whole file.

    Raises:
        ValueError: As `read_npy_header`, or it holds another number of bytes than it says.
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        shape, fortran, dtype = read_npy_header(file)
        wanted, held = math.prod(shape) * dtype.itemsize, os.fstat(file.fileno()).st_size
        if wanted != held - file.tell():
            raise ValueError(f"says {wanted} bytes and holds {held - file.tell()}")
        numbers = np.frombuffer(bytearray(file.read()), dtype)  # may be written to
    return numbers.reshape(shape, order="F" if fortran else "C")
