# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The node while an engine is being built: what it says, the change-over, a build that fails."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from g2vlm_model.interface import SpatialRuntime
from g2vlm_model.runtimes.serving import BuildContext, BuildingRuntime
from tests.ros.scripted_runtime import ScriptedRuntime

Make = Callable[..., Any]
STOCK = "tests.ros.test_building:create"


class Site:
    """What the test lets the build do; the node makes the runtime by its name."""

    def __init__(self) -> None:
        self.old, self.new = ScriptedRuntime(), ScriptedRuntime()
        self.new.info = replace(self.new.info, runtime="engine", device="cpu (compiled)")
        self.may_end = threading.Event()
        self.error: Exception | None = None

    def build(self, context: BuildContext) -> SpatialRuntime:
        while not self.may_end.wait(0.02):
            context.stage("compiling", 0.42, 95.0)
        if self.error is not None:
            raise self.error
        return self.new


_sites: list[Site] = []


def create(**asked: str) -> SpatialRuntime:
    return BuildingRuntime(_sites[-1].old, "wall for engine", _sites[-1].build)


@pytest.fixture
def site() -> Iterator[Site]:
    _sites.append(Site())
    yield _sites[-1]
    _sites.pop().may_end.set()


@pytest.fixture
def graph(make_graph: Make, site: Site) -> Any:
    made = make_graph(runtime=STOCK)
    made.listen()
    return made


def values_of(graph: Any) -> dict[str, str]:
    return {item.key: item.value for item in graph.diagnostics[-1].status[0].values}


def test_the_build_is_shown_and_the_change_over_is_told_once(
    graph: Any, site: Site, capfd: pytest.CaptureFixture[str]
) -> None:
    assert graph.configure()
    status = graph.codes("ENGINE_BUILDING")  # while inactive too
    assert graph.activate()
    graph.scene()
    stamp_ns = graph.stamp_ns
    status = graph.status(lambda s: s.scenes == 1 and "ENGINE_BUILDING" in s.reason_codes)
    said = dict(zip(status.reason_codes, status.reason_texts, strict=True))
    assert said["ENGINE_BUILDING"] == ("building wall for engine: compiling, 42 %, 95 s left")
    assert status.build_fraction == 0.42
    assert 90.0 < status.build_seconds_left <= 95.0
    assert (status.runtime, status.device) == ("scripted", "cpu")
    graph.wait(lambda: values_of(graph).get("ENGINE_BUILDING") == said["ENGINE_BUILDING"], "words")
    site.may_end.set()
    status = graph.codes("ENGINE_BUILDING", present=False)
    assert (status.build_fraction, status.build_seconds_left) == (-1.0, -1.0)
    assert (status.runtime, status.device) == ("engine", "cpu (compiled)")
    assert "RUNTIME_FALLBACK" not in status.reason_codes
    request = {"stamp": _time(stamp_ns)}
    assert graph.ask(**request).status == 0  # the scene that the former runtime observed
    assert (len(site.old.queries), len(site.new.queries)) == (1, 0)
    for _ in range(4):  # more than scenes.keep
        graph.scene()
    assert len(site.new.windows) >= 4
    assert site.old.closed
    assert graph.ask().status == 0
    assert len(site.new.queries) == 1
    log = capfd.readouterr().err
    line = "runs scripted-0 on cpu (compiled) (engine, fp32) from now on, it was scripted-0 on cpu"
    assert log.count(line) == 1
    assert log.count("ENGINE_BUILDING: building") == 1
    assert log.count("ENGINE_BUILDING: over") == 1


def test_a_build_that_fails_is_a_fallback(graph: Any, site: Site) -> None:
    graph.start()
    graph.scene()
    site.error = OSError(28, "No space left on device", "/cache")
    site.may_end.set()
    status = graph.codes("RUNTIME_FALLBACK")
    said = dict(zip(status.reason_codes, status.reason_texts, strict=True))
    assert said["RUNTIME_FALLBACK"] == (
        "wall for engine could not be built, scripted on cpu serves: "
        "[Errno 28] No space left on device: '/cache'"
    )
    assert "ENGINE_BUILDING" not in status.reason_codes
    graph.scene()
    assert graph.ask().status == 0
    assert not site.new.windows


def test_cleanup_ends_the_build(graph: Any, site: Site) -> None:
    assert graph.configure()
    graph.codes("ENGINE_BUILDING")
    assert graph.cleanup()
    assert not [t for t in threading.enumerate() if t.name == "engine-build"]
    assert site.old.closed
    assert not site.may_end.is_set()


def _time(stamp_ns: int) -> Any:
    from builtin_interfaces.msg import Time

    return Time(sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
