# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A GPU in the host's memory, for the code around one where there is none.

The calls are those of `cuda.bindings.runtime`. It is as strict as the real thing, or stricter:
what is put into a stream happens when somebody waits for it, fresh memory holds garbage, freed
memory is poisoned, and an access outside of an allocation is an error of the call that waits.
"""

from __future__ import annotations

import ctypes
import enum
import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

GARBAGE, POISON = 0xA5, 0xDD

Work = Callable[[], None]


class Code(enum.IntEnum):
    cudaSuccess = 0
    cudaErrorInvalidValue = 1
    cudaErrorMemoryAllocation = 2
    cudaErrorIllegalAddress = 700


class Kind(enum.IntEnum):
    cudaMemcpyHostToDevice = 1
    cudaMemcpyDeviceToHost = 2


class CaptureMode(enum.IntEnum):
    cudaStreamCaptureModeThreadLocal = 1


class IllegalAddress(Exception):  # noqa: N818 - as CUDA calls it
    pass


class HostCuda:
    """`cuda.bindings.runtime` of a device in the host's memory.

    Args:
        room: Bytes of the device.

    Attributes:
        calls: Number of each function's calls; copies by their kind.
        blocks: Allocated memory by its address.
    """

    cudaError_t = Code
    cudaMemcpyKind = Kind
    cudaStreamCaptureMode = CaptureMode
    cudaStreamNonBlocking = 1

    def __init__(self, room: int = 1 << 28) -> None:
        self.room = room
        self.calls: Counter[str] = Counter()
        self.blocks: dict[int, Any] = {}
        self._streams: dict[int, list[Work]] = {}
        self._recording: dict[int, list[Work]] = {}

    def cudaSetDevice(self, index: int) -> tuple[Code]:
        return (Code.cudaSuccess if index == 0 else Code.cudaErrorInvalidValue,)

    def cudaStreamCreateWithFlags(self, flags: int) -> tuple[Code, int]:
        assert flags == self.cudaStreamNonBlocking
        stream = 0x1000 + len(self._streams)
        self._streams[stream] = []
        return Code.cudaSuccess, stream

    def cudaStreamDestroy(self, stream: int) -> tuple[Code]:
        del self._streams[stream]
        return (Code.cudaSuccess,)

    def cudaMalloc(self, size: int) -> tuple[Code, int]:
        self.calls["cudaMalloc"] += 1
        if size <= 0 or size + sum(map(ctypes.sizeof, self.blocks.values())) > self.room:
            return Code.cudaErrorMemoryAllocation, 0
        block = (ctypes.c_uint8 * size)()
        address = ctypes.addressof(block)
        ctypes.memset(address, GARBAGE, size)
        self.blocks[address] = block
        return Code.cudaSuccess, address

    def cudaFree(self, address: int) -> tuple[Code]:
        code = self._wait(list(self._streams))
        block = self.blocks.pop(address, None)
        if block is None:
            return (Code.cudaErrorInvalidValue,)
        ctypes.memset(address, POISON, ctypes.sizeof(block))
        return (code,)

    def cudaMemcpyAsync(
        self, target: int, source: int, size: int, kind: Kind, stream: int
    ) -> tuple[Code]:
        self.calls[kind.name] += 1

        def copy() -> None:
            self.require(target if kind == Kind.cudaMemcpyHostToDevice else source, size)
            ctypes.memmove(target, source, size)

        self.put(stream, copy)
        return (Code.cudaSuccess,)

    def cudaStreamSynchronize(self, stream: int) -> tuple[Code]:
        return (self._wait([stream]),)

    def cudaDeviceSynchronize(self) -> tuple[Code]:
        self.calls["cudaDeviceSynchronize"] += 1
        return (self._wait(list(self._streams)),)

    def cudaStreamBeginCapture(self, stream: int, mode: CaptureMode) -> tuple[Code]:
        self.calls["cudaStreamBeginCapture"] += 1
        self._recording[stream] = []
        return (Code.cudaSuccess,)

    def cudaStreamEndCapture(self, stream: int) -> tuple[Code, list[Work]]:
        return Code.cudaSuccess, self._recording.pop(stream)

    def cudaGraphInstantiate(self, graph: list[Work], flags: int) -> tuple[Code, tuple[Work, ...]]:
        self.calls["graphs"] += 1
        return Code.cudaSuccess, tuple(graph)

    def cudaGraphDestroy(self, graph: list[Work]) -> tuple[Code]:
        return (Code.cudaSuccess,)

    def cudaGraphExecDestroy(self, captured: tuple[Work, ...]) -> tuple[Code]:
        self.calls["graphs"] -= 1
        return (Code.cudaSuccess,)

    def cudaGraphLaunch(self, captured: tuple[Work, ...], stream: int) -> tuple[Code]:
        self.calls["cudaGraphLaunch"] += 1
        for work in captured:
            self.put(stream, work)
        return (Code.cudaSuccess,)

    def cudaGetErrorString(self, code: Code) -> tuple[Code, bytes]:
        return Code.cudaSuccess, code.name.encode()

    def put(self, stream: int, work: Work) -> None:
        """Put something into a stream, or into the graph that is being captured there."""
        self._recording.get(stream, self._streams[stream]).append(work)

    def require(self, address: int, size: int) -> None:
        """Refuse an access outside of what is allocated."""
        for start, block in self.blocks.items():
            if start <= address and address + size <= start + ctypes.sizeof(block):
                return
        raise IllegalAddress(hex(address))

    def read(self, array: Any) -> NDArray[Any]:
        """What an array on the device holds now."""
        described = array.__cuda_array_interface__
        dtype = np.dtype(described["typestr"])
        address, shape = described["data"][0], described["shape"]
        self.require(address, math.prod(shape) * dtype.itemsize)
        found: NDArray[Any] = at(address, shape, dtype).copy()
        return found

    def _wait(self, streams: list[int]) -> Code:
        for stream in streams:
            work, self._streams[stream] = self._streams[stream], []
            try:
                for piece in work:
                    piece()
            except IllegalAddress:
                return Code.cudaErrorIllegalAddress
        return Code.cudaSuccess


def at(address: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """The array at an address, without a copy."""
    size = math.prod(shape) * dtype.itemsize
    buffer = memoryview((ctypes.c_uint8 * size).from_address(address)).cast("B")
    array: NDArray[Any] = np.frombuffer(buffer, np.uint8).view(dtype).reshape(shape)
    return array
