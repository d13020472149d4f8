"""A CUDA device as an engine uses it: memory, copies, one stream, captured graphs.

The calls are those of `cuda.bindings.runtime`, NVIDIA's own bindings: one code with and without
torch, and the same primary context as torch's, so that memory is shared by its address. Only
this file knows them; another object with the same functions may take their place.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Cuda", "CudaError", "OutOfDeviceMemoryError", "cuda_runtime"]

BINDINGS = "cuda.bindings.runtime"


class CudaError(RuntimeError):
    """A call of the CUDA runtime failed; the text says which and why."""


class OutOfDeviceMemoryError(CudaError):
    """The device has no room for an allocation."""


def cuda_runtime() -> Any:
    """Import the bindings.

    Raises:
        ModuleNotFoundError: They are not installed.
    """
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
        """Return the address of so many bytes on the device.

        Raises:
            OutOfDeviceMemoryError: There is no room.
        """
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
        """Record what `work` puts into the stream as a graph that `launch` replays.

        Raises:
            CudaError: Something in it cannot be captured.
        """
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
