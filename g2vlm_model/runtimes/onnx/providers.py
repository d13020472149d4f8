"""Which execution provider of ONNX Runtime a graph runs on, verified.

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
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

__all__ = ["PROVIDERS", "Provider", "ProviderError", "candidates"]

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
        """Load a graph on this provider.

        Args:
            ort: The module onnxruntime.
            path: The ONNX file.
            options: SessionOptions; changed here.

        Returns:
            An InferenceSession that really runs on this provider.

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
            self._check_available(ort)
            session = ort.InferenceSession(str(path), options, providers=self._requested())
        self._verify(session, path)
        return session

    def _requested(self) -> list[tuple[str, dict[str, str]]]:
        """The providers to ask for: what TensorRT cannot run, CUDA runs."""
        where = {"device_id": str(self.index)}
        wanted = (self.name,) if self.kind == "cuda" else (self.name, PROVIDERS["cuda"])
        return [(name, dict(where)) for name in wanted]

    def _installing(self) -> str:
        """How this machine gets the provider."""
        return ON_ARM if platform.machine() == "aarch64" else INSTALL[self.kind]

    def _check_available(self, ort: ModuleType) -> None:
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
