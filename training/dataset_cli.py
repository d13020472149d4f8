"""`g2vlm dataset synthetic|check`: render shards of synthetic rooms, or look at a data set."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from .batch import ClipPool
from .datasets.base import FrameSequence
from .datasets.check import GOOD_AGREEMENT, check_sequence, check_table
from .datasets.layouts import LAYOUTS, open_dataset
from .datasets.mixture import SYNTHETIC
from .datasets.synthetic import ShardPlan, write_shards

__all__ = ["main"]


def main(argv: list[str]) -> int:
    """Run `g2vlm dataset`; returns the exit code."""
    parser = argparse.ArgumentParser(prog="g2vlm dataset", description=__doc__)
    kinds = parser.add_subparsers(dest="kind", required=True)
    _add_synthetic(kinds.add_parser("synthetic", help="render procedural rooms"))
    check = kinds.add_parser("check", help="do depth, poses and intrinsics belong together?")
    check.add_argument("--dataset", choices=(SYNTHETIC, *LAYOUTS), default=SYNTHETIC)
    check.add_argument("--root", type=Path, required=True, help="folder of the data")
    check.add_argument("--split", choices=("train", "val", "test"), default="train")
    check.add_argument("--sequences", type=int, default=20, help="look at so many at most")
    args = parser.parse_args(argv)
    return _synthetic(args) if args.kind == "synthetic" else _check(args)


def _add_synthetic(synthetic: argparse.ArgumentParser) -> None:
    plan = ShardPlan()
    synthetic.add_argument("--out", type=Path, required=True, help="folder of the shards")
    synthetic.add_argument("--split", choices=("train", "val", "test"), default=plan.split)
    synthetic.add_argument("--shards", type=int, default=20, help="how many")
    synthetic.add_argument("--first", type=int, default=0, help="number of the first shard")
    synthetic.add_argument("--rooms", type=int, default=plan.rooms, help="rooms per shard")
    synthetic.add_argument("--clips", type=int, default=plan.clips, help="clips per room")
    synthetic.add_argument("--frames", type=int, default=plan.frames, help="frames per clip")
    synthetic.add_argument("--width", type=int, default=plan.width, help="pixels")
    synthetic.add_argument("--heights", type=int, nargs="+", default=list(plan.heights))
    synthetic.add_argument(
        "--fov", type=float, nargs=2, default=list(plan.fov_deg), help="degrees, from and to"
    )
    synthetic.add_argument("--device", default="cpu", help="torch device of the rays")
    synthetic.add_argument("--threads", type=int, default=1, help="torch threads")


def _synthetic(args: argparse.Namespace) -> int:
    if args.shards < 1 or args.first < 0:
        raise ValueError(
            f"--shards is {args.shards} and --first {args.first}, expected at least 1 and 0"
        )
    torch.set_num_threads(args.threads)
    plan = ShardPlan(
        split=args.split,
        rooms=args.rooms,
        clips=args.clips,
        frames=args.frames,
        width=args.width,
        heights=tuple(args.heights),
        fov_deg=tuple(args.fov),
    )
    started = time.monotonic()
    per_shard = plan.rooms * plan.clips * plan.frames
    paths = write_shards(args.out, plan, args.first, args.shards, args.device)
    for done, path in enumerate(paths, start=1):
        seconds = time.monotonic() - started
        rate = done * per_shard / max(seconds, 1e-9)
        left = (args.shards - done) * seconds / done
        print(f"{path}  {done}/{args.shards}  {rate:.0f} frames/s  {left:.0f} s left", flush=True)
    return 0


def _check(args: argparse.Namespace) -> int:
    sequences: Sequence[FrameSequence]
    if args.dataset == SYNTHETIC:
        pool = ClipPool(args.root, args.split)
        sequences = pool.clips
        for path, reason in pool.refused.items():
            print(f"{path} is left out: {reason}")
    else:
        sequences = open_dataset(args.dataset, args.root)
    spread = -(-len(sequences) // max(1, args.sequences))
    checks = [check_sequence(sequence) for sequence in sequences[::spread]]
    print(check_table(checks))
    bad = sum(not check.good for check in checks)
    frames = sum(len(sequence) for sequence in sequences)
    print(
        f"{len(sequences)} sequences, {frames} frames; {len(checks)} looked at, {bad} whose "
        f"depth agrees for less than {GOOD_AGREEMENT:.0%} of the points"
    )
    return 1 if bad else 0


if __name__ == "__main__":
    import sys

    sys.exit(main(sys.argv[1:]))
