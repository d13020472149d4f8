# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The published model in small: what is said of it, what it sees and answers, as it is and in int8.

Through the node: `tests/ros/test_slow_passes.py`; through the replay:
`tests/replay/test_slow_model.py`.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from g2vlm_model.interface import (
    AnswerStatus,
    ObservationCancelledError,
    SpatialQuery,
    SpatialRuntime,
)
from g2vlm_model.model_cli import PARTS, describe
from g2vlm_model.model_folder import INDEX_FILE, weight_files
from g2vlm_model.runtimes import load_runtime
from g2vlm_model.safetensors_file import SafetensorsFile
from tests.helpers import REPO
from tests.runtimes import slow_layers
from tests.runtimes.model_folders import window

KEYS = REPO / "tests" / "data" / "g2vlm_2b_keys.tsv"
WIDE = {"height": 120, "width": 480}  # a third of the patches of a picture of 4:3
LAYER = re.compile(r"\.\d+(\.|$)")


@pytest.fixture(scope="module")
def whole(stand_in: Path) -> Iterator[SpatialRuntime]:
    runtime = load_runtime("torch", stand_in, "cpu", "fp32")
    yield runtime
    runtime.close()


def test_it_is_the_published_one(stand_in: Path) -> None:
    found = describe(str(stand_in))
    assert found["differs_from_published"] == {}
    assert found["stored_as"] == ["bfloat16"]
    assert set(found["parts"]) == set(PARTS)
    assert found["tokenizer"]["file"] == "vocab.json"
    assert (stand_in / INDEX_FILE).is_file()
    assert len(found["files"]) == 3
    names = set()
    for path in weight_files(stand_in):
        with SafetensorsFile(path) as reader:
            names |= set(reader.entries)
    assert len(names) > 200
    patterns = {line.split("\t")[0] for line in KEYS.read_text().splitlines()[1:]}
    assert {LAYER.sub(r".{i}\1", name) for name in names} == patterns


def test_it_sees_and_answers(whole: SpatialRuntime) -> None:
    scene = whole.observe(window(1, 2, **WIDE))
    depth = scene.geometry.local_points[..., 2]
    assert np.isfinite(scene.geometry.world_points).all()
    assert 0.5 < float(np.median(depth)) < 2.0
    assert float(depth.std()) > 0.01  # the picture has a say
    scene.close()
    scene = whole.observe(window(1, **WIDE))
    answer = whole.ask(scene, SpatialQuery("How far is the wall?", max_tokens=4))
    assert answer.status in (AnswerStatus.OK, AnswerStatus.TRUNCATED)
    assert answer.tokens > 0


def test_in_int8(stand_in: Path, whole: SpatialRuntime) -> None:
    expected = whole.observe(window(1, 2, **WIDE)).geometry
    runtime = load_runtime("torch", stand_in, "cpu", "int8")
    assert runtime.info.precision == "int8"
    scene = runtime.observe(window(1, 2, **WIDE))
    gap = np.linalg.norm(scene.geometry.local_points - expected.local_points, axis=-1)
    relative = gap / expected.local_points[..., 2]
    assert float(relative.mean()) < 0.02, (float(relative.mean()), float(relative.max()))
    answer = runtime.ask(scene, SpatialQuery("How far is the wall?", max_tokens=1))
    assert answer.tokens == 1
    runtime.close()


def test_what_is_tried_ahead(stand_in: Path) -> None:
    runtime = load_runtime("torch", stand_in, "cpu", "fp32", warm_up=True)
    info = runtime.info
    assert info.trial_s > info.token_s > 0
    scene = runtime.observe(window(1, **WIDE))
    began = time.perf_counter()
    answer = runtime.ask(scene, SpatialQuery("How far is the wall?", max_tokens=4))
    assert info.token_s * answer.tokens < time.perf_counter() - began  # its picture is read too
    runtime.close()


def test_a_pass_that_takes_long_is_given_up_between_two_layers(stand_in: Path) -> None:
    runtime, cancelled = slow_layers.create(stand_in), threading.Event()
    seen: list[object] = []

    def observe() -> None:
        try:
            seen.append(runtime.observe(window(1, **WIDE), cancelled=cancelled.is_set))
        except ObservationCancelledError as error:
            seen.append(error)

    before = slow_layers.PACE.layers
    thread = threading.Thread(target=observe)
    thread.start()
    while slow_layers.PACE.layers < before + 3:
        time.sleep(0.01)
    cancelled.set()
    at = slow_layers.PACE.layers
    thread.join()
    assert isinstance(seen[0], ObservationCancelledError)
    assert slow_layers.PACE.layers <= at + 1  # one may have begun between the two lines
    runtime.close()
