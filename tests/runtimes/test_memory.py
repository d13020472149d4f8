# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Memory: what scenes hold, when it is given back, and what happens when there is none."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import weakref
from contextlib import closing
from pathlib import Path

import pytest
import torch

from g2vlm_model.interface import SpatialQuery, SpatialRuntime
from g2vlm_model.runtimes import load_runtime
from g2vlm_model.runtimes.scene import EncodedScene

from ..helpers import REPO
from .model_folders import window

QUERY = SpatialQuery("Which is closer, A or B?", max_tokens=3)


def tensor_bytes() -> int:
    """Bytes of all tensor memory that Python can still reach.

    Only of plain tensors: those that stand for others while a graph is traced hold none.
    """
    gc.collect()
    storages = {}
    for thing in gc.get_objects():
        if type(thing) in (torch.Tensor, torch.nn.Parameter):
            storage = thing.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
    return sum(storages.values())


def test_scenes_that_are_dropped_give_everything_back(any_runtime: SpatialRuntime) -> None:
    scene = any_runtime.observe(window(1, 2))
    any_runtime.ask(scene, QUERY)
    assert isinstance(scene, EncodedScene)
    context, features = weakref.ref(scene.context), weakref.ref(scene.features[0])
    any_runtime.observe(window(3))
    assert context() is not None
    assert features() is not None  # the scene still holds its frame
    del scene
    gc.collect()
    assert context() is None
    assert features() is None


def test_a_large_model_gives_back_what_a_pass_freed(
    model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[str] = []
    torch_runtime = "g2vlm_model.runtimes.torch.runtime"
    monkeypatch.setattr(f"{torch_runtime}.give_free_blocks_back", lambda: given.append("pass"))
    for large, times in ((1 << 40, 0), (0, 2)):
        monkeypatch.setattr("g2vlm_model.runtimes.torch._LARGE", large)
        with closing(load_runtime(model=model_folder, device="cpu")) as runtime:
            for number in range(2):
                runtime.observe(window(number))
        assert len(given) == times


def test_closing_gives_the_context_back_at_once(any_runtime: SpatialRuntime) -> None:
    scene = any_runtime.observe(window(1, 2))
    assert isinstance(scene, EncodedScene)
    context = weakref.ref(scene.context)
    scene.close()
    scene.close()
    assert context() is None
    assert scene.geometry.valid.shape[0] == 2
    assert len(scene.window) == 2


def test_memory_is_flat_over_many_scenes(runtime: SpatialRuntime) -> None:
    def round_of_scenes(first: int) -> None:
        for seed in range(first, first + 10):
            scene = runtime.observe(window(seed, seed + 1, seed + 2))
            runtime.ask(scene, QUERY)
            if seed % 2:
                scene.close()

    round_of_scenes(100)
    before = tensor_bytes()
    round_of_scenes(200)
    round_of_scenes(300)
    assert tensor_bytes() == before


def test_several_scenes_are_alive_at_once(any_runtime: SpatialRuntime) -> None:
    alone = []
    for seed in (1, 4, 7):
        alone.append(any_runtime.ask(any_runtime.observe(window(seed, seed + 1)), QUERY).confidence)
    scenes = [any_runtime.observe(window(seed, seed + 1)) for seed in (1, 4, 7)]
    scenes[1].close()
    answers = [any_runtime.ask(scene, QUERY).confidence for scene in (scenes[2], scenes[0])]
    assert answers == pytest.approx([alone[2], alone[0]], rel=1e-5)


TAKEN = """
import re, resource, sys
from pathlib import Path
from g2vlm_model.runtimes import load_runtime
from g2vlm_model.runtimes.torch import runtime as torch_runtime
load_model = torch_runtime.load_model
def taken_first(*arguments, **options):
    used = int(re.search(r"VmData:\\s*(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024
    resource.setrlimit(resource.RLIMIT_DATA, (used + (16 << 20), resource.RLIM_INFINITY))
    return load_model(*arguments, **options)
torch_runtime.load_model = taken_first
try:
    load_runtime("torch", sys.argv[1], "cpu", "fp32")
except RuntimeError as error:
    print(error)
"""


def apart(program: str, *arguments: str) -> str:
    """What a program prints in a process whose memory it may bound."""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=REPO,
        capture_output=True,
        text=True,
        check=False,
        env={"OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin", "MALLOC_ARENA_MAX": "1"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_memory_that_somebody_takes_behind_the_check(stand_in: Path) -> None:
    """The model is held against the free memory, and then there is less: 100 MB find no place."""
    said = apart(TAKEN, str(stand_in))
    assert "loading the model ran out of memory on cpu" in said
    assert "or a smaller precision" in said


EXHAUST = """
import json, resource, sys
from pathlib import Path
from g2vlm_model.interface import SpatialQuery
from g2vlm_model.runtimes import load_runtime
from tests.runtimes.model_folders import window
runtime = load_runtime(sys.argv[2], Path(sys.argv[1]), "cpu", export=sys.argv[3])
scene = runtime.observe(window(1, 2))
before = runtime.ask(scene, SpatialQuery("Which is closer?", max_tokens=3)).text
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
hard = resource.getrlimit(resource.RLIMIT_AS)[1]
resource.setrlimit(resource.RLIMIT_AS, (used + (16 << 20), hard))
try:
    runtime.observe(window(*range(10, 34), height=316, width=80))
    error = "none"
except RuntimeError as failure:
    error = str(failure)
after = runtime.ask(scene, SpatialQuery("Which is closer?", max_tokens=3)).text
again = runtime.observe(window(3, 4)).geometry.valid.shape[0]
print(json.dumps({"error": error, "same": before == after, "again": again}))
"""


@pytest.mark.parametrize("runtime", ["torch", "onnx"])
def test_memory_that_runs_out_is_an_error_and_the_runtime_goes_on(
    model_folder: Path, runtime: str, request: pytest.FixtureRequest
) -> None:
    """For real: a child process whose address space ends 16 MB above what it uses."""
    export = str(request.getfixturevalue("small_export")) if runtime == "onnx" else ""
    said = apart(EXHAUST, str(model_folder), runtime, export)
    result = json.loads(said.splitlines()[-1])
    assert "observing a window ran out of memory on cpu" in result["error"]
    assert "Use fewer frames" in result["error"]
    assert result["same"]
    assert result["again"] == 2
