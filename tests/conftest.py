# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Settings of every test run: a private ROS domain, strict messages, the shared data."""

from __future__ import annotations

import gc
import os
from collections.abc import Generator
from pathlib import Path

import pytest
from g2vlm_replay.domain import ReservedDomain

from tests import alone
from tests import real_runtime as runtimes
from tests.exports import HALF, KEPT, NANO_OPTIONS, PARTS, STATIC, Exports
from tests.helpers import REPO, shared_data
from tests.made_once import MadeOnce

_DOMAIN = pytest.StashKey[ReservedDomain]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of this project's tests."""
    parser.addoption(
        "--runtime",
        choices=runtimes.NAMES,
        help="run the tests of the embedded model in the node with this runtime only",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Set the environment of the process that runs tests, before one of them loads a library.

    With several workers the process that hands out the tests runs none: what it set would pass
    to all of them. Two on one machine must not hear each other, so each reserves a ROS domain.
    """
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker is None and config.getoption("numprocesses", default=None):
        return
    domain = config.stash[_DOMAIN] = ReservedDomain()
    os.environ["ROS_DOMAIN_ID"] = str(domain.number)
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    os.environ.setdefault("ROS_PYTHON_CHECK_FIELDS", "1")
    profiles = REPO / "launch" / "fastdds_shm.xml"
    os.environ.setdefault("FASTDDS_DEFAULT_PROFILES_FILE", str(profiles))
    threads = 1 if worker else min(4, os.cpu_count() or 1)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))


def pytest_unconfigure(config: pytest.Config) -> None:
    """Give the domain back."""
    if _DOMAIN in config.stash:
        config.stash[_DOMAIN].close()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give tests of the embedded model their runtimes."""
    runtimes.choose(metafunc)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Leave out what needs a GPU where there is none."""
    if item.get_closest_marker("gpu") is not None:
        from g2vlm_model.runtimes.machine import GpuMissingError, find_gpu

        try:
            find_gpu()
        except GpuMissingError as error:
            pytest.skip(f"no GPU: {error}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Run a test marked `alone` while no other worker of this run has one under way."""
    with alone.turn(_run_folder(item.config), alone=item.get_closest_marker("alone") is not None):
        return (yield)


def _run_folder(config: pytest.Config) -> Path:
    """The folder for temporary files of this run, the same in all workers."""
    base: Path = config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def made_once(request: pytest.FixtureRequest) -> MadeOnce:
    """Makes folders once for all workers of this run; nobody may write to them."""
    return MadeOnce(_run_folder(request.config) / "made-once")


@pytest.fixture(scope="session")
def stand_in(made_once: MadeOnce) -> Path:
    """A folder with the published model in small (`model_folders.write_stand_in`)."""
    from tests.runtimes.model_folders import write_stand_in

    return made_once.folder("stand-in", write_stand_in)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Not the user's, nor that of the run before: what a test's node exports is the test's."""
    os.environ["G2VLM_CACHE"] = str(tmp_path_factory.mktemp("g2vlm-cache"))


@pytest.fixture(scope="module", autouse=True)
def _set_aside_what_stays() -> Generator[None, None, None]:
    """Take what a file's tests leave in memory out of the sight of the garbage collector.

    Traced graphs leave millions of objects in torch's caches, and many tests collect: each would
    look at all of them again (half a second a node).
    """
    yield
    gc.collect()
    gc.freeze()


@pytest.fixture
def every_runtime(request: pytest.FixtureRequest) -> runtimes.RealRuntime:
    """Each runtime that this machine can run, in turn."""
    return runtimes.find(request)


@pytest.fixture
def other_runtime(request: pytest.FixtureRequest) -> runtimes.RealRuntime:
    """Each runtime beside torch, in turn."""
    return runtimes.find(request)


@pytest.fixture
def real_runtime(request: pytest.FixtureRequest) -> runtimes.RealRuntime:
    """One runtime: torch, or that of `--runtime`."""
    return runtimes.find(request)


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The shared reference data; the test is skipped where it is missing."""
    folder = shared_data()
    if folder is None:
        pytest.skip("reference data missing: no ../shared/data and G2VLM_SHARED_DATA is not set")
    return folder


@pytest.fixture(scope="session")
def exports(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exports:
    """Makes exports, once for all workers; nobody may write to them."""
    kept = MadeOnce(request.config.cache.mkdir("g2vlm-exports"))
    kept.keep_newest(KEPT)
    return Exports(kept, tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def nano_export(exports: Exports) -> Path:
    """Every part of nano in fp32 at opset 23."""
    return exports.nano()


@pytest.fixture(scope="session")
def whole_export(exports: Exports) -> Path:
    """Every part of a small random model, fp32 at opset 23."""
    return exports.tiny(parts=PARTS)


@pytest.fixture(scope="session")
def tiny_export(exports: Exports, whole_export: Path) -> Path:
    """Of the same, geometry with keys and values."""
    return exports.derived(whole_export, ("geometry", "kv"))


@pytest.fixture(scope="session")
def half_export(exports: Exports) -> Path:
    """Geometry with keys and values of `HALF`, fp16 at opset 18, rotations in the graph."""
    return exports.tiny(HALF, precision="fp16", opset=18, in_graph_rotation=True)


@pytest.fixture(scope="session")
def nanos_options(exports: Exports) -> Path:
    """Geometry of `NANO_OPTIONS` for windows of one size, fp16 at opset 23."""
    return exports.tiny(NANO_OPTIONS, precision="fp16", static_nhw=(4, 56, 42))


@pytest.fixture(scope="session")
def static_export(exports: Exports) -> Path:
    """The small model for windows of `STATIC` only, fp32 at opset 18, rotations in the graph."""
    return exports.tiny(static_nhw=STATIC, in_graph_rotation=True, opset=18)
