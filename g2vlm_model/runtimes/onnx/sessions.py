"""One loaded ONNX graph: numpy arrays in and out, errors that say what to do.

Shared by the geometry and by the answers. ONNX Runtime is imported when a session is opened.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..cpu import cpu_threads
from .providers import Provider, ProviderError

__all__ = ["PIP_LINE", "Session", "onnxruntime_module", "to_cpu"]

SPINNING = {
    "session.intra_op.allow_spinning": "1",
    "session.intra_op.spin_duration_us": "20",
    "session.force_spinning_stop": "1",
}
PIP_LINE = "pip install onnxruntime (for NVIDIA: pip install 'onnxruntime-gpu[cuda,cudnn]')"


def onnxruntime_module() -> ModuleType:
    """Import ONNX Runtime.

    Raises:
        RuntimeError: It is not installed, or cannot be loaded.
    """
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
        threads: Of the CPU; 0 is `cpu.cpu_threads`.

    Attributes:
        inputs, outputs: Their names, in the graph's order.

    Raises:
        ProviderError: ONNX Runtime would run the graph somewhere else.
        RuntimeError: It cannot load the graph, or is not installed.
    """

    def __init__(self, path: Path, provider: Provider, threads: int = 0) -> None:
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
        self, feeds: Mapping[str, Any], outputs: Sequence[str] | None = None
    ) -> dict[str, NDArray[Any]]:
        """Compute outputs.

        Args:
            feeds: Input -> numpy array, OrtValue from `upload`, or any array with `__dlpack__`,
                which is not copied.
            outputs: Names of what is wanted; None is everything.

        Returns:
            Output -> numpy array.

        Raises:
            RuntimeError: The device failed, or an input does not fit the graph.
        """
        found = self._bound(feeds, outputs, ("cpu", 0))
        return {name: value.numpy() for name, value in found.items()}

    def run_on_device(
        self, feeds: Mapping[str, Any], outputs: Sequence[str] | None = None
    ) -> dict[str, Any]:
        """Compute outputs that stay on the device.

        Args:
            feeds, outputs: As in `run`.

        Returns:
            Output -> an array with `__dlpack__`.
        """
        found = self._bound(feeds, outputs, self._provider.memory)
        return {name: value._ortvalue for name, value in found.items()}

    def _bound(
        self, feeds: Mapping[str, Any], outputs: Sequence[str] | None, where: tuple[str, int]
    ) -> dict[str, Any]:
        """Run; outputs as OrtValues in a memory."""
        session = self._session
        if session is None:
            raise RuntimeError(f"{self._path.name} is closed; load the runtime again")
        names = self.outputs if outputs is None else tuple(outputs)
        try:
            binding = session.io_binding()
            for name, value in feeds.items():
                if isinstance(value, np.ndarray):
                    binding.bind_cpu_input(name, np.asarray(value, order="C"))
                elif isinstance(value, self._ort.OrtValue):
                    binding.bind_ortvalue_input(name, value)
                else:
                    binding.bind_ortvalue_input(name, self._ort.OrtValue.from_dlpack(value))
            for name in names:
                binding.bind_output(name, *where)
            session.run_with_iobinding(binding)
            return dict(zip(names, binding.get_outputs(), strict=True))
        except self._errors as error:
            raise RuntimeError(
                f"{self._path.name} failed on {self._provider.device}: {error}"
            ) from None

    def upload(self, array: NDArray[Any]) -> Any:
        """An OrtValue on the session's device, for many runs; the CPU's shares the memory."""
        return self._ort.OrtValue.ortvalue_from_numpy(array, *self._provider.memory)

    def close(self) -> None:
        """Give the memory back; a second call does nothing."""
        self._session = None


def to_cpu(array: Any) -> NDArray[Any]:
    """A numpy copy of what `run_on_device` left on a device."""
    found: NDArray[Any] = array.numpy()
    return found


def _errors(ort: ModuleType) -> tuple[type[Exception], ...]:
    """Every exception of ONNX Runtime's own; they have no base of their own."""
    state = ort.capi.onnxruntime_pybind11_state
    own = [one for one in vars(state).values() if isinstance(one, type)]
    return (*(one for one in own if issubclass(one, Exception)), RuntimeError)
