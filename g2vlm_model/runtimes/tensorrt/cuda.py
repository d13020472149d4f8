# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A CUDA device as an engine uses it: memory, copies, one stream, captured graphs.

The calls are those of `cuda.bindings.runtime`, NVIDIA's own bindings: one code with and without
torch, and the same primary context as torch's, so that memory is shared by its address. Only
this file knows them; another object with the same functions may take their place.

Memory is taken once and used again: a buffer that was handed out comes back when the array over
it is collected, so that a result belongs to its caller for as long as he holds it, and a steady
stream of windows allocates nothing.
"""

from __future__ import annotations

import importlib
import math
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Block",
    "BufferPool",
    "Cuda",
    "CudaError",
    "DeviceArray",
    "OutOfDeviceMemoryError",
    "TensorForm",
    "cuda_runtime",
    "packed",
]

BINDINGS = "cuda.bindings.runtime"


class CudaError(RuntimeError):
    """A call of the CUDA runtime failed; the text says which and why."""


class OutOfDeviceMemoryError(CudaError):
    """The device has no room for an allocation."""


def cuda_runtime() -> Any:
    """Import the bindings; an error says how they are installed."""
    try:
        return importlib.import_module(BINDINGS)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{BINDINGS} cannot be imported: {error}; install the release of your CUDA: "
            "pip install 'cuda-bindings~=12.9' (JetPack 6) or 'cuda-bindings~=13.0'",
            name=error.name,
        ) from error


class Cuda:
    """One device and one stream of it. Used by one thread at a time, which may change.

    Args:
        index: Of the device.
        api: The bindings; None imports them.

    Raises:
        ModuleNotFoundError: The bindings are not installed.
        CudaError: No driver, an outdated one, or no such device.
    """

    def __init__(self, index: int = 0, api: Any = None) -> None:
        self._api = cuda_runtime() if api is None else api
        self.index = index
        self.enter()
        flags = self._api.cudaStreamNonBlocking
        self._stream = self._call("cudaStreamCreateWithFlags", flags)

    @property
    def stream(self) -> int:
        """Handle of the stream."""
        return int(self._stream)

    def enter(self) -> None:
        """Make the device the current one of this thread."""
        self._call("cudaSetDevice", self.index)

    def allocate(self, size: int) -> int:
        """Address of so many bytes; raises `OutOfDeviceMemoryError` where there is no room."""
        return int(self._call("cudaMalloc", size))

    def free(self, address: int) -> None:
        """Give memory back."""
        self._call("cudaFree", address)

    def upload(self, address: int, array: NDArray[Any]) -> None:
        """Copy a contiguous array to the device, in the stream's order."""
        assert array.flags.c_contiguous, array.strides
        kind = self._api.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._call("cudaMemcpyAsync", address, array.ctypes.data, array.nbytes, kind, self._stream)

    def download(self, address: int, size: int) -> NDArray[np.uint8]:
        """Copy bytes from the device, in the stream's order, and wait for them."""
        array = np.empty(size, np.uint8)
        kind = self._api.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._call("cudaMemcpyAsync", array.ctypes.data, address, size, kind, self._stream)
        self.synchronize()
        return array

    def synchronize(self) -> None:
        """Wait for everything in the stream."""
        self._call("cudaStreamSynchronize", self._stream)

    def synchronize_device(self) -> None:
        """Wait for everything on the device, in the streams of others (torch's) too."""
        self._call("cudaDeviceSynchronize")

    def capture(self, work: Callable[[], None]) -> Any:
        """Record what `work` puts into the stream as a graph; `CudaError` where none can be."""
        mode = self._api.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._call("cudaStreamBeginCapture", self._stream, mode)
        try:
            work()
        finally:
            graph = self._call("cudaStreamEndCapture", self._stream)
        try:
            return self._call("cudaGraphInstantiate", graph, 0)
        finally:
            self._call("cudaGraphDestroy", graph)

    def launch(self, captured: Any) -> None:
        """Put a captured graph into the stream."""
        self._call("cudaGraphLaunch", captured, self._stream)

    def forget(self, captured: Any) -> None:
        """Free a captured graph."""
        self._call("cudaGraphExecDestroy", captured)

    def close(self) -> None:
        """Free the stream; memory is its owners' to free."""
        self.enter()
        self._call("cudaStreamDestroy", self._stream)

    def _call(self, name: str, *arguments: Any) -> Any:
        """Call a function of the bindings; they return (error, result ...)."""
        try:
            code, *results = getattr(self._api, name)(*arguments)
        except RuntimeError as error:  # the bindings found no driver to load
            raise CudaError(f"no CUDA driver: {error}; install NVIDIA's driver") from error
        errors = self._api.cudaError_t
        if code != errors.cudaSuccess:
            text = f"{name} failed: {self._said(code)}"
            if code == errors.cudaErrorMemoryAllocation:
                raise OutOfDeviceMemoryError(f"out of memory on the device: {text}")
            raise CudaError(text)
        return results[0] if results else None

    def _said(self, code: Any) -> str:
        try:
            words = self._api.cudaGetErrorString(code)[1]
        except RuntimeError:
            words = b""
        return f"{words.decode(errors='replace')} ({getattr(code, 'name', code)})"


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
    """Buffers of one device."""

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
            self._collect()
        fitting = [entry for entry in self._free if size <= entry[0] <= 2 * size]
        entry = min(fitting) if fitting else self._allocate(size)
        if fitting:
            self._free.remove(entry)
        block = Block(entry[1], entry[0])
        weakref.finalize(block, self._give_back, entry).atexit = False
        return block

    def close(self) -> None:
        """Free everything that is not handed out; the rest goes when its holders let it go."""
        self._closed = True
        self._collect()
        self._release()

    def _collect(self) -> None:
        while self._returned:
            self._free.append(self._returned.popleft())

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
            self._release()
            return size, self._cuda.allocate(size)

    def _release(self, below: float = math.inf) -> None:
        """Give free buffers of less than a size back to the device."""
        for entry in [entry for entry in self._free if entry[0] < below]:
            self._free.remove(entry)
            self._cuda.free(entry[1])


@dataclass(frozen=True)
class TensorForm:
    """An input or output.

    Args:
        shape: -1 where it is free.
        dtype: numpy's.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def nbytes(self) -> int:
        """Size without padding."""
        return math.prod(self.shape) * self.dtype.itemsize


def packed(tensors: Mapping[str, TensorForm]) -> tuple[dict[str, int], int]:
    """Offsets of tensors one behind the other, each aligned, and the size of all, in bytes."""
    offsets: dict[str, int] = {}
    size = 0
    for name, tensor in tensors.items():
        offsets[name] = size
        size += -(-tensor.nbytes // ALIGNMENT) * ALIGNMENT
    return offsets, max(size, ALIGNMENT)
