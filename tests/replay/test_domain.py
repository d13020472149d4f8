# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""ROS domains: held by one at a time, whoever it is, and free again when the holder ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import rclpy
from g2vlm_replay import domain
from g2vlm_replay.domain import DOMAINS, ReservedDomain

from tests.helpers import REPO

HOLD = (
    "import sys; from pathlib import Path; from g2vlm_replay.domain import ReservedDomain\n"
    "held = ReservedDomain(Path(sys.argv[1])); print(held.number, flush=True); sys.stdin.read()"
)


@pytest.fixture
def two_domains(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which only the domains 40 and 41 exist, and nobody listens."""
    monkeypatch.setattr(domain, "DOMAINS", (40, 41))
    monkeypatch.setattr(domain, "_is_inhabited", lambda number: False)
    monkeypatch.setenv("ROS_DOMAIN_ID", "7")


def test_a_domain_has_one_holder(tmp_path: Path, two_domains: None) -> None:
    with ReservedDomain(tmp_path) as first, ReservedDomain(tmp_path) as second:
        assert {first.number, second.number} == {40, 41}
        with pytest.raises(RuntimeError, match="all 2 ROS domains of this machine are taken"):
            ReservedDomain(tmp_path)
        first.close()
        with ReservedDomain(tmp_path) as third:
            assert third.number == first.number


def test_other_processes_respect_it_and_their_end_frees_it(
    tmp_path: Path, two_domains: None
) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=REPO,
    )  # fmt: skip
    assert holder.stdout is not None
    held = int(holder.stdout.readline())
    try:
        assert held in DOMAINS
        assert ReservedDomain(tmp_path)._lock(held) is None
    finally:
        holder.kill()
        holder.communicate()
    lock = ReservedDomain(tmp_path)._lock(held)
    assert lock is not None


def test_the_callers_own_domain_is_left_alone(
    tmp_path: Path, two_domains: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROS_DOMAIN_ID", "40")
    with ReservedDomain(tmp_path) as reserved:
        assert reserved.number == 41


def test_a_domain_with_a_node_in_it_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nodes that know nothing of the locks are seen by the port on which they are discovered."""
    with ReservedDomain() as held:
        monkeypatch.setattr(domain, "DOMAINS", (held.number,))
        context = rclpy.Context()
        rclpy.init(context=context, domain_id=held.number)
        node = rclpy.create_node("inhabitant", context=context)
        with pytest.raises(RuntimeError, match="all 1 ROS domains"):
            ReservedDomain(tmp_path)
        node.destroy_node()
        rclpy.shutdown(context=context)
        with ReservedDomain(tmp_path) as empty:
            assert empty.number == held.number


def test_a_domain_whose_first_inhabitant_has_left_is_passed_over_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ReservedDomain() as held:
        monkeypatch.setattr(domain, "DOMAINS", (held.number,))
        first, second = rclpy.Context(), rclpy.Context()
        for context in (first, second):
            rclpy.init(context=context, domain_id=held.number)
        nodes = [rclpy.create_node("inhabitant", context=context) for context in (first, second)]
        nodes[0].destroy_node()
        rclpy.shutdown(context=first)
        with pytest.raises(RuntimeError, match="all 1 ROS domains"):
            ReservedDomain(tmp_path)
        nodes[1].destroy_node()
        rclpy.shutdown(context=second)
        with ReservedDomain(tmp_path) as empty:
            assert empty.number == held.number
