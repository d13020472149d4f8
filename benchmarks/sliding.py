# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The geometric pass of a window that slid by one frame, with and without what it knows of pairs.

    python -m benchmarks.sliding --threads 1 --frames 4 8 16

The embedded model's match injection compares every two frames. Measured in turns within one run:
all pairs in one step with torch's argmax (the form that is exported), all pairs as the model
searches them, and the pairs of the new frame only. Experts alone: the encoder's tokens are there.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import ExitStack

import torch
from g2vlm_export.traced import all_pair_cues, in_place_of
from torch import Tensor

from benchmarks.common import (
    add_common_arguments,
    interleaved,
    print_table,
    set_threads,
    write_report,
)
from benchmarks.pictures import random_picture
from g2vlm_model.cache import KeyValueCache
from g2vlm_model.checkpoint import load_model
from g2vlm_model.extras import match
from g2vlm_model.extras.match import MatchInjection
from g2vlm_model.model import G2VLM
from g2vlm_model.preprocess import geometric_pixels

BEFORE, EVERY, NEW = "all pairs at once, torch's argmax", "all pairs", "pairs of the new frame"


def main() -> None:
    """Measure, print a table, write the JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--frames", type=int, nargs="+", default=[4, 8, 16])
    parser.add_argument("--side", type=int, nargs=2, default=(480, 640), metavar=("H", "W"))
    parser.add_argument("--rounds", type=int, default=15)
    add_common_arguments(parser, "sliding")
    arguments = parser.parse_args()
    device = set_threads(arguments)
    model, _ = load_model("nano", device=device)
    rows = [["frames", BEFORE, EVERY, NEW, "largest difference"]]
    results: dict[str, object] = {}
    for frames in arguments.frames:
        jobs = passes(model, frames, tuple(arguments.side))
        hidden = {name: job() for name, job in jobs.items()}
        apart = max(float((hidden[name] - hidden[BEFORE]).abs().max()) for name in (EVERY, NEW))
        timings = interleaved(jobs, arguments.rounds, device)
        spent = [f"{1000 * timings[name].cpu_median:.1f} ms" for name in (BEFORE, EVERY, NEW)]
        rows.append([str(frames), *spent, f"{apart:.1e} of {hidden[BEFORE].abs().max():.1f}"])
        results[str(frames)] = {
            **{name: timing.as_json() for name, timing in timings.items()},
            "largest_difference": apart,
        }
    print_table(rows)
    write_report(arguments.out, "sliding", device, results)


@torch.inference_mode()
def passes(model: G2VLM, frames: int, side: tuple[int, int]) -> dict[str, Callable[[], Tensor]]:
    """The three forms of one pass, each giving the hidden states.

    Args:
        model: With match injection.
        frames: Of the window.
        side: (height, width) of the pictures.
    """
    assert model.match is not None, "the model searches for no matches"
    pictures = [random_picture(seed, *side) for seed in range(frames + 1)]
    pixels = geometric_pixels(model.config, pictures).to(model.device)
    patch = model.config.patch_size
    grid = (pixels.shape[-2] // patch, pixels.shape[-1] // patch)
    tokens = model.encode_geometry(pixels[None])
    cache = KeyValueCache(model.config, frames * (grid[0] * grid[1] + 2), device=model.device)
    before: dict[tuple[int, int], Tensor] = {}
    model.match(tokens[:, :-1], grid, known=before)

    @torch.inference_mode()
    def run(known: dict[tuple[int, int], Tensor] | None = None) -> Tensor:
        cache.truncate(0, 0)
        return model.geometry_pass(tokens[:, 1:], grid, cache=cache, pair_cues=known).hidden_BNPD

    def at_once() -> Tensor:
        with ExitStack() as forms:
            forms.enter_context(in_place_of(MatchInjection, "cues", all_pair_cues))
            forms.enter_context(in_place_of(match, "argmax_last", lambda x: x.argmax(dim=-1)))
            return run()

    def slid() -> Tensor:
        return run({(i - 1, j - 1): cues for (i, j), cues in before.items() if i and j})

    return {BEFORE: at_once, EVERY: run, NEW: slid}


if __name__ == "__main__":
    main()
