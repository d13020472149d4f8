# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Write who owns it and under which licence on top of every source file that lacks it.

The first line has the form that ament_copyright reads, the second one that of SPDX.

Usage: python scripts/write_licence.py [--check]
With --check nothing is written; the exit code is 1 where a file lacks it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
NOTICE = "# Copyright 2026 G2VLM ROS maintainers\n# SPDX-License-Identifier: Apache-2.0\n\n"
KINDS = {".py", ".sh"}
NOT_OURS = {"build", "install", "log", "out", "runs"}


def sources() -> Iterator[Path]:
    """Files of code that are not empty, below folders that git does not ignore."""
    for top in sorted(REPO.iterdir()):
        if top.name.startswith(".") or top.name in NOT_OURS or top.name.endswith(".egg-info"):
            continue
        for path in sorted(top.rglob("*")) if top.is_dir() else (top,):
            if path.suffix in KINDS and path.is_file() and path.stat().st_size:
                yield path


def with_notice(text: str) -> str:
    """A file's text with the notice on top, below what says how to run it."""
    first = text.find("\n") + 1 if text.startswith("#!") else 0
    if text.startswith(NOTICE, first):
        return text
    return text[:first] + NOTICE + text[first:]


def main(argv: Sequence[str]) -> int:
    """Write or check."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing, only look")
    check = parser.parse_args(argv).check
    lacking = 0
    for path in sources():
        text = path.read_text(encoding="utf-8")
        wanted = with_notice(text)
        if wanted == text:
            continue
        lacking += 1
        print(path.relative_to(REPO))
        if not check:
            path.write_text(wanted, encoding="utf-8")
    if lacking and check:
        print("run: python scripts/write_licence.py")
    return int(check and lacking > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
