"""Settings of every test run: a private ROS domain, strict messages, the shared data."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests import real_runtime as runtimes
from tests.exports import Exports
from tests.helpers import REPO, shared_data

# Before the first rclpy.init of the session. Two sessions on one machine must not hear each
# other: the process id picks the domain (up to 101 every platform has the ports).
os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))
os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
os.environ.setdefault("ROS_PYTHON_CHECK_FIELDS", "1")
os.environ.setdefault("FASTDDS_DEFAULT_PROFILES_FILE", str(REPO / "launch" / "fastdds_shm.xml"))
# Not the user's own: what a test's node exports by itself is the test's.
os.environ["G2VLM_CACHE"] = str(REPO / ".pytest_cache" / "g2vlm")
os.environ.setdefault("OMP_NUM_THREADS", str(min(4, os.cpu_count() or 1)))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of this project's tests."""
    parser.addoption(
        "--runtime",
        choices=runtimes.NAMES,
        help="run the tests of the embedded model in the node with this runtime only",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give tests of the embedded model their runtimes."""
    runtimes.choose(metafunc)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Leave out what needs a GPU where there is none."""
    if item.get_closest_marker("gpu") is not None:
        from g2vlm_model.runtimes.nvidia import GpuMissingError, find_gpu

        try:
            find_gpu()
        except GpuMissingError as error:
            pytest.skip(f"no GPU: {error}")


@pytest.fixture
def every_runtime(request: pytest.FixtureRequest) -> runtimes.RealRuntime:
    """Each runtime that this machine can run, in turn."""
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
    """Makes exports, once; nobody may write to them."""
    root = request.config.cache.mkdir("g2vlm-exports")
    return Exports(root, tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def nano_export(exports: Exports) -> Path:
    """Every part of nano in fp32 at opset 23."""
    return exports.nano()


@pytest.fixture(scope="session")
def tiny_export(exports: Exports) -> Path:
    """Geometry with keys and values of a small random model, fp32 at opset 23."""
    return exports.tiny()
