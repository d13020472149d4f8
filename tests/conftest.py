"""Settings of every test run: a private ROS domain, strict messages, the shared data."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import pytest

from tests.helpers import REPO, shared_data

# Before the first rclpy.init of the session. Two sessions on one machine must not hear each
# other: the process id picks the domain (up to 101 every platform has the ports).
os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))
os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
os.environ.setdefault("ROS_PYTHON_CHECK_FIELDS", "1")
os.environ.setdefault("FASTDDS_DEFAULT_PROFILES_FILE", str(REPO / "launch" / "fastdds_shm.xml"))
os.environ.setdefault("OMP_NUM_THREADS", str(min(4, os.cpu_count() or 1)))


def _import_from_sources(package: str, folder: str) -> None:
    """Make a renamed package importable in a checkout that nothing has been installed from."""
    init = REPO / folder / "__init__.py"
    if importlib.util.find_spec(package) is not None or not init.is_file():
        return
    spec = importlib.util.spec_from_file_location(
        package, init, submodule_search_locations=[str(init.parent)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[package] = module
    spec.loader.exec_module(module)


_import_from_sources("g2vlm_training", "training")
_import_from_sources("g2vlm_export", "export")


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The shared reference data; the test is skipped where it is missing."""
    folder = shared_data()
    if folder is None:
        pytest.skip("reference data missing: no ../shared/data and G2VLM_SHARED_DATA is not set")
    return folder
