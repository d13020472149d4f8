# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Writes a drive as a bag that a robot might have recorded, with ground truth.

python -m g2vlm_demo.drive_bag street --index 1 --split test --out out/street1
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from g2vlm_replay.node.bag_writer import BagWriter

from g2vlm_model.interface.command_line import CommandParser, at_least
from g2vlm_model.interface.whole_files import scratch_folder, sync

from .drives import NS, DriveSpec, make_drive
from .faults import Faults, faults_help
from .messages import TYPES, MessageMaker
from .scenes import SCENES
from .stream import Streams, drive_messages

__all__ = ["main", "write_drive"]

RECORDED = Streams(raw=False, depth_compressed=True)


def write_drive(spec: DriveSpec, path: Path, streams: Streams = RECORDED) -> Path:
    """Write one MCAP file.

    Args:
        spec: Which drive; pictures are rendered, or read where they were before.
        path: The file to write; the last piece of its name says .mcap.
        streams: What is recorded.

    Returns:
        The path.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with scratch_folder(path) as folder:
        with BagWriter(folder / "bag") as writer:
            known = writer.types()
            maker = MessageMaker(
                {name: known[name] for name in TYPES},
                floats=np.asarray,
                octets=lambda data: np.frombuffer(data, np.uint8),
            )
            for due in drive_messages(make_drive(spec), maker, streams):
                writer.write_message(due.topic, due.msgtype, due.time_ns, due.message)
        (file,) = (folder / "bag").glob("*.mcap")
        sync(file)
        file.replace(path)
    return path


def main(argv: list[str] | None = None) -> int:
    """Read the command line, write the bag."""
    parser = CommandParser(
        description=__doc__, epilog=faults_help(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("scene", choices=SCENES)
    parser.add_argument("--index", type=at_least(0), default=0, help="of the scene (default 0)")
    parser.add_argument("--split", choices=("val", "test"), default="val", help="val: to tune on")
    parser.add_argument("--seed", type=int, default=0, help="of the sensors' errors (default 0)")
    parser.add_argument("--rate", type=float, default=10.0, help="pictures per second (10)")
    parser.add_argument("--seconds", type=float, default=0.0, help="0: the whole tour")
    parser.add_argument("--stereo", type=float, default=0.0, help="baseline, metres (0: none)")
    parser.add_argument(
        "--fault", action="append", default=[], metavar="NAME=VALUE",
        help="listed below, e.g. kidnap_at_s=20; may be given again",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, help="the .mcap file")
    chosen = parser.parse_args(argv)
    spec = DriveSpec(
        chosen.scene, chosen.index, chosen.split, chosen.seed, chosen.rate,
        supersample=1 if chosen.scene == "street" else 2,
        stereo_m=chosen.stereo, odometry_hz=25.0, seconds=chosen.seconds,
        faults=faults_of(chosen.fault),
    )  # fmt: skip
    path = write_drive(spec, chosen.out.with_suffix(".mcap"))
    seconds = make_drive(spec).stamp_N[-1] / NS - make_drive(spec).stamp_N[0] / NS
    print(f"{path}: {path.stat().st_size / 1e6:.2f} MB, {seconds:.0f} s")
    return 0


def faults_of(words: list[str]) -> Faults:
    """Faults of NAME=VALUE.

    Raises:
        ValueError: A name that is none, or a value that is not of its type.
    """
    defaults: dict[str, Any] = vars(Faults())
    given: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if name not in defaults or not equals:
            raise ValueError(f"fault is {word!r}, expected NAME=VALUE with one of {list(defaults)}")
        kind = type(defaults[name])
        given[name] = text.lower() in ("true", "1", "yes") if kind is bool else kind(text)
    return Faults(**given)


if __name__ == "__main__":
    raise SystemExit(main())
