# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Which of torch and ONNX Runtime is faster here: measured fairly, and remembered."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from g2vlm_model.interface import FrameWindow, RuntimeInfo, Scene, SpatialRuntime
from g2vlm_model.runtimes import fastest, load_runtime
from g2vlm_model.runtimes.build_process import BuildStopped
from g2vlm_model.runtimes.export_folder import ExportFolder
from g2vlm_model.runtimes.fastest import Circumstances, observe_ms, recall, remember
from g2vlm_model.runtimes.onnx.runtime import OnnxRuntime
from g2vlm_model.runtimes.request import RuntimeRequest
from g2vlm_model.runtimes.store import Store

from ..ros.scripted_runtime import ScriptedRuntime
from .model_folders import window


class Timed:
    """A runtime whose observations take a given time on a clock of its own."""

    info = RuntimeInfo("timed", "cpu", "fp32", "timed-0", 0)

    def __init__(self, clock: Clock, inner: SpatialRuntime, spans_s: Iterator[float]) -> None:
        self.clock, self.inner, self.spans_s = clock, inner, spans_s
        self.windows: list[tuple[str, ...]] = []

    def observe(self, window: FrameWindow, *, cancelled: Callable[[], bool] | None = None) -> Scene:
        self.windows.append(tuple(frame.key for frame in window.frames))
        self.clock.now_s += next(self.spans_s)
        return self.inner.observe(window)


class Clock:
    """Stands still until somebody moves it."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def perf_counter(self) -> float:
        return self.now_s


def test_medians_in_turns_without_the_first(
    runtime: SpatialRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr("time.perf_counter", clock.perf_counter)
    slow = Timed(clock, runtime, iter([9.0, 0.2, 0.3, 5.0, 0.3, 0.2]))
    fast = Timed(clock, runtime, iter([7.0, 0.1, 0.1, 0.1, 8.0, 0.1]))
    found = observe_ms({"slow": slow, "fast": fast}, (42, 56))  # type: ignore[dict-item]
    assert found == pytest.approx({"slow": 300.0, "fast": 100.0})
    assert slow.windows == fast.windows
    keys = [key for keys in slow.windows for key in keys]
    assert len(set(keys)) == len(keys) == 6 * fastest.FRAMES  # nothing is encoded already


def test_a_slow_machine_measures_one_round(
    runtime: SpatialRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr("time.perf_counter", clock.perf_counter)
    slow = Timed(clock, runtime, iter([50.0, 40.0]))
    assert observe_ms({"slow": slow}, (42, 56)) == {"slow": 40e3}  # type: ignore[dict-item]


def test_each_observation_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """One block around each, so that nothing else is served while either runs."""
    order: list[str] = []

    @contextmanager
    def alone() -> Iterator[None]:
        order.append("(")
        yield
        order.append(")")

    class Noted:
        def __init__(self, name: str) -> None:
            self.name = name

        def observe(self, window: FrameWindow, **options: object) -> SimpleNamespace:
            order.append(self.name)
            return SimpleNamespace(close=lambda: None)

    found = observe_ms({"a": Noted("a"), "b": Noted("b")}, (42, 56), alone)  # type: ignore[dict-item]
    assert set(found) == {"a", "b"}
    assert "".join(order) == "(a)(b)" * (1 + fastest.ROUNDS)


def test_what_was_measured_is_remembered_for_these_circumstances_only(cache: Store) -> None:
    here = Circumstances.here("digest")
    assert recall(cache, here) is None
    remember(cache, here, {"torch": 3.5, "onnx": 2.5})
    assert recall(cache, here) == {"torch": 3.5, "onnx": 2.5}
    for other in (
        *(replace(here, export="another"), replace(here, cpu="another"), replace(here, cores="3")),
        *(replace(here, threads="64"), replace(here, versions=("torch 9",))),
    ):
        assert recall(cache, other) is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:40],
        lambda text: "[]",
        lambda text: text.replace("2.5", "-1"),
        lambda text: text.replace("2.5", "NaN"),
        lambda text: text.replace("2.5", '"soon"'),
        lambda text: text.replace('"threads"', '"fingers"'),
        lambda text: json.dumps({**json.loads(text), "observe_ms": {}}),
    ],
)
def test_a_damaged_memory_is_measured_again(
    cache: Store, damage: Callable[[str], str], caplog: pytest.LogCaptureFixture
) -> None:
    here = Circumstances.here("digest")
    remember(cache, here, {"torch": 3.5, "onnx": 2.5})
    (file,) = (cache.root / fastest.FOLDER).iterdir()
    file.write_text(damage(file.read_text()))
    assert recall(cache, here) is None
    assert "measured again" in caplog.text


@pytest.mark.parametrize("faster", ["torch", "onnx"])
def test_the_faster_one_serves_and_is_known_the_next_time(
    cache: Store,
    small_export: Path,
    model_folder: Path,
    faster: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The measuring itself is real; which one wins is turned both ways."""
    calls: list[dict[str, float]] = []

    def turned(*arguments: object) -> dict[str, float]:
        times = observe_ms(*arguments)  # type: ignore[arg-type]
        assert set(times) == {"torch", "onnx"}
        assert min(times.values()) > 0.1
        calls.append({name: 1.0 if name == faster else 2.0 for name in times})
        return calls[-1]

    monkeypatch.setattr(fastest, "observe_ms", turned)
    caplog.set_level(logging.INFO)
    for _ in range(2):
        runtime = load_runtime("auto", model_folder, "cpu", export=small_export)
        assert runtime.info.runtime == faster
        assert runtime.observe(window(1, 2)).geometry.valid.any()
        runtime.close()
    assert len(calls) == 1
    assert f"{faster} serves" in caplog.text
    here = Circumstances.here(ExportFolder.open(small_export).digest)
    assert recall(cache, here) == calls[0]


