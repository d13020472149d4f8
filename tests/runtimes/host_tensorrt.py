# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""TensorRT's bindings for a GPU in the host's memory: engines are ONNX files.

ONNX Runtime executes them, in the stream's order and between the addresses that were set.
"""

from __future__ import annotations

import enum
import math
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from .host_gpu import HostCuda, at

DTYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(uint8)": np.uint8,
    "tensor(int64)": np.int64,
}


class TensorIOMode(enum.Enum):
    INPUT = 1
    OUTPUT = 2


class Severity(enum.IntEnum):
    INTERNAL_ERROR = 0
    ERROR = 1
    INFO = 3


class ILogger:
    Severity = Severity

    def log(self, severity: enum.IntEnum, msg: str) -> None:
        raise NotImplementedError


class HostTensorRT:
    """TensorRT's bindings, for a `HostCuda`.

    Args:
        cuda: Where engines run.
        largest: What `set_input_shape` accepts at most in each dimension.
    """

    ILogger = ILogger
    TensorIOMode = TensorIOMode

    class IBuilderConfig:
        pass

    def __init__(self, cuda: HostCuda, largest: int = 1 << 20) -> None:
        self.cuda = cuda
        self.largest = largest

    def Runtime(self, logger: Any) -> HostRuntime:
        return HostRuntime(self, logger)

    @staticmethod
    def nptype(dtype: type) -> type:
        return dtype


class HostRuntime:
    def __init__(self, api: HostTensorRT, logger: Any) -> None:
        self._api = api
        self._logger = logger

    def deserialize_cuda_engine(self, plan: bytes) -> HostEngine | None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 4
        try:
            session = ort.InferenceSession(plan, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            self._logger.log(Severity.ERROR, f"the plan is no engine\n{error}")
            return None
        kind = HostRtxEngine if hasattr(self._api, "CudaGraphStrategy") else HostEngine
        return kind(self._api, session)


class HostEngine:
    def __init__(self, api: HostTensorRT, session: Any) -> None:
        self.api = api
        self.session = session
        self.tensors: dict[str, Any] = {tensor.name: tensor for tensor in session.get_inputs()}
        self.inputs = list(self.tensors)
        self.tensors |= {tensor.name: tensor for tensor in session.get_outputs()}

    @property
    def num_io_tensors(self) -> int:
        return len(self.tensors)

    def get_tensor_name(self, index: int) -> str:
        return list(self.tensors)[index]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.INPUT if name in self.inputs else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> type:
        return DTYPES[self.tensors[name].type]

    def get_tensor_shape(self, name: str) -> list[int]:
        return [size if isinstance(size, int) else -1 for size in self.tensors[name].shape]

    def create_runtime_config(self) -> object:
        """There are such configurations since TensorRT 10.11, with less in them than RTX's."""
        return object()

    def create_execution_context(self) -> HostContext:
        return HostContext(self)


class HostContext:
    def __init__(self, engine: HostEngine) -> None:
        self._engine = engine
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}
        self._known: dict[tuple[tuple[int, ...], ...], dict[str, tuple[int, ...]]] = {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        if max(shape) > self._engine.api.largest:
            return False
        self._shapes[name] = shape
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        if name in self._shapes:
            return self._shapes[name]
        key = tuple(self._shapes[name] for name in self._engine.inputs)
        if key not in self._known:
            zeros: dict[str, NDArray[Any]] = {
                name: np.zeros(self._shapes[name], self._engine.get_tensor_dtype(name))
                for name in self._engine.inputs
            }
            results = self._engine.session.run(None, zeros)
            names = [name for name in self._engine.tensors if name not in self._engine.inputs]
            self._known[key] = {n: r.shape for n, r in zip(names, results, strict=True)}
        return self._known[key][name]

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return name in self._engine.tensors and address > 0

    def execute_async_v3(self, stream: int) -> bool:
        engine, cuda = self._engine, self._engine.api.cuda
        names = list(engine.tensors)
        places = {
            name: (
                self._addresses[name],
                self.get_tensor_shape(name),
                np.dtype(engine.get_tensor_dtype(name)),
            )
            for name in names
        }

        def work() -> None:
            for address, shape, dtype in places.values():
                cuda.require(address, math.prod(shape) * dtype.itemsize)
            feeds = {name: at(*places[name]).copy() for name in engine.inputs}
            outputs = [name for name in names if name not in engine.inputs]
            for name, result in zip(outputs, engine.session.run(outputs, feeds), strict=True):
                at(*places[name])[...] = result

        cuda.put(stream, work)
        return True


# What TensorRT-RTX has besides.


class CudaGraphStrategy(enum.Enum):
    DISABLED = 0
    WHOLE_GRAPH_CAPTURE = 1


class HostRtx(HostTensorRT):
    """TensorRT-RTX's bindings: a runtime configuration and a cache of kernels.

    Attributes:
        machine: What a cache must have been made on.
        strategies: Of every context that was made.
        loaded: Whether each cache that was offered was taken.
    """

    CudaGraphStrategy = CudaGraphStrategy

    def __init__(self, cuda: HostCuda, machine: bytes = b"this machine") -> None:
        super().__init__(cuda)
        self.machine = machine
        self.strategies: list[CudaGraphStrategy] = []
        self.loaded: list[bool] = []


class HostRtxCache:
    def __init__(self, api: HostRtx) -> None:
        self._api = api
        self.kernels = 0

    def serialize(self) -> bytes:
        return self._api.machine + bytes([self.kernels])

    def deserialize(self, blob: bytes) -> bool:
        taken = blob[:-1] == self._api.machine
        self._api.loaded.append(taken)
        if taken:
            self.kernels = blob[-1]
        return taken


class HostRtxConfig:
    def __init__(self, api: HostRtx) -> None:
        self.cuda_graph_strategy = CudaGraphStrategy.DISABLED
        self.cache: HostRtxCache | None = None
        self._api = api

    def create_runtime_cache(self) -> HostRtxCache:
        return HostRtxCache(self._api)

    def set_runtime_cache(self, cache: HostRtxCache) -> bool:
        self.cache = cache
        return True


class HostRtxEngine(HostEngine):
    api: HostRtx

    def create_runtime_config(self) -> HostRtxConfig:
        return HostRtxConfig(self.api)

    def create_execution_context(self, config: HostRtxConfig | None = None) -> HostContext:
        assert config is not None, "TensorRT-RTX is to be configured"
        self.api.strategies.append(config.cuda_graph_strategy)
        return HostRtxContext(self, config)


class HostRtxContext(HostContext):
    """Compiles a kernel for each new shape."""

    def __init__(self, engine: HostRtxEngine, config: HostRtxConfig) -> None:
        super().__init__(engine)
        self._config = config
        self._compiled: set[tuple[tuple[int, ...], ...]] = set()

    def execute_async_v3(self, stream: int) -> bool:
        shapes = tuple(self._shapes.values())
        if self._config.cache is not None and shapes not in self._compiled:
            self._compiled.add(shapes)
            self._config.cache.kernels = max(self._config.cache.kernels, len(self._compiled))
        return super().execute_async_v3(stream)
