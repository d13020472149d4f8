# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""One compiled graph: arrays in, arrays out, by name.

One upload of the inputs, one download of the outputs that the host needs; the others stay on
the device. TensorRT 10, 11 and RTX differ in what is probed here with `hasattr`.
"""

from __future__ import annotations

import functools
import hashlib
import logging
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...interface.whole_files import whole_file
from ..machine import Gpu, TensorRT
from ..vouched import require_own
from .cuda import Block, BufferPool, Cuda, CudaError, DeviceArray, TensorForm, packed

__all__ = ["EngineError", "KernelCache", "TensorRTGraph"]

_LOG = logging.getLogger(__name__)

KEPT_GRAPHS = 4  # captured CUDA graphs, one per set of addresses
KEPT_ERRORS = 4


class EngineError(RuntimeError):
    """TensorRT refused an engine or a run; the text holds what it said."""


class TensorRTGraph:
    """An engine on the device. Used by one thread at a time.

    Args:
        plan: File of the engine. Whoever calls has made sure that it is to be trusted.
        trt: The TensorRT that built it.
        gpu: The device that it was built for.
        cuda: Its memory; None opens it. One that is given is shared and not closed here.
        static: Every run has the same shapes: they are captured as a CUDA graph.
        kernels: File in which TensorRT-RTX keeps the kernels that it compiles at the first run.

    Attributes:
        inputs, outputs: By name, in the engine's order.

    Raises:
        EngineError: The engine cannot be loaded.
        CudaError: The device cannot be used, or has no room.
        ModuleNotFoundError: The CUDA bindings are not installed.
        OSError: The file cannot be read.
    """

    def __init__(
        self,
        plan: Path,
        trt: TensorRT,
        gpu: Gpu,
        *,
        cuda: Cuda | None = None,
        static: bool = False,
        kernels: Path | None = None,
    ) -> None:
        self._name = plan.name
        self._own_cuda = cuda is None
        self._cuda = cuda or Cuda(gpu.index)
        self._cuda.enter()
        self._pool = BufferPool(self._cuda)
        self._captured: dict[tuple[object, ...], Any] = {}
        self._kernels = KernelCache(trt, kernels)
        self._log = _log(trt.api)
        self._log.errors = []
        self._runtime = trt.api.Runtime(self._log)
        self._context: Any = None
        try:
            self._load(plan, trt, gpu, static)
        except BaseException:
            self._free()
            raise
        self.inputs, self.outputs = _tensors(trt.api, self._engine)

    def _load(self, plan: Path, trt: TensorRT, gpu: Gpu, static: bool) -> None:
        self._engine = self._runtime.deserialize_cuda_engine(plan.read_bytes())
        if self._engine is None:
            raise self._error(f"the engine {plan} cannot be loaded by {trt} on {gpu.name}")
        config = self._kernels.configured(self._engine, static)
        given = () if config is None else (config,)
        self._context = self._engine.create_execution_context(*given)
        if self._context is None:
            raise self._error(f"the engine {plan} has no room on {gpu.name}")
        # RTX captures by itself, where it was told to.
        self._captures = static and config is None

    @property
    def runs_to_replay(self) -> int:
        """How many runs of equal inputs it takes until one is the replay of a CUDA graph, or 1."""
        return 3 if self._captures else 1  # into fresh buffers, into kept ones, the replay

    def run(self, feeds: Mapping[str, Any], keep: Collection[str] = ()) -> dict[str, Any]:
        """Run the graph and wait for it.

        Args:
            feeds: Every input: a numpy array, or an array on the device.
            keep: Outputs that stay on the device, as `DeviceArray`s; the others come as numpy's.
                Either are the caller's, no later run writes to them.

        Raises:
            ValueError: An input is missing, or has another type or shape.
            EngineError: TensorRT cannot run it.
            CudaError: The device failed or has no room.
        """
        if self._context is None:
            raise EngineError(f"{self._name} is closed")
        self._cuda.enter()
        arrays = self._checked(feeds)
        addresses, _holding = self._place_inputs(arrays)
        forms = self._output_forms(arrays)
        offsets, size = packed({name: form for name, form in forms.items() if name not in keep})
        block = self._pool.take(size)
        addresses.update((name, block.address + offset) for name, offset in offsets.items())
        results: dict[str, Any] = {}
        for name, form in forms.items():
            if name not in offsets:
                own = self._pool.take(max(1, form.nbytes))
                addresses[name] = own.address
                results[name] = DeviceArray(own.address, form.shape, form.dtype, own)
        self._execute(arrays, addresses)
        buffer = self._cuda.download(block.address, size)
        self._kernels.note(arrays)
        for name, offset in offsets.items():
            part = buffer[offset : offset + forms[name].nbytes]
            results[name] = part.view(forms[name].dtype).reshape(forms[name].shape)
        return {name: results[name] for name in self.outputs}

    def close(self) -> None:
        """Give the device's memory back; arrays that were kept stay valid."""
        if self._context is None:
            return
        self._cuda.enter()
        self._cuda.synchronize()
        for captured in self._captured.values():
            self._cuda.forget(captured)
        self._captured = {}
        self._kernels.save()
        self._free()

    def _free(self) -> None:
        self._context = self._engine = self._runtime = None  # in this order
        self._pool.close()
        if self._own_cuda:
            self._cuda.close()

    def _checked(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
        """The inputs: numpy arrays contiguous, others as they are."""
        missing = sorted(set(self.inputs) - set(feeds))
        if missing:
            raise ValueError(f"{self._name} needs the inputs {', '.join(missing)}")
        arrays = {}
        for name, tensor in self.inputs.items():
            array = feeds[name] if _on_device(feeds[name]) else np.ascontiguousarray(feeds[name])
            there = None if isinstance(array, np.ndarray) else array.__cuda_array_interface__
            shape, dtype = tuple(array.shape), np.dtype(there["typestr"]) if there else array.dtype
            fits = len(shape) == len(tensor.shape) and all(
                wanted in (-1, size) for wanted, size in zip(tensor.shape, shape, strict=True)
            )
            if dtype != tensor.dtype or not fits:
                raise ValueError(
                    f"input {name} of {self._name} is {dtype} {list(shape)}, expected "
                    f"{tensor.dtype} {list(tensor.shape)} (-1: any)"
                )
            arrays[name] = array
        return arrays

    def _place_inputs(self, arrays: Mapping[str, Any]) -> tuple[dict[str, int], Block]:
        """Addresses of the inputs, and what holds them; those of the host are uploaded."""
        host = {
            name: TensorForm(array.shape, array.dtype)
            for name, array in arrays.items()
            if not _on_device(array)
        }
        offsets, size = packed(host)
        block = self._pool.take(size)
        addresses = {name: block.address + offset for name, offset in offsets.items()}
        for name, address in addresses.items():
            self._cuda.upload(address, arrays[name])
        if len(host) < len(arrays):
            self._cuda.synchronize_device()  # whoever computes the others may not be done
        for name in arrays.keys() - host.keys():
            described = arrays[name].__cuda_array_interface__
            if described.get("strides") is not None:
                raise ValueError(f"input {name} of {self._name} is not contiguous")
            addresses[name] = int(described["data"][0])
        return addresses, block

    def _output_forms(self, arrays: Mapping[str, Any]) -> dict[str, TensorForm]:
        for name, array in arrays.items():
            if not self._context.set_input_shape(name, tuple(array.shape)):
                raise self._error(
                    f"{self._name} was not built for {name} of shape {list(array.shape)}"
                )
        return {
            name: TensorForm(tuple(self._context.get_tensor_shape(name)), tensor.dtype)
            for name, tensor in self.outputs.items()
        }

    def _execute(self, arrays: Mapping[str, Any], addresses: Mapping[str, int]) -> None:
        """Put the run into the stream."""
        for name, address in addresses.items():
            if not self._context.set_tensor_address(name, address):
                raise self._error(f"{self._name} refuses the memory of {name}")
        if not self._captures:
            self._enqueue()
            return
        key = (*addresses.items(), *(tuple(array.shape) for array in arrays.values()))
        captured = self._captured.pop(key, None)
        if captured is None:
            self._enqueue()  # TensorRT wants one run of these shapes before it is captured
            self._cuda.synchronize()
            try:
                captured = self._cuda.capture(self._enqueue)
            except (CudaError, EngineError) as error:
                # An engine may do what no graph can hold, such as wait for a size. It has run.
                _LOG.warning("%s runs without a CUDA graph: %s", self._name, str(error))
                self._captures = False
                return
            if len(self._captured) == KEPT_GRAPHS:
                self._cuda.forget(self._captured.pop(next(iter(self._captured))))
        else:
            self._cuda.launch(captured)
        self._captured[key] = captured  # the newest is last

    def _enqueue(self) -> None:
        if not self._context.execute_async_v3(self._cuda.stream):
            raise self._error(f"{self._name} cannot be run")

    def _error(self, what: str) -> EngineError:
        said, self._log.errors = "; ".join(self._log.errors), []
        return EngineError(f"{what}: {said}" if said else what)


@functools.cache
def _log(api: Any) -> Any:
    """The log of a TensorRT, which knows only one in a process; it keeps the errors' texts."""
    severity = api.ILogger.Severity

    class Log(api.ILogger):  # type: ignore[misc]
        """Messages for debugging."""

        def __init__(self) -> None:
            api.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, level: Any, text: str) -> None:
            """Take a message; called by TensorRT."""
            _LOG.debug("%s", text)
            if level in (severity.INTERNAL_ERROR, severity.ERROR):
                self.errors = [*self.errors, " ".join(text.split())][-KEPT_ERRORS:]

    return Log()


