# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Write launch/g2vlm.yaml, the tables of the documentation and the policies from the dataclasses.

Usage: python scripts/write_reference.py [--check]
With --check nothing is written; the exit code is 1 where a file is out of date.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPO))

from g2vlm_demo.simulator.options import SimulatorOptions, robot_rights  # noqa: E402
from g2vlm_replay.node.process import replay_rights  # noqa: E402

from g2vlm_map.option_fields import Option, described  # noqa: E402
from g2vlm_ros.doctor.told import told_by  # noqa: E402
from g2vlm_ros.params import (  # noqa: E402
    CameraParams,
    NodeParams,
    camera_options,
    node_options,
)
from g2vlm_ros.policy import Rights, node_rights, policy_text, viewer_rights  # noqa: E402

POLICIES = REPO / "policies"
# Topics of a bag as `policies/replay.policy.xml` has it.
PLAYED = ("/camera/image_raw", "/camera/camera_info")
YAML_FILE = REPO / "launch" / "g2vlm.yaml"
PAGE, README = REPO / "docs" / "node.md", REPO / "README.md"
BEGIN, END = "<!-- parameters: begin -->", "<!-- parameters: end -->"
# Those that a first reader needs; all others stand in the page.
IN_README = (
    *("model", "runtime", "export", "device", "precision", "cameras", "CAMERA.image_topic"),
    *("window.size", "window.overlap", "keyframe.min_motion"),
    *("points.decimation", "points.min_confidence", "tf.publish"),
    *("query.timeout_s", "query.max_tokens"),
)
YAML_HEAD = """\
# Parameters of the perception node, at their defaults. Written by scripts/write_reference.py
# from g2vlm_ros/params.py; copy it, keep what you change, and pass it with
# ros2 launch g2vlm_ros g2vlm.launch.py params_file:=my.yaml
/**:
  ros__parameters:
"""


def bounds(made: Option) -> str:
    """The accepted values in a few characters; "" where every value of the type is."""
    if made.choices:
        return " | ".join(made.choices)
    if made.low is None and made.high is None:
        return ""
    low = "" if made.low is None else f"{made.low:.12g}"
    high = "" if made.high is None else f"{made.high:.12g}"
    return f"{low}..{high}"


def all_options() -> dict[str, Option]:
    """Every parameter by full name, those of a camera as CAMERA.name."""
    cameras = {f"CAMERA.{name}": made for name, made in described(CameraParams).items()}
    return {**node_options(), **cameras}


def yaml_value(value: Any) -> str:
    """A value as every reader of YAML takes it: `1e-06` is a text to those of version 1.1."""
    text = json.dumps(value)
    return text.replace("e", ".0e") if isinstance(value, float) and "." not in text else text


def yaml_text() -> str:
    """The parameter file: every parameter of the node and of its cameras."""
    lines = [YAML_HEAD]
    groups = [("", node_options())]
    groups += [
        (f"    # One block for each of `cameras`: {name}.\n", camera_options(name))
        for name in NodeParams().cameras
    ]
    for head, options in groups:
        lines.append(head)
        for name, made in options.items():
            unit = f" [{made.unit}]" if made.unit else ""
            values = f" ({bounds(made)})" if bounds(made) else ""
            lines.append(f"    # {made.description}{unit}{values}\n")
            lines.append(f"    {name}: {yaml_value(made.default)}\n")
    return "".join(lines)


def table(names: Sequence[str], columns: Sequence[str]) -> str:
    """A Markdown table of some parameters.

    Args:
        names: Which, in their order.
        columns: Which cells: keys of `row` below.
    """
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for name in names:
        made = all_options()[name]
        default = json.dumps(made.default).replace("{camera}", "CAMERA")
        row = {
            "parameter": f"`{name}`",
            "default": f"`{default}`",
            "unit": made.unit,
            "values": bounds(made).replace("|", "or"),
            "while active": "yes" if made.changeable else "",
            "meaning": made.description,
        }
        lines.append("| " + " | ".join(row[column] for column in columns) + " |")
    return "\n".join(lines)


def policies() -> dict[Path, str]:
    """The text of each policy that is shipped."""

    def of_node(file: Path | None, **given: Any) -> Rights:
        told = told_by("/g2vlm", file, given)
        return node_rights(told.params, use_sim_time=told.uses_sim_time)

    replayed = of_node(None, use_sim_time=True)
    robot = robot_rights(SimulatorOptions())
    replay = replay_rights(PLAYED, replayed)
    enclaves = {
        "g2vlm": [of_node(None)],
        "full": [of_node(POLICIES / "full.yaml")],
        "simulated": [of_node(REPO / "launch" / "simulated.yaml"), robot],
        "replay": [replayed, replay],
        "viewer": [viewer_rights()],
    }
    return {
        POLICIES / f"{name}.policy.xml": policy_text([(item.node, item) for item in rights])
        for name, rights in enclaves.items()
    }


def with_table(path: Path, text: str) -> str:
    """A page with its table replaced.

    Raises:
        ValueError: The table's marks are missing.
    """
    page = path.read_text(encoding="utf-8")
    if BEGIN not in page or END not in page:
        raise ValueError(f"{path.name} lacks the marks {BEGIN} and {END}")
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}"


def main(argv: Sequence[str]) -> int:
    """Write or check all files."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing, only compare")
    check = parser.parse_args(argv).check
    long = table([*all_options()], ["parameter", "default", "unit", "values", "while active",
                                    "meaning"])  # fmt: skip
    short = table(IN_README, ["parameter", "default", "meaning"])
    wanted = {
        YAML_FILE: yaml_text(),
        PAGE: with_table(PAGE, long),
        README: with_table(README, short),
        **policies(),
    }
    stale = [
        path
        for path, text in wanted.items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]
    for path in stale:
        print(f"{path.relative_to(REPO)} {'is out of date' if check else 'written'}")
        if not check:
            path.write_text(wanted[path], encoding="utf-8")
    if check and stale:
        print("run: python scripts/write_reference.py")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
