# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""From a request to a runtime: what is ready is loaded, else something serves while it is built.

`auto` orders runtimes (`auto.py`); of those that cannot run here the next one says why.
"""

from __future__ import annotations

import importlib
import logging
from dataclasses import replace
from functools import partial

from ..foreign import foreign
from ..interface import RuntimeLimits, SpatialRuntime
from .auto import order
from .request import Maker, RuntimeRequest
from .scene_runtime import SceneRuntime
from .serving import BuildContext, BuildingRuntime

__all__ = ["load", "load_foreign", "start"]

_LOG = logging.getLogger(__name__)


def load(runtime: str, request: RuntimeRequest) -> SpatialRuntime:
    """Load one of `RUNTIMES`.

    Raises:
        ValueError, FileNotFoundError: See `load_runtime`.
        RuntimeError: This machine cannot run it.
    """
    names = order(request) if runtime == "auto" else (runtime,)
    weights = runtime == "auto" and names[-1] == "torch"  # it runs the model's own
    problems: list[str] = []
    for name in names[:-1]:
        try:
            return _noted(start(name, request), problems)
        except (RuntimeError, OSError) as error:  # OSError: the store's folder or disk
            shown = "onnx" if name == "fastest" else name
            problems.append(f"{shown} cannot run here: {error}")
            _LOG.warning("fallback: %s", problems[-1])
    last = replace(request, export="") if weights else request
    return _noted(start(names[-1], last), problems)


def start(name: str, request: RuntimeRequest) -> SceneRuntime | BuildingRuntime:
    """Load what is ready of one runtime, named by its maker, else serve while it is built."""
    maker: Maker = importlib.import_module(f".{name}", __package__)
    what = f"{request.model} for {'onnx' if name == 'fastest' else name}"
    made = maker.ready(request)
    serving = maker.meanwhile(request) if made is None else made
    if request.warm_up and isinstance(serving, SceneRuntime):
        serving.warm_up()
    if made is None:
        return BuildingRuntime(serving, what, partial(_build, maker, request))
    assert isinstance(made, SceneRuntime), type(made)
    limits, wanted = made.info.limits, RuntimeLimits(request.max_frames)
    if limits is None or limits.cover(wanted):
        return made
    return BuildingRuntime(made, what, beside=partial(maker.meanwhile, request), limits=wanted)


def load_foreign(runtime: str, request: RuntimeRequest) -> SpatialRuntime:
    """Call "package.module:function" of a third party with the request's fields as keywords.

    Raises:
        ValueError: There is no such function.
        TypeError: What it returned is no runtime.
    """
    from . import RUNTIMES

    module_name, colon, function_name = runtime.partition(":")
    if not colon or not module_name or not function_name:
        raise ValueError(
            f"runtime {runtime!r} does not exist here; there is {', '.join(sorted(RUNTIMES))}, "
            "or a 'package.module:function' of your own"
        )
    with foreign(f"runtime {runtime!r}: {module_name}"):
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            raise ValueError(
                f"runtime {runtime!r}: cannot import {module_name}: {error}"
            ) from error
    function = getattr(module, function_name, None)
    if not callable(function):
        raise ValueError(f"runtime {runtime!r}: {module_name} has no function {function_name!r}")
    told = vars(request).items()
    given = {name: value for name, value in told if name not in ("warm_up", "max_frames")}
    if not str(request.export):
        del given["export"]
    with foreign(f"runtime {runtime!r}"):
        loaded = function(**given)
    if not isinstance(loaded, SpatialRuntime):
        raise TypeError(
            f"runtime {runtime!r} returned {type(loaded).__name__}, which is no SpatialRuntime "
            "(info, observe, ask, close)"
        )
    return loaded


def _build(maker: Maker, request: RuntimeRequest, context: BuildContext) -> SpatialRuntime | None:
    return maker.build(context, request)


def _noted(made: SceneRuntime | BuildingRuntime, problems: list[str]) -> SpatialRuntime:
    """The runtime, with the reasons why it is not something better."""
    if problems:
        made.note_fallback("; ".join(problems))
    return made
