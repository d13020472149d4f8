"""Memory of a device that is taken once and used again.

A buffer that was handed out comes back when the array over it is collected, so that a result
belongs to its caller for as long as he holds it, and a steady stream of windows allocates nothing.
"""

from __future__ import annotations

import math
import weakref
from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .cuda import Cuda, OutOfDeviceMemoryError

__all__ = ["Block", "BufferPool", "DeviceArray", "Place", "packed"]

ALIGNMENT = 256  # of every tensor, in bytes


class DeviceArray:
    """An array on a CUDA device; torch and others take it without a copy.

    Args:
        address: On the device.
        shape, dtype: As numpy's.
        keep: Lives as long as the array.
    """

    def __init__(
        self, address: int, shape: tuple[int, ...], dtype: np.dtype[Any], keep: object
    ) -> None:
        self.address = address
        self.shape = shape
        self.dtype = dtype
        self._keep = keep

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """The protocol's description; what it holds has been computed already."""
        return {
            "version": 3,
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self.address, False),
            "strides": None,
            "stream": None,
        }


class Block:
    """Memory that was handed out; collecting it gives it back to its pool."""

    def __init__(self, address: int, size: int) -> None:
        self.address = address
        self.size = size


class BufferPool:
    """Buffers of one device.

    Args:
        cuda: Allocates.
    """

    def __init__(self, cuda: Cuda) -> None:
        self._cuda = cuda
        self._free: list[tuple[int, int]] = []  # (size, address)
        # Filled by finalizers, which may run in the middle of anything.
        self._returned: deque[tuple[int, int]] = deque()
        self._closed = False

    def take(self, size: int) -> Block:
        """Return memory of at least so many bytes; it comes back when the block is collected.

        Raises:
            OutOfDeviceMemoryError: The device has no room, with what is free given back to it.
        """
        assert not self._closed, "the pool is closed"
        if self._returned:
            # Others, such as torch in a stream of its own, may still be reading it.
            self._cuda.synchronize_device()
        while self._returned:
            self._free.append(self._returned.popleft())
        fitting = [entry for entry in self._free if size <= entry[0] <= 2 * size]
        if fitting:
            entry = min(fitting)
            self._free.remove(entry)
        else:
            entry = self._allocate(size)
        block = Block(entry[1], entry[0])
        weakref.finalize(block, self._give_back, entry).atexit = False
        return block

    def close(self) -> None:
        """Free everything that is not handed out; the rest goes when its holders let it go."""
        self._closed = True
        while self._returned:
            self._free.append(self._returned.popleft())
        self._release()

    def _give_back(self, entry: tuple[int, int]) -> None:
        if self._closed:
            self._cuda.free(entry[1])  # waits for whoever still reads it
        else:
            self._returned.append(entry)

    def _allocate(self, size: int) -> tuple[int, int]:
        # Windows grow: what served smaller ones is given back, not kept beside.
        self._release(below=size)
        try:
            return size, self._cuda.allocate(size)
        except OutOfDeviceMemoryError:
            if not self._free:
                raise
        self._release()
        return size, self._cuda.allocate(size)

    def _release(self, below: float = math.inf) -> None:
        """Give free buffers of less than a size back to the device."""
        for entry in [entry for entry in self._free if entry[0] < below]:
            self._free.remove(entry)
            self._cuda.free(entry[1])


@dataclass(frozen=True)
class Place:
    """Where a tensor lies in a buffer.

    Args:
        offset: In bytes.
        shape, dtype: As numpy's.
    """

    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def nbytes(self) -> int:
        """Size without padding."""
        return math.prod(self.shape) * self.dtype.itemsize

    def view(self, buffer: NDArray[np.uint8]) -> NDArray[Any]:
        """The tensor in a copy of the buffer on the host."""
        part = buffer[self.offset : self.offset + self.nbytes]
        return part.view(self.dtype).reshape(self.shape)


def packed(
    tensors: dict[str, tuple[tuple[int, ...], np.dtype[Any]]],
) -> tuple[dict[str, Place], int]:
    """Lay tensors out one behind the other, each aligned.

    Returns:
        Their places, and the size of all.
    """
    places: dict[str, Place] = {}
    offset = 0
    for name, (shape, dtype) in tensors.items():
        places[name] = Place(offset, shape, dtype)
        offset += -(-places[name].nbytes // ALIGNMENT) * ALIGNMENT
    return places, max(offset, ALIGNMENT)
