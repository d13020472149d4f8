# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""`g2vlm evaluate stretches`: real stretches of pictures, each as an evaluation of its own.

Nothing is learned from them and no weights are chosen by them, so they are looked at when somebody
asks for one by name; "all" is for the report at the end. Each gives a geometry.json, from which
`g2vlm evaluate card` writes the model card.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from g2vlm_model.interface.command_line import at_least
from g2vlm_model.interface.documents import parse_json
from g2vlm_model.interface.whole_files import check_writable

from ..datasets.base import Clip, FrameSequence
from .geometry_cli import examinee, measured, numbers, stored_mean_map, table_text, write_files
from .geometry_run import GeometryOptions
from .windows import open_sequences

__all__ = ["LIST", "Stretch", "add_arguments", "opened", "part_of", "run", "stretches_of"]

LIST = Path(__file__).with_name("stretches.json")
_ALL = "all"


@dataclass(frozen=True)
class Stretch:
    """One stretch of real pictures.

    Args:
        name: Of its folder in the output.
        place: Where it was taken; stretches of one place are no independent evidence.
        dataset: Layout.
        root: Below the folder of the data.
        first, count: Frames, in the order of the path; count 0 is all that follow.
        seen: Why it counts as seen: decisions were made while looking at it; "" is unseen.
        depth: Whether it has true depth; else poses are scored alone.
    """

    name: str
    place: str
    dataset: str
    root: str
    first: int = 0
    count: int = 0
    seen: str = ""
    depth: bool = True


@dataclass(frozen=True)
class _Part:
    """Some frames of a sequence in a row; a `FrameSequence`."""

    whole: FrameSequence
    first: int
    count: int

    @property
    def name(self) -> str:
        return self.whole.name

    @property
    def size_hw(self) -> tuple[int, int]:
        return self.whole.size_hw

    def __len__(self) -> int:
        return self.count

    def read(self, frames: Sequence[int]) -> Clip:
        return self.whole.read([self.first + index for index in frames])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add = parser.add_argument
    add("names", nargs="+", help=f"stretches by name, or {_ALL}")
    add("--model", default="nano", help="model folder, nano, or a run of the stage geometry")
    add("--data", type=Path, required=True, help="folder that holds the stretches' roots")
    add("--list", type=Path, default=LIST, help="JSON of other stretches")
    add("--out", type=Path, required=True, help="a folder for each stretch goes here")
    add("--frames", type=numbers, default=(1, 4), help="frames per window, e.g. 1,4")
    add("--stride", type=at_least(1), default=2, help="step between the frames of a window")
    add("--windows", type=at_least(1), default=34, help="at most so many of each length")
    add(
        "--refine-windows",
        type=at_least(0),
        default=0,
        help="refined and two-view rows: on so many",
    )
    add("--seed", type=int, default=7, help="choice of the windows")
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    add("--threads", type=at_least(1), default=1, help="torch threads")


def run(args: argparse.Namespace) -> int:
    """Run the command; returns the exit code.

    Raises:
        ValueError: An unknown stretch, or no window long enough.
        FileNotFoundError: The data are not there.
        OSError: `--out` cannot be written.
    """
    torch.set_num_threads(args.threads)
    known = {stretch.name: stretch for stretch in stretches_of(args.list)}
    unknown = sorted(set(args.names) - {*known, _ALL})
    if unknown:
        raise ValueError(f"no stretch is called {unknown}; there are {sorted(known)} and {_ALL}")
    chosen = [*known.values()] if _ALL in args.names else [known[name] for name in args.names]
    check_writable(*(args.out / stretch.name / "geometry.json" for stretch in chosen))
    found = examinee(args.model, device=args.device)
    mean = stored_mean_map()
    for stretch in chosen:
        options = GeometryOptions(
            frames=args.frames, stride=args.stride, windows=args.windows,
            refined=args.refine_windows if stretch.depth else 0, seed=args.seed,
        )  # fmt: skip
        sequences = [part_of(s, stretch) for s in opened(stretch, args.data)]
        command = {
            "dataset": stretch.dataset, "root": stretch.root, "stride": args.stride,
            "windows": args.windows, "seed": args.seed, "min_baseline": 0.05,
        }  # fmt: skip
        content, tables = measured(found, sequences, options, mean, command)
        content["stretch"] = vars(stretch)
        print(f"== {stretch.name} ({'seen' if stretch.seen else 'unseen'})")
        print(table_text(content), flush=True)
        write_files(args.out / stretch.name, content, tables)
    return 0


def stretches_of(path: Path) -> list[Stretch]:
    """The stretches of a list.

    Raises:
        ValueError: It is no list of stretches, or a name comes twice.
    """
    try:
        found = [Stretch(**entry) for entry in parse_json(path.read_bytes())]
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} is no list of stretches: {error}") from error
    names = [stretch.name for stretch in found]
    if len(set(names)) < len(names):
        raise ValueError(f"{path} names a stretch twice: {names}")
    return found


def opened(stretch: Stretch, data: Path) -> Sequence[FrameSequence]:
    """The sequences that a stretch is of.

    Raises:
        FileNotFoundError: Its data are not there.
    """
    folder = data / stretch.root
    if not folder.is_dir():
        raise FileNotFoundError(f"stretch {stretch.name} needs {folder}, which is not there")
    return open_sequences(stretch.dataset, folder, "test")


def part_of(sequence: FrameSequence, stretch: Stretch) -> FrameSequence:
    """The frames of a stretch.

    Raises:
        ValueError: The sequence is shorter.
    """
    count = stretch.count or len(sequence) - stretch.first
    if count < 1 or stretch.first + count > len(sequence):
        raise ValueError(
            f"stretch {stretch.name} has frames {stretch.first} to {stretch.first + count}, "
            f"{sequence.name} has {len(sequence)}"
        )
    return _Part(sequence, stretch.first, count)
