# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Loading: names, folders, factories, and what is imported when."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from g2vlm_model.interface import RuntimeInfo, SpatialRuntime
from g2vlm_model.runtimes import load_runtime

from ..helpers import REPO


class OwnRuntime:
    """A third party's runtime."""

    def __init__(self, **keywords: Any) -> None:
        self.keywords = keywords
        self.info = RuntimeInfo("own", "cpu", "fp32", "own-0", 0)

    def observe(self, window: Any, *, cancelled: Any = None) -> Any: ...

    def ask(self, scene: Any, query: Any, *, on_text: Any = None, cancelled: Any = None) -> Any: ...

    def close(self) -> None: ...


def make_own(**keywords: Any) -> OwnRuntime:
    return OwnRuntime(**keywords)


def make_something_else(**keywords: Any) -> object:
    return keywords


def test_what_runs_is_reported(model_folder: Path) -> None:
    runtime = load_runtime(model=model_folder, device="cpu", precision="fp32")
    info = runtime.info
    assert isinstance(runtime, SpatialRuntime)
    assert (info.runtime, info.precision, info.fallback_reason) == ("torch", "fp32", "")
    assert info.device.startswith("cpu (")
    assert info.model_id.startswith("small@")
    assert info.parameters > 300_000
    runtime.close()


def test_a_precision_that_the_cpu_lacks_is_refused(model_folder: Path) -> None:
    with pytest.raises(ValueError, match="precision is 'fp16', which this CPU does not compute in"):
        load_runtime(model=model_folder, device="cpu", precision="fp16")


def test_a_function_of_a_third_party_is_called_with_the_keywords() -> None:
    runtime = load_runtime(f"{__name__}:make_own", model="theirs", prompt_mode="published")
    assert isinstance(runtime, OwnRuntime)
    assert runtime.keywords == {
        "model": "theirs",
        "device": "auto",
        "precision": "auto",
        "prompt_mode": "published",
    }


def test_engines_reach_only_who_is_given_some() -> None:
    runtime = load_runtime(f"{__name__}:make_own", export="folder")
    assert isinstance(runtime, OwnRuntime)
    assert runtime.keywords["export"] == "folder"
    with pytest.raises(ValueError, match="export is 'folder', but the runtime 'torch'"):
        load_runtime("torch", export="folder")


@pytest.mark.parametrize(
    ("runtime", "error", "words"),
    [
        ("jax", ValueError, "'jax' does not exist here; there is auto, onnx, tensorrt, torch"),
        ("no.such.module:make", ValueError, "cannot import no.such.module"),
        (f"{__name__}:nothing", ValueError, "has no function 'nothing'"),
        (":make", ValueError, "does not exist here"),
        (f"{__name__}:make_something_else", TypeError, "returned dict"),
    ],
)
def test_runtimes_that_are_none(runtime: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        load_runtime(runtime)


def test_names_that_are_none(model_folder: Path) -> None:
    with pytest.raises(ValueError, match="prompt_mode is 'other'"):
        load_runtime(model=model_folder, prompt_mode="other")
    with pytest.raises(ValueError, match="device is 'tpu'"):
        load_runtime(model=model_folder, device="tpu")
    with pytest.raises(FileNotFoundError, match="no model folder"):
        load_runtime(model="no/such/folder")


def test_importing_the_package_imports_no_torch() -> None:
    code = (
        "import sys; import g2vlm_model, g2vlm_model.runtimes, g2vlm_map.answers.measure, "
        "g2vlm_map.answers.crosscheck; heavy = {'torch', 'PIL', 'tokenizers'} & set(sys.modules); "
        "sys.exit(repr(heavy) if heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
