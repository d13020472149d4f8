# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Draws the pictures of docs/images that come out of a map: `make demo` writes out/demo/map.g2map.

python scripts/write_docs_images.py out/demo/map.g2map
"""

from __future__ import annotations

import argparse
from pathlib import Path

from g2vlm_replay.report import plan_of

from g2vlm_map.mapping.store import load_map

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"


def main() -> None:
    """Read the map that the command line names, and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("map", type=Path, help="map.g2map of a replay, in metres")
    parser.add_argument("--out", type=Path, default=IMAGES, help="folder of the pictures")
    chosen = parser.parse_args()
    drawn = plan_of(load_map(chosen.map).world)
    if not drawn:
        parser.error(f"{chosen.map} is not in metres, or nobody said where its camera sits")
    (chosen.out / "map.svg").write_bytes(drawn)


if __name__ == "__main__":
    main()
