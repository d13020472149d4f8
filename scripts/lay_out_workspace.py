# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Lay both packages out side by side, as ROS's own tools expect them.

In this repository g2vlm_interfaces stands inside g2vlm_ros; colcon, rosdep and bloom look for no
package inside a package. `DIR/src/g2vlm_ros` and `DIR/src/g2vlm_interfaces` are copies of what a
clone holds, or links to it: `colcon build` in DIR, `rosdep install --from-paths DIR/src` and a
release repository made of DIR/src need nothing special.

Usage: python3 scripts/lay_out_workspace.py DIR [--link]
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
PACKAGES = {"g2vlm_ros": REPO, "g2vlm_interfaces": REPO / "g2vlm_interfaces"}
# For a clone that is a workspace by itself; beside its sister the package needs none.
LEFT_OUT = {"colcon_defaults.yaml"}


class LayoutError(RuntimeError):
    """The workspace cannot be laid out; the text says why."""


def lay_out(workspace: Path, *, link: bool) -> list[Path]:
    """Make or refresh both packages below `workspace/src`.

    Args:
        workspace: Its folder; made where it is missing, other packages in it stay.
        link: Links into this repository, for development, in place of copies.

    Returns:
        The two folders.

    Raises:
        LayoutError: Another package stands in the way, this is no git checkout, or the workspace
            is inside the repository.
    """
    source = workspace.resolve() / "src"
    if source.is_relative_to(REPO) and not _ignored(source):
        raise LayoutError(f"{workspace} is inside the repository, which it would then hold")
    targets = {name: source / name for name in PACKAGES}
    for name, target in targets.items():
        if (target.exists() or target.is_symlink()) and package_name(target) != name:
            raise LayoutError(f"{target} exists and is not the package {name}; move it away")
    files = [] if link else tracked_files()
    source.mkdir(parents=True, exist_ok=True)
    for name, target in targets.items():
        _remove(target)
        if link:
            target.symlink_to(PACKAGES[name])
    for file in files:
        name = "g2vlm_interfaces" if file.parts[0] == "g2vlm_interfaces" else "g2vlm_ros"
        inside = (REPO / file).relative_to(PACKAGES[name])
        (targets[name] / inside).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(REPO / file, targets[name] / inside)
    return list(targets.values())


def package_name(folder: Path) -> str:
    """The name in a folder's package.xml; "" where there is none."""
    try:
        text = (folder / "package.xml").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
    match = re.search(r"<name>\s*(\S+?)\s*</name>", text)
    return match[1] if match else ""


def tracked_files() -> list[Path]:
    """What a clone of this repository holds, relative to it.

    Raises:
        LayoutError: This is no git checkout.
    """
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True)
    if done.returncode:
        raise LayoutError(f"{REPO} is no git checkout: {done.stderr.strip()}; use --link")
    files = [Path(name) for name in done.stdout.split("\0") if name]
    return [file for file in files if file.name not in LEFT_OUT and (REPO / file).is_file()]


def _ignored(path: Path) -> bool:
    """Whether git leaves a path alone, as it does with build products."""
    command = ["git", "check-ignore", "-q", str(path)]
    return subprocess.run(command, cwd=REPO, capture_output=True).returncode == 0


def _remove(target: Path) -> None:
    if target.is_symlink():
        target.unlink()
    elif target.exists():
        shutil.rmtree(target)


def main(argv: list[str]) -> int:
    """Lay the workspace out; 0 where that went well."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("workspace", type=Path, metavar="DIR")
    parser.add_argument("--link", action="store_true", help="links in place of copies")
    options = parser.parse_args(argv)
    try:
        targets = lay_out(options.workspace, link=options.link)
    except (LayoutError, OSError) as error:
        print(f"workspace: {error}", file=sys.stderr)
        return 1
    print("\n".join(str(target) for target in targets))
    print(f"next: cd {options.workspace} && rosdep install --from-paths src -y && colcon build")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
