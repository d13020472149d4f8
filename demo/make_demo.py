# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Makes the demo: a wheeled robot drives through a room and comes back to where it began.

    python -m g2vlm_demo.make_demo [--out demo]

writes `drive.mcap` (JPEG pictures, CameraInfo, wheel odometry with errors of 2 %, TF, a 2D lidar,
true poses and depth) and `questions.json` (questions with exact answers read off the scene). The
scene's seed lies in the test range: nothing was trained on it. The same arguments make the same
bag and the same questions.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from g2vlm_training.synthetic import RenderedFrames, render

from g2vlm_model.interface.command_line import CommandParser
from g2vlm_model.interface.whole_files import write_text

from .drive_bag import write_drive
from .drives import Drive, DriveSpec, make_drive
from .messages import encode_jpeg
from .questions import keyframes_of, make_questions
from .stream import Streams

SPEC = DriveSpec("room", 3, "test", rate_hz=5.0, odometry_hz=10.0, scan_hz=5.0)
STREAMS = Streams(raw=False, depth_every=3, depth_compressed=True)
MAX_BYTES = 6_000_000
AT_ONCE = 16


def main(argv: list[str] | None = None) -> int:
    """Render, write the bag and the questions."""
    parser = CommandParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("demo"))
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)  # the same sums on every machine
    bag = write_drive(SPEC, arguments.out / "drive.mcap", STREAMS)
    size = bag.stat().st_size
    if size > MAX_BYTES:
        raise RuntimeError(f"{bag} has {size} bytes, expected at most {MAX_BYTES}")
    drive = make_drive(SPEC)
    questions = questions_about(drive)
    write_text(arguments.out / "questions.json", json.dumps(questions, indent=1) + "\n")
    print(
        f"{bag}: {size / 1e6:.2f} MB, {len(drive.stamp_N)} pictures, {drive.seconds:.0f} s, "
        f"{drive.length_m:.1f} m, {len(questions)} questions"
    )
    return 0


def questions_about(drive: Drive) -> list[dict[str, object]]:
    """Questions about some keyframes, answered by the scene itself."""
    pictures = list(drive.frames())
    codes = [encode_jpeg(picture.rgb) for picture in pictures]
    used = keyframes_of(codes, [picture.stamp_ns for picture in pictures])
    poses = np.stack([picture.T_world_cam for picture in pictures])
    # Once more, coarsely: the renderer says which thing each pixel shows.
    parts = [
        render(drive.scene.room, poses[start : start + AT_ONCE], drive.K, drive.spec.size_hw)
        for start in range(0, len(poses), AT_ONCE)
    ]
    names = ("rgb", "depth", "normals", "object_id", "T_world_cam")
    joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    truth = RenderedFrames(**joined, K=drive.K)
    return make_questions(drive.scene.room, truth, used)


if __name__ == "__main__":
    raise SystemExit(main())
