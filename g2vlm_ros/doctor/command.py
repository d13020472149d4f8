# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Says why the node is silent: looks at a live graph or a bag, and names the lines that mend it.

    g2vlm doctor                                     # the graph, and the node /g2vlm in it
    g2vlm doctor --params robot.yaml                 # before the node runs: by its parameters
    g2vlm doctor run1.mcap --params robot.yaml       # what the node would get of a bag
    g2vlm doctor --json

Without a running node and without --params the node's defaults are looked for. What is late, missed
or unsteady by no more than the doctor itself was kept from a core is no finding, but not told.
Exit code: 0 where nothing is wrong, 1 with findings, 2 where it cannot look or cannot tell.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from g2vlm_map.status import explained_at
from g2vlm_model.interface.command_line import CommandParser, reason
from g2vlm_model.interface.words import plain
from g2vlm_model.processes import ended_by_signals, ros_missing
from g2vlm_ros.doctor.check_cameras import (
    check_camera_info,
    check_frames_decode,
    check_rectification,
)
from g2vlm_ros.doctor.check_frames import (
    check_parents,
    check_rig_frames,
    check_slashes,
    check_transforms,
)
from g2vlm_ros.doctor.check_machine import (
    check_libraries,
    check_profile,
    check_runtime,
    check_shared_memory,
)
from g2vlm_ros.doctor.check_node import check_parameters, check_state, said_by_node
from g2vlm_ros.doctor.check_time import check_clock, check_rig, check_skew, check_stamps
from g2vlm_ros.doctor.check_topics import check_published, check_qos
from g2vlm_ros.doctor.findings import Check, Finding, told_apart
from g2vlm_ros.doctor.seen import Seen
from g2vlm_ros.doctor.told import told_by
from g2vlm_ros.param_files import named_value
from g2vlm_ros.shipped import PROFILE_FILE, shipped_file

__all__ = ["CHECKS", "examine", "main"]

HEALTHY, FINDINGS, CANNOT_TELL = 0, 1, 2
CHECKS: tuple[Check, ...] = (
    check_parameters,
    check_state,
    check_published,
    check_qos,
    check_frames_decode,
    check_camera_info,
    check_rectification,
    check_transforms,
    check_parents,
    check_rig_frames,
    check_slashes,
    check_clock,
    check_skew,
    check_stamps,
    check_rig,
    check_profile,
    check_shared_memory,
    check_libraries,
    check_runtime,
)
_SECONDS = 5.0


def examine(seen: Seen) -> list[Finding]:
    """All findings of all checks, and of the node's own reasons those that none explains."""
    found = [finding for check in CHECKS for finding in check(seen)]
    return [*found, *said_by_node(seen, found)]


