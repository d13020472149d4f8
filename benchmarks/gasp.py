# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What GASP's losses take: peak memory over the number of anchors, in chunks and all at once.

    python -m benchmarks.gasp                                # 8 frames of 16 x 16 tokens
    python -m benchmarks.gasp --frames 24 --side 18 --chunk 512

Bytes are those of tensors that forward and backward pass hold at their peak, beside descriptors
and anchors; times are of one thread's CPU.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from functools import partial

import torch
from g2vlm_training.gasp.gasp_losses import match_losses
from g2vlm_training.gasp.gasp_options import GaspOptions
from g2vlm_training.gasp.gasp_tracks import Anchors
from torch.nn import functional as F

from benchmarks.common import (
    add_common_arguments,
    interleaved,
    print_table,
    set_threads,
    write_report,
)
from g2vlm_model.measuring.live_bytes import LiveBytes

MIB = 2**20
VISIBLE = 0.6


class Case:
    """One window with random descriptors, and points that the others see by chance.

    Args:
        frames, side, width: Of the window: frames, tokens per side, descriptor numbers.
        anchors: Points.
        device: Of all tensors.
    """

    def __init__(
        self, frames: int, side: int, width: int, anchors: int, device: torch.device
    ) -> None:
        generator = torch.Generator().manual_seed(0)
        patches = side * side
        said = torch.randn(frames, patches, width, generator=generator)
        self.descriptors = F.normalize(said, dim=-1).to(device).requires_grad_()
        own = torch.randint(frames * patches, (anchors,), generator=generator)
        match = torch.randint(patches, (anchors, frames), generator=generator)
        match = match + patches * torch.arange(frames)
        match[torch.rand(anchors, frames, generator=generator) > VISIBLE] = -1
        depth = 1 + torch.rand(anchors, frames, generator=generator)
        self.anchors = Anchors(own.to(device), match.to(device), depth.to(device))
        self.depth = 1 + torch.rand(frames, patches, generator=generator).to(device)
        self.known = torch.ones_like(self.depth, dtype=torch.bool)

    def run(self, options: GaspOptions) -> None:
        """One forward and backward pass."""
        self.descriptors.grad = None
        sums = match_losses(
            self.descriptors, self.descriptors, self.anchors, self.depth, self.known, options
        )
        torch.add(sums.correspondence, sums.depth).backward()

    def peak_bytes(self, options: GaspOptions) -> int:
        """Bytes that a pass holds at its peak."""
        with LiveBytes() as live:
            self.run(options)
        return int(live.peak)


def main() -> None:
    """Measure, print a table, write the JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--side", type=int, default=16, help="tokens per side of a frame")
    parser.add_argument("--width", type=int, default=64, help="of a descriptor")
    parser.add_argument("--chunk", type=int, default=GaspOptions().chunk)
    parser.add_argument("--anchors", type=int, nargs="+", default=[512, 1024, 2048, 4096, 8192])
    parser.add_argument("--rounds", type=int, default=5)
    add_common_arguments(parser, "gasp")
    arguments = parser.parse_args()
    device = set_threads(arguments)
    chunked = GaspOptions(chunk=arguments.chunk)
    results: dict[str, dict[str, float]] = {}
    rows = [["anchors", "peak, chunks", "peak, at once", "time, chunks", "time, at once"]]
    for anchors in arguments.anchors:
        case = Case(arguments.frames, arguments.side, arguments.width, anchors, device)
        whole = replace(chunked, chunk=anchors)
        jobs = {"chunks": partial(case.run, chunked), "at once": partial(case.run, whole)}
        timings = interleaved(jobs, arguments.rounds, device)
        mine = results[str(anchors)] = {
            "chunked_bytes": case.peak_bytes(chunked),
            "whole_bytes": case.peak_bytes(whole),
            "chunked_cpu_s": timings["chunks"].cpu_median,
            "whole_cpu_s": timings["at once"].cpu_median,
        }
        rows.append(
            [
                str(anchors),
                *(f"{mine[key] / MIB:.1f} MiB" for key in ("chunked_bytes", "whole_bytes")),
                *(f"{1000 * mine[key]:.0f} ms" for key in ("chunked_cpu_s", "whole_cpu_s")),
            ]
        )
    print_table(rows)
    write_report(arguments.out, "gasp", device, results)


if __name__ == "__main__":
    main()
