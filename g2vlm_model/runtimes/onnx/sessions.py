# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""One loaded ONNX graph on one execution provider, which is verified.

| device of `load_runtime` | provider                                                             |
|--------------------------|----------------------------------------------------------------------|
| "cpu"                    | CPUExecutionProvider                                                 |
| "cuda", "cuda:N"         | CUDAExecutionProvider (package onnxruntime-gpu)                      |
| "tensorrt", "tensorrt:N" | TensorrtExecutionProvider (onnxruntime-gpu and TensorRT's libraries) |
| "rtx", "rtx:N"           | NvTensorRTRTXExecutionProvider (onnxruntime and the plugin package)  |
| "auto"                   | CUDA device 0 where this ONNX Runtime has CUDA, else the CPU         |

ONNX Runtime falls back to the CPU without an error where a provider's libraries are missing. So
each session is asked what it runs on. A device that was asked for by name and does not run is
an error; "auto" goes on with the CPU, and says why. Engines of "tensorrt" and "rtx" are built at
every start and not kept; the runtime "tensorrt" keeps its engines.
"""

from __future__ import annotations

import importlib
import platform
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...interface import ObservationCancelledError
from ..geometry_engine import Cancelled
from ..machine import cpu_threads

__all__ = [
    "PIP_LINE",
    "PROVIDERS",
    "Provider",
    "ProviderError",
    "Session",
    "candidates",
    "onnxruntime_module",
]

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "rtx": "NvTensorRTRTXExecutionProvider",
}
INSTALL = {
    "cuda": "pip install 'onnxruntime-gpu[cuda,cudnn]' in the place of onnxruntime",
    "tensorrt": "pip install 'onnxruntime-gpu[cuda,cudnn]' in the place of onnxruntime, and "
    "'tensorrt>=10'",
    "rtx": "pip install onnxruntime-ep-nv-tensorrt-rtx-cu12 (or -cu13)",
}
# A Jetson: the package index has no onnxruntime-gpu for it.
ON_ARM = (
    "there is no onnxruntime-gpu for aarch64 on the package index: use the runtime 'tensorrt', or "
    "a build of ONNX Runtime with this provider"
)
RTX_PLUGIN = "onnxruntime_ep_nv_tensorrt_rtx"
HEAVY = frozenset(("MatMul", "Gemm", "Conv", "Attention", "FusedMatMul", "FusedConv"))


class ProviderError(RuntimeError):
    """A provider that was wanted does not run here; the text says why and what to do."""


@dataclass(frozen=True)
class Provider:
    """An execution provider on one device.

    Args:
        kind: A key of `PROVIDERS`.
        index: Of the device.
    """

    kind: str
    index: int = 0

    @property
    def name(self) -> str:
        """What ONNX Runtime calls it."""
        return PROVIDERS[self.kind]

    @property
    def device(self) -> str:
        """Device and provider, for `RuntimeInfo.device`."""
        return f"{self.torch_device} ({self.name})"

    @property
    def torch_device(self) -> str:
        """The device as torch names it."""
        return "cpu" if self.kind == "cpu" else f"cuda:{self.index}"

    @property
    def memory(self) -> tuple[str, int]:
        """Where its outputs can stay, as an IOBinding names it.

        A plugin's device memory is not known to ONNX Runtime's own bindings: the CPU's.
        """
        return ("cuda", self.index) if self.kind in ("cuda", "tensorrt") else ("cpu", 0)

    def open(self, ort: ModuleType, path: Path, options: Any) -> Any:
        """An InferenceSession that really runs on this provider; changes the options.

        Raises:
            ProviderError: It would run on another one.
        """
        if self.kind == "cpu":
            return ort.InferenceSession(str(path), options, providers=[self.name])
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        if self.kind == "rtx":
            devices = self._plugin_devices(ort)
            options.add_provider_for_devices([devices[self.index]], {})
            session = ort.InferenceSession(str(path), options)
        else:
            self.check_available(ort)
            names = dict.fromkeys((self.name, PROVIDERS["cuda"]))  # runs what TensorRT cannot
            providers = [(name, {"device_id": str(self.index)}) for name in names]
            session = ort.InferenceSession(str(path), options, providers=providers)
        self._verify(session, path)
        return session

    def _installing(self) -> str:
        """How this machine gets the provider."""
        return ON_ARM if platform.machine() == "aarch64" else INSTALL[self.kind]

    def check_available(self, ort: ModuleType) -> None:
        """Make sure that an ONNX Runtime has this provider; its libraries show when it runs.

        Raises:
            ProviderError: It has not; how this machine gets it.
        """
        available = ort.get_available_providers()
        if self.name not in available:
            raise ProviderError(
                f"this ONNX Runtime ({ort.__version__}) has no {self.name}, it has "
                f"{', '.join(available)}; {self._installing()}"
            )
        if hasattr(ort, "preload_dlls"):  # the libraries of the pip packages of CUDA and cuDNN
            ort.preload_dlls()

    def _plugin_devices(self, ort: ModuleType) -> list[Any]:
        """Devices of the plugin, which is registered once per process."""
        try:
            devices = [one for one in ort.get_ep_devices() if one.ep_name == self.name]
            if not devices:
                plugin = importlib.import_module(RTX_PLUGIN)
                ort.register_execution_provider_library(self.name, plugin.get_library_path())
                devices = [one for one in ort.get_ep_devices() if one.ep_name == self.name]
        except Exception as error:  # the loader's, the plugin's own, ONNX Runtime's: no common base
            raise ProviderError(
                f"the plugin {RTX_PLUGIN} cannot be loaded: {error}; {INSTALL['rtx']}"
            ) from error
        if self.index >= len(devices):
            raise ProviderError(
                f"the plugin {RTX_PLUGIN} finds {len(devices)} devices, asked for number "
                f"{self.index}; it needs an NVIDIA GPU of compute capability 8.0 or more"
            )
        return devices

    def _verify(self, session: Any, path: Path) -> None:
        """Refuse a session that runs somewhere else, wholly or for the most part."""
        used = session.get_providers()
        if not used or used[0] != self.name:
            raise ProviderError(
                f"ONNX Runtime loaded {path.name} on {', '.join(used) or 'nothing'} and not on "
                f"{self.name}: its libraries or the device are missing (what it wrote to stderr "
                f"names them); {self._installing()}"
            )
        if not hasattr(session, "get_provider_graph_assignment_info"):
            return  # before 1.24; the list above is all that it says
        heavy = {
            graph.ep_name: sum(node.op_type in HEAVY for node in graph.get_nodes())
            for graph in session.get_provider_graph_assignment_info()
        }
        on_cpu = heavy.get(PROVIDERS["cpu"], 0)
        if on_cpu > sum(heavy.values()) / 2:
            raise ProviderError(
                f"ONNX Runtime put {on_cpu} of {sum(heavy.values())} products of {path.name} on "
                f"the CPU and not on {self.name}: the provider does not know the graph's "
                "operators; export with --opset 18"
            )


def candidates(device: str, available: tuple[str, ...]) -> tuple[Provider, ...]:
    """The providers to try for a device, in order; one for a device that is named.

    Args:
        device: See the table of this module.
        available: `onnxruntime.get_available_providers()`.

    Raises:
        ValueError: A device that no ONNX Runtime has.
    """
    match = re.fullmatch(r"(auto|cpu|(?:cuda|tensorrt|rtx)(?::\d+)?)", device)
    if match is None:
        raise ValueError(
            f"device is {device!r}, expected auto, cpu, cuda, cuda:N, tensorrt, tensorrt:N, rtx "
            "or rtx:N"
        )
    if device != "auto":
        kind, _, index = device.partition(":")
        return (Provider(kind, int(index or 0)),)
    cuda = (Provider("cuda"),) if PROVIDERS["cuda"] in available else ()
    return (*cuda, Provider("cpu"))


SPINNING = {
    "session.intra_op.allow_spinning": "1",
    "session.intra_op.spin_duration_us": "20",
    "session.force_spinning_stop": "1",
}
# Packed, folded and widened weights are copies of what lies in the file: the last optimizer makes
# float32 of half precision, which the CPU's products want, for good.
MAPPED = {
    "session.disable_prepacking": "1",
    "optimization.disable_specified_optimizers": "ConstantFolding;"
    "FuseFp16InitializerToFp32NodeTransformer",
}
# A run's memory goes back when it ends: each graph would keep its largest run's for ever.
SHRINKING = ("memory.enable_memory_arena_shrinkage", "cpu:0")
WATCH_S = 0.01
PIP_LINE = "pip install onnxruntime (for NVIDIA: pip install 'onnxruntime-gpu[cuda,cudnn]')"


def onnxruntime_module() -> ModuleType:
    """Import ONNX Runtime; a RuntimeError says how it is installed."""
    try:
        import onnxruntime
    except ImportError as error:
        raise RuntimeError(f"the runtime 'onnx' needs ONNX Runtime ({error}): {PIP_LINE}") from None
    module: ModuleType = onnxruntime
    return module


class Session:
    """A graph on one provider, which is verified; thread-safe.

    Args:
        path: The ONNX file.
        provider: Where it has to run.
        threads: Of the CPU; 0 is `machine.cpu_threads`.
        mapped: Leave the weights in their file, which the processor's pages show: graphs that share
            it hold one copy between them. Else each packs its own for its products.

    Attributes:
        inputs, outputs: Their names, in the graph's order.

    Raises:
        ProviderError: ONNX Runtime would run the graph somewhere else.
        RuntimeError: It cannot load the graph, or is not installed.
    """

    def __init__(
        self, path: Path, provider: Provider, threads: int = 0, *, mapped: bool = False
    ) -> None:
        self._ort = onnxruntime_module()
        self._errors = _errors(self._ort)
        self._path = path
        self._provider = provider
        options = self._ort.SessionOptions()
        options.intra_op_num_threads = threads or cpu_threads()
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # what matters is raised, or read off the session
        # A small model is hundreds of short operations: threads that sleep between them wake up
        # too late. They spin for a moment, and not at all once the graph has run: they would take
        # the cores from torch, from the node, from each other.
        for name, value in SPINNING.items():
            options.add_session_config_entry(name, value)
        self._lean = mapped and provider.kind == "cpu"
        if self._lean:
            for name, value in MAPPED.items():
                options.add_session_config_entry(name, value)
            # Weights are widened when their product comes; the default order does it much earlier.
            options.execution_order = self._ort.ExecutionOrder.PRIORITY_BASED
        # A plan of the memory per input size comes on top of what the first run took: a quarter
        # more in all, and no faster (hidden 384, 8 frames of 224 x 224: 478 or 362 MiB beside the
        # session's own). The arena stays: without it a run takes a fifth longer.
        options.enable_mem_pattern = False
        try:
            self._session: Any = provider.open(self._ort, path, options)
        except ProviderError:
            raise
        except self._errors as error:
            raise RuntimeError(
                f"{path} cannot be loaded on {provider.device}; export the model again with "
                f"`g2vlm export onnx` (--opset 18 is what older versions of ONNX Runtime read, "
                f"this is {self._ort.__version__}): {error}"
            ) from None
        self.inputs = tuple(one.name for one in self._session.get_inputs())
        self.outputs = tuple(one.name for one in self._session.get_outputs())

    def run(
        self, feeds: Mapping[str, Any], cancelled: Cancelled = None, *, on_device: bool = False
    ) -> dict[str, Any]:
        """Compute all outputs.

        Args:
            feeds: Input -> numpy array, OrtValue from `upload`, or any array with `__dlpack__`,
                which is not copied.
            cancelled: Asked from another thread while the graph runs; True ends it behind the
                operator that it is at.
            on_device: Leave outputs on the device, as arrays with `__dlpack__`.

        Returns:
            Output -> numpy array, where they do not stay on the device.

        Raises:
            ObservationCancelledError: `cancelled` said so.
            RuntimeError: The device failed, or an input does not fit the graph.
        """
        session, value_of = self._session, self._ort.OrtValue
        if session is None:
            raise RuntimeError(f"{self._path.name} is closed; load the runtime again")
        options = self._ort.RunOptions()
        if self._lean:
            options.add_run_config_entry(*SHRINKING)
        try:
            binding = session.io_binding()
            for name, value in feeds.items():
                if isinstance(value, np.ndarray):
                    binding.bind_cpu_input(name, np.asarray(value, order="C"))
                else:
                    given = value if isinstance(value, value_of) else value_of.from_dlpack(value)
                    binding.bind_ortvalue_input(name, given)
            for name in self.outputs:
                binding.bind_output(name, *(self._provider.memory if on_device else ("cpu", 0)))
            with _watched(options, cancelled):
                session.run_with_iobinding(binding, options)
            found = dict(zip(self.outputs, binding.get_outputs(), strict=True))
        except self._errors as error:
            if options.terminate:
                raise ObservationCancelledError() from None
            raise RuntimeError(
                f"{self._path.name} failed on {self._provider.device}: {error}"
            ) from None
        if options.terminate:  # asked for in the run's last moment, which no longer heard it
            raise ObservationCancelledError()
        return {
            name: value._ortvalue if on_device else value.numpy() for name, value in found.items()
        }

    def upload(self, array: NDArray[Any]) -> Any:
        """An OrtValue on the session's device, for many runs; the CPU's shares the memory."""
        return self._ort.OrtValue.ortvalue_from_numpy(array, *self._provider.memory)

    def close(self) -> None:
        """Give the memory back; a second call does nothing."""
        self._session = None


@contextmanager
def _watched(options: Any, cancelled: Cancelled) -> Iterator[None]:
    """End a run with these options when nobody wants it any more; a thread of its own asks."""
    ended = threading.Event()
    if cancelled is not None:
        watch = (options, cancelled, ended)
        threading.Thread(target=_watch, args=watch, name="cancel-watch", daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def _watch(options: Any, cancelled: Callable[[], bool], ended: threading.Event) -> None:
    while not ended.wait(WATCH_S):
        if cancelled():
            options.terminate = True
            return


def _errors(ort: ModuleType) -> tuple[type[Exception], ...]:
    """Every exception of ONNX Runtime's own; they have no base of their own."""
    state = ort.capi.onnxruntime_pybind11_state
    own = [one for one in vars(state).values() if isinstance(one, type)]
    return (*(one for one in own if issubclass(one, Exception)), RuntimeError)
