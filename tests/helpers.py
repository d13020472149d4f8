# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What several tests share: one way to wait, a full disk, free ROS domains, a browser."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

REPO = Path(__file__).resolve().parents[1]

T = TypeVar("T")

CHROMIUM_FLAGS = (  # a software renderer, so that WebGL needs no graphics card
    *("--no-sandbox", "--enable-unsafe-swiftshader", "--use-gl=angle", "--use-angle=swiftshader"),
    *("--ignore-gpu-blocklist", "--disable-background-networking"),
)


@contextmanager
def full_disk(most_bytes: int) -> Iterator[None]:
    """Let no file of this process grow beyond some bytes: writing fails half-way."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def wait_for(
    predicate: Callable[[], T],
    timeout_s: float,
    *,
    interval_s: float = 0.02,
    what: str = "the condition",
) -> T:
    """Poll until `predicate` returns something true, and return that.

    Args:
        predicate: Asked again and again; may itself spin an executor for a moment.
        timeout_s: Wall seconds after which waiting fails.
        interval_s: Pause between two questions.
        what: Named in the failure.

    Raises:
        AssertionError: It did not come true in time; the text holds the last value.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come true in {timeout_s} s; last: {value!r}")
        time.sleep(interval_s)


def shared_data() -> Path | None:
    """Folder of the data that the project does not ship, or None where it is missing."""
    folder = Path(os.environ.get("G2VLM_SHARED_DATA", REPO.parent / "shared" / "data"))
    return folder if folder.is_dir() else None


def own_mounts(mount: str) -> list[str]:
    """Words before a command that sees mounts of its own; empty where not possible."""
    script = f'{mount} && exec "$@"'
    prefix = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]
    if shutil.which("unshare") is None:
        return []
    return prefix if subprocess.run([*prefix, "true"], capture_output=True).returncode == 0 else []


@contextmanager
def chromium() -> Iterator[Any]:
    """The distribution's browser without a screen, in Playwright's hands; skips without one."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        pytest.skip("no Chromium: sudo apt install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=found, args=list(CHROMIUM_FLAGS))
        yield made
        made.close()
