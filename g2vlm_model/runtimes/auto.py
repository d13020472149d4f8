# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""`runtime="auto"`: which runtimes to try, the fastest first.

| machine                                          | what runs                                   |
|--------------------------------------------------|---------------------------------------------|
| a GPU and TensorRT                               | TensorRT, once it ran and was checked here  |
| a GPU that torch sees                            | torch                                       |
| a CPU, with torch and ONNX Runtime               | the faster of the two, measured here once   |
| one of the two                                   | that one                                    |

Engines take over only when they ran on this device and passed their golden check there
(`tensorrt/geometry.py`); until then, and for windows that they were not built for, torch serves.
An export of another model than `model` is run as it is: which of two models answers must not
depend on what is faster.
"""

from __future__ import annotations

import importlib.util
import logging
from dataclasses import dataclass, replace

from .export_folder import FLOATS
from .machine import GpuMissingError, find_gpu, find_tensorrt
from .own_exports import missing_libraries, other_model
from .request import RuntimeRequest
from .store import Store

__all__ = ["Machine", "order"]

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Machine:
    """What could run here; "" where it can, else why not.

    Args:
        tensorrt, torch_cuda: TensorRT and torch on a GPU.
        torch: torch at all.
        onnx: ONNX Runtime, with an export or with what makes one.
    """

    tensorrt: str = ""
    torch_cuda: str = ""
    torch: str = ""
    onnx: str = ""

    @classmethod
    def probe(cls, device: str = "auto", exported: bool = False) -> Machine:
        """Look at the machine; where an export is there no exporter is needed."""
        torch, onnx = (
            "" if importlib.util.find_spec(name) else f"{name} is not installed"
            for name in ("torch", "onnxruntime")
        )
        onnx = onnx or ("" if exported else missing_libraries())
        kind, _, index = device.partition(":")
        try:
            if kind == "cpu":
                raise GpuMissingError("the device is 'cpu'")
            find_gpu(int(index) if index.isdecimal() else 0)  # the runtime refuses other words
        except GpuMissingError as error:
            return cls(str(error), str(error), torch, onnx)
        try:
            find_tensorrt()
            tensorrt = ""
        except ModuleNotFoundError as error:
            tensorrt = str(error)
        if torch:
            return cls(tensorrt, torch, torch, onnx)
        from .torch.placement import Hardware

        return cls(tensorrt, Hardware.probe().cuda_problem, torch, onnx)


def order(request: RuntimeRequest, machine: Machine | None = None) -> tuple[str, ...]:
    """Runtimes to try, the best first; "fastest" stands for torch or ONNX Runtime, as measured.

    Args:
        request: Exported graphs know no bf16. Of a GPU that is named and not there torch says so.
        machine: What could run; None looks.

    Raises:
        FileNotFoundError, ValueError: `export` is no export folder, or does not fit.
        RuntimeError: Nothing can run here.
    """
    exported = request.precision in ("auto", "fp32", "fp16")
    given = (
        request.given_export() if exported else replace(request, precision="auto").given_export()
    )
    machine = machine or Machine.probe(request.device, given is not None)
    if given is not None and (other := other_model(given, request.model, Store.open())):
        _LOG.warning("torch does not take part: %s", other)
        machine = replace(machine, torch=other, torch_cuda=other)
    if given is not None and given.manifest.precision not in FLOATS and not machine.onnx:
        return ("onnx",)  # it was made to be small: no engine reads it, and torch would hold more
    found = []
    if exported and not machine.tensorrt:
        found.append("tensorrt")
    if not machine.torch_cuda:
        found.append("torch")
    elif not machine.torch:
        # In half precision a CPU graph only emulates; torch says what it runs instead.
        wanted = request.precision != "fp16" and request.device in ("auto", "cpu")
        both = exported and wanted and not machine.onnx
        found += ["fastest", "torch"] if both else ["torch"]
    elif exported and not machine.onnx:
        found.append("onnx")
    if not found:
        onnx = machine.onnx or "its graphs know no bf16"
        raise RuntimeError(
            f"nothing can run here: torch: {machine.torch}; ONNX Runtime: {onnx}; TensorRT: "
            f"{machine.tensorrt}"
        )
    return tuple(found)