def main(argv: Sequence[str] | None = None) -> int:
    """Look, print, and give the exit code.

    Args:
        argv: Words after `g2vlm doctor`; None: those of the process.
    """
    chosen = _parser().parse_args(argv)
    try:
        with ended_by_signals():
            seen = _look(chosen)
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        missing = ros_missing(error) if isinstance(error, ImportError) else ""
        said = missing or reason(error)
        print(f"g2vlm doctor cannot look: {said}", file=sys.stderr)
        return CANNOT_TELL
    found, untold = told_apart(examine(seen), seen)
    document = _document if chosen.json else _text
    print(document(seen, found, untold))
    return FINDINGS if found else CANNOT_TELL if untold else HEALTHY


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="g2vlm doctor", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("bag", nargs="?", type=Path, help="a bag; without it the live graph")
    parser.add_argument("--node", default="/g2vlm", help="with its namespace (default /g2vlm)")
    parser.add_argument(
        "--params", type=Path, help="parameter file of the node, in place of what it runs with"
    )
    parser.add_argument(
        "--param", action="append", default=[], metavar="NAME=VALUE",
        help="a parameter of the node; may be given again",
    )  # fmt: skip
    parser.add_argument(
        "--seconds", type=float, default=_SECONDS, help=f"to listen (default {_SECONDS:g})"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    return parser


def _look(chosen: argparse.Namespace) -> Seen:
    """Look at what was asked for.

    Raises:
        ValueError, OSError: A bag, a parameter file or a value that cannot be read.
        ImportError: ROS, or the library that reads bags, is missing.
        RuntimeError: ROS cannot be started.
    """
    if not 0.1 <= chosen.seconds <= 3600.0:
        raise ValueError(f"--seconds is {chosen.seconds:g}, expected 0.1..3600")
    name = f"/{chosen.node.strip('/')}"
    given = dict(named_value(word) for word in chosen.param)
    if chosen.bag is not None:
        from g2vlm_ros.doctor.recorded import look_at_bag

        return look_at_bag(chosen.bag, told_by(name, chosen.params, given))
    from g2vlm_ros.doctor.live import look_at_graph

    profile = shipped_file(PROFILE_FILE)
    return look_at_graph(name, chosen.seconds, chosen.params, given, profile)


def _document(seen: Seen, found: list[Finding], untold: list[Finding]) -> str:
    """What `--json` prints; all names out of the graph are plain."""
    node, attention = seen.node, seen.attention
    document: dict[str, Any] = {
        "source": plain(seen.source),
        "node": None
        if node is None
        else {
            "name": node.name,
            "state": node.state,
            "reasons": [{"code": plain(code), "text": plain(text)} for code, text in node.reasons],
        },
        "heard": [
            {
                "topic": plain(item.topic),
                "type": item.msgtype,
                "messages": len(item.marks),
                "rate_hz": round(1 / item.period_s, 2) if item.period_s else None,
                "bytes": item.largest,
            }
            for item in seen.heard.values()
        ],
        "checks": [check.__name__.removeprefix("check_") for check in CHECKS],
        "findings": [_item(finding) for finding in found],
        "not_told": [_item(finding) for finding in untold],
        "attention": {
            "seconds": round(attention.seconds, 2),
            "worked_s": round(attention.worked_s, 3),
            "waited_s": round(attention.waited_s, 3),
            "lost_s": round(attention.lost_s, 2),
        },
        "healthy": not found and not untold,
    }
    return json.dumps(document, indent=2)


def _item(finding: Finding) -> dict[str, str]:
    names = ("code", "about", "text", "mend")
    item = {name: getattr(finding, name) for name in names}
    return {**item, "explained_at": explained_at(finding.code)}


def _text(seen: Seen, found: list[Finding], untold: list[Finding]) -> str:
    """What is printed for a person."""
    lines = [f"{plain(seen.source)}: {_of_node(seen)}"]
    for item in seen.heard.values():
        rate = f"{1 / item.period_s:.1f} Hz" if item.period_s else f"{len(item.marks)} messages"
        lines.append(f"  heard {plain(item.topic)} ({item.msgtype.rsplit('/', 1)[-1]}), {rate}")
    for number, finding in enumerate(found, start=1):
        lines += [
            "",
            f"{number}. {finding.code}  {finding.about}",
            f"   {finding.text}",
            f"   -> {finding.mend}",
            f"   {explained_at(finding.code)}",
        ]
    if untold:
        lines += ["", f"not told: {seen.attention}, which makes the same of a healthy robot:"]
        lines += [f"  {item.code}  {item.about}: {item.text}" for item in untold]
        lines += ["   -> look again while the machine has time, or with sudo nice -n -10"]
    count = f"{len(found)} finding" + ("s" if len(found) > 1 else "")
    count = count if found else f"nothing found by {len(CHECKS)} checks"
    lines += ["", count + (f", {len(untold)} not told" if untold else "")]
    return "\n".join(lines)


def _of_node(seen: Seen) -> str:
    if seen.node is None:
        where = "looked at by its parameters" if seen.is_live else "as a node would get it"
        return f"no node runs; {where}" if seen.is_live else where
    return f"{seen.node.name} is {seen.node.state or 'silent'}"


if __name__ == "__main__":
    sys.exit(main())
