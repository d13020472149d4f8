"""Write launch/g2vlm.yaml and the parameter table of docs/node.md from the node's own table.

Usage: python scripts/write_reference.py [--check]
With --check nothing is written; the exit code is 1 where a file is out of date.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPO))

from g2vlm_ros.param_spec import Spec  # noqa: E402
from g2vlm_ros.params import CAMERA_SPECS, SPECS, camera_specs  # noqa: E402

YAML_FILE = REPO / "launch" / "g2vlm.yaml"
TABLE_FILE = REPO / "docs" / "node.md"
BEGIN, END = "<!-- parameters: begin -->", "<!-- parameters: end -->"
YAML_HEAD = """\
# Parameters of the perception node, at their defaults. Written by scripts/write_reference.py
# from g2vlm_ros/param_table.py; copy it, keep what you change, and pass it with
# ros2 launch g2vlm_ros g2vlm.launch.py params_file:=my.yaml
/**:
  ros__parameters:
"""


def bounds(spec: Spec) -> str:
    """The accepted values in a few characters; "" where every value of the type is."""
    if spec.choices:
        return " | ".join(spec.choices)
    if spec.low is None and spec.high is None:
        return ""
    low = "" if spec.low is None else f"{spec.low:.12g}"
    high = "" if spec.high is None else f"{spec.high:.12g}"
    return f"{low}..{high}"


def yaml_text() -> str:
    """The parameter file: every parameter of the node and of its first camera."""
    lines = [YAML_HEAD]
    groups = [(SPECS, "")]
    camera = next(spec.default for spec in SPECS if spec.name == "cameras")
    assert isinstance(camera, list)
    groups += [(camera_specs(name), f"    # One block for each of `cameras`: {name}.\n")
               for name in camera]  # fmt: skip
    for specs, head in groups:
        lines.append(head)
        for spec in specs:
            unit = f" [{spec.unit}]" if spec.unit else ""
            values = f" ({bounds(spec)})" if bounds(spec) else ""
            lines.append(f"    # {spec.description.rstrip('.')}{unit}{values}\n")
            lines.append(f"    {spec.name}: {json.dumps(spec.default)}\n")
    return "".join(lines)


def table_text() -> str:
    """The Markdown table of all parameters."""
    rows = ["| parameter | default | unit | values | while active | meaning |",
            "|---|---|---|---|---|---|"]  # fmt: skip
    named = [(spec.name, spec) for spec in SPECS]
    named += [(f"CAMERA.{spec.name}", spec) for spec in CAMERA_SPECS]
    for name, spec in named:
        values = bounds(spec).replace("|", "or")
        default = json.dumps(spec.default).replace("{camera}", "CAMERA")
        cells = [f"`{name}`", f"`{default}`", spec.unit, values,
                 "yes" if spec.changeable else "", spec.description]  # fmt: skip
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def page_text(page: str) -> str:
    """The documentation page with its table replaced.

    Raises:
        ValueError: The table's marks are missing.
    """
    if BEGIN not in page or END not in page:
        raise ValueError(f"{TABLE_FILE.name} lacks the marks {BEGIN} and {END}")
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}\n{table_text()}\n{END}{rest.partition(END)[2]}"


def main(argv: Sequence[str]) -> int:
    """Write or check both files."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing, only compare")
    check = parser.parse_args(argv).check
    page = TABLE_FILE.read_text(encoding="utf-8")
    wanted = {YAML_FILE: yaml_text(), TABLE_FILE: page_text(page)}
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