def _tensors(api: Any, engine: Any) -> tuple[dict[str, TensorForm], dict[str, TensorForm]]:
    """Inputs and outputs of an engine."""
    inputs: dict[str, TensorForm] = {}
    outputs: dict[str, TensorForm] = {}
    for name in map(engine.get_tensor_name, range(engine.num_io_tensors)):
        dtype = np.dtype(api.nptype(engine.get_tensor_dtype(name)))
        is_input = engine.get_tensor_mode(name) == api.TensorIOMode.INPUT
        form = TensorForm(tuple(engine.get_tensor_shape(name)), dtype)
        (inputs if is_input else outputs)[name] = form
    return inputs, outputs


def _on_device(array: Any) -> bool:
    return not isinstance(array, np.ndarray) and hasattr(array, "__cuda_array_interface__")


class KernelCache:
    """The cache of one engine.

    Args:
        trt: The TensorRT.
        file: Where it is kept; None: not beyond the process.
    """

    def __init__(self, trt: TensorRT, file: Path | None) -> None:
        self._api = trt.api
        self._file = file
        self._cache: Any = None
        self._saved = b""  # hash of what the file holds
        self._shapes: set[tuple[tuple[int, ...], ...]] = set()

    def configured(self, engine: Any, static: bool) -> Any:
        """A runtime configuration with the cache in it; None where the TensorRT is not RTX.

        Newer TensorRTs have configurations too, but neither a cache nor graphs in them.
        """
        if not hasattr(self._api, "CudaGraphStrategy"):
            return None
        config = engine.create_runtime_config()
        if static:
            config.cuda_graph_strategy = self._api.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        if self._file is not None:
            self._cache = config.create_runtime_cache()
            self._load(self._file)
            config.set_runtime_cache(self._cache)
        return config

    def note(self, arrays: Mapping[str, Any]) -> None:
        """Keep what was compiled for inputs whose shapes came for the first time."""
        shapes = tuple(tuple(array.shape) for array in arrays.values())
        if shapes not in self._shapes:
            self._shapes.add(shapes)
            self.save()

    def save(self) -> None:
        """Write what has been compiled since; a disk that is full costs the next start only."""
        if self._cache is None or self._file is None:
            return
        content = bytes(self._cache.serialize())
        digest = hashlib.sha256(content).digest()
        if digest == self._saved:
            return
        self._saved = digest
        try:
            with whole_file(self._file) as partial:
                partial.write_bytes(content)
        except OSError as error:
            # As text: a log that keeps its records would keep the error's frames, and buffers.
            _LOG.warning("the compiled kernels are not kept in %s: %s", self._file, str(error))

    def _load(self, file: Path) -> None:
        if not file.is_file():
            return
        require_own(file.parent)
        content = file.read_bytes()
        if self._cache.deserialize(content):
            self._saved = hashlib.sha256(content).digest()
        else:
            _LOG.info("%s is of another TensorRT, GPU or driver; kernels are compiled anew", file)