def test_a_measurement_can_be_ended_and_need_not_be_remembered(
    cache: Store,
    small_export: Path,
    model_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (cache.root / fastest.FOLDER).write_text("in the way of the folder")
    load_runtime("auto", model_folder, "cpu", export=small_export).close()
    assert "not remembered" in caplog.text
    closed = []
    monkeypatch.setattr(OnnxRuntime, "close", lambda self: closed.append(self))
    told = iter([None, None, None])

    @contextmanager
    def alone() -> Iterator[None]:
        if next(told, BuildStopped) is BuildStopped:
            raise BuildStopped
        yield

    with pytest.raises(BuildStopped):
        fastest._faster(
            cache, ExportFolder.open(small_export), RuntimeRequest(model_folder), None, alone
        )
    assert len(closed) == 1


@pytest.mark.parametrize("measured", [True, False])
def test_a_measured_runtime_that_cannot_be_closed_leaves_no_other_open(
    cache: Store,
    small_export: Path,
    measured: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    by_torch, by_onnx = ScriptedRuntime(), ScriptedRuntime()
    by_torch.close_error = RuntimeError("the device is gone")

    def observed(*_: object) -> dict[str, float]:
        if not measured:
            raise BuildStopped
        return {"torch": 2.0, "onnx": 1.0}

    monkeypatch.setattr(fastest, "meanwhile", lambda *_: by_torch)
    monkeypatch.setattr("g2vlm_model.runtimes.onnx.runtime.open_runtime", lambda *_: by_onnx)
    monkeypatch.setattr(fastest, "observe_ms", observed)
    if measured:
        assert (
            fastest._faster(cache, ExportFolder.open(small_export), RuntimeRequest("a model"))
            is by_onnx
        )
    else:
        with pytest.raises(BuildStopped):
            fastest._faster(cache, ExportFolder.open(small_export), RuntimeRequest("a model"))
    assert by_torch.closed
    assert by_onnx.closed is not measured
    assert "the device is gone" in caplog.text
