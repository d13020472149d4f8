# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""`g2vlm dataset synthetic|models|render|bag|check`: shards of rooms and of recordings.

Procedural rooms need nothing; realistic ones need the extra `scenes` and a library of models;
recordings are bags, films and folders of frames, see docs/finetune.md. `check` looks at
conversations about pictures too, see docs/language_data.md.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from g2vlm_map.recordings import TopicChoice
from g2vlm_model.config import ModelConfig
from g2vlm_model.interface.command_line import CommandParser, at_least
from g2vlm_model.interface.progress import progress
from g2vlm_model.interface.whole_files import scratch_folder
from g2vlm_model.interface.words import log_plainly, plain, plain_lines
from g2vlm_model.model_folder import resolve_folder
from g2vlm_model.runtimes.torch.placement import choose_placement
from g2vlm_model.tokenizer import Tokenizer

from .config import TrainConfig
from .datasets.bag import write_bags
from .datasets.bag_frames import BagPlan
from .datasets.base import DataError, FrameSequence
from .datasets.check import SequenceCheck, check_sequence, check_table
from .datasets.language import LANGUAGE_LAYOUTS, Conversation, LanguagePool
from .datasets.language.check import check_language
from .datasets.layouts import LAYOUTS, open_dataset
from .datasets.mixture import SYNTHETIC, ClipPool, SourceOptions
from .datasets.realistic import RenderPlan, render_shards
from .datasets.recorded_poses import SOURCES
from .datasets.recording import RecordingChoice
from .datasets.synthetic import ShardPlan, write_shards
from .stages.question_batch import QuestionMaker
from .synthetic import PATH_STYLES, Split
from .synthetic.models import (
    ModelLibrary,
    build_library,
    default_folder,
    fetch_sources,
    local_sources,
)

__all__ = ["main"]

SPLITS: tuple[Split, ...] = ("train", "val", "test")


def main(argv: list[str]) -> int:
    """Run `g2vlm dataset`; returns the exit code."""
    parser = CommandParser(prog="g2vlm dataset", description=__doc__)
    kinds = parser.add_subparsers(dest="kind", required=True)
    _add_synthetic(kinds.add_parser("synthetic", help="render procedural rooms"))
    _add_bag(kinds.add_parser("bag", help="write recordings as shards"))
    check = kinds.add_parser("check", help="do depth, poses and intrinsics belong together?")
    check.add_argument("folder", type=Path, nargs="?", help="of the data")
    check.add_argument("--root", type=Path, help="the same, by name")
    check.add_argument(
        "--dataset", choices=(SYNTHETIC, *LAYOUTS, *LANGUAGE_LAYOUTS),
        help="layout; default: shards where there are some, else a recording",
    )  # fmt: skip
    check.add_argument("--split", choices=SPLITS, help="of shards; default: all that are there")
    check.add_argument("--sequences", type=at_least(1), default=20, help="look at so many at most")
    language = check.add_argument_group("conversations")
    language.add_argument("--model", default="nano", help="whose tokens are counted")
    language.add_argument(
        "--context",
        type=at_least(1),
        default=TrainConfig.context,
        help="tokens with the pictures at most",
    )
    language.add_argument(
        "--film-frames",
        type=at_least(1),
        default=SourceOptions.film_frames,
        help="pictures of a film",
    )
    language.add_argument(
        "--conversations", type=at_least(1), default=2000,
        help="read the pictures of so many at most; all are looked at otherwise",
    )  # fmt: skip
    _add_models(kinds.add_parser("models", help="fetch and convert furniture for realistic rooms"))
    _add_render(kinds.add_parser("render", help="render realistic rooms"))
    args = parser.parse_args(argv)
    commands = {
        "synthetic": _synthetic, "models": _models, "render": _render, "bag": _bag, "check": _check,
    }  # fmt: skip
    return commands[args.kind](args)


def _add_synthetic(synthetic: argparse.ArgumentParser) -> None:
    plan = ShardPlan()
    synthetic.add_argument("--out", type=Path, required=True, help="folder of the shards")
    synthetic.add_argument("--split", choices=("train", "val", "test"), default=plan.split)
    synthetic.add_argument("--shards", type=int, default=20, help="how many")
    synthetic.add_argument("--first", type=int, default=0, help="number of the first shard")
    synthetic.add_argument("--rooms", type=at_least(1), default=plan.rooms, help="rooms per shard")
    synthetic.add_argument("--clips", type=at_least(1), default=plan.clips, help="clips per room")
    synthetic.add_argument("--frames", type=int, default=plan.frames, help="frames per clip")
    synthetic.add_argument("--width", type=at_least(1), default=plan.width, help="pixels")
    synthetic.add_argument("--heights", type=int, nargs="+", default=list(plan.heights))
    synthetic.add_argument(
        "--fov", type=float, nargs=2, default=list(plan.fov_deg),
        help="degrees along the longer side, from and to",
    )  # fmt: skip
    synthetic.add_argument(
        "--styles", nargs="+", choices=PATH_STYLES, default=list(plan.styles),
        help="kinds of camera paths, each as often as it is named",
    )  # fmt: skip
    synthetic.add_argument("--device", default="cpu", help="of the rays: auto, cpu, cuda or cuda:N")
    synthetic.add_argument("--threads", type=at_least(1), default=1, help="torch threads")


def _add_models(models: argparse.ArgumentParser) -> None:
    models.add_argument("--out", type=Path, default=default_folder(), help="folder of the library")
    models.add_argument(
        "--from", type=Path, dest="source", metavar="FOLDER",
        help="take .sh3f, .exr and .png files from here and fetch nothing",
    )  # fmt: skip
    models.add_argument(
        "--only-furniture", action="store_true",
        help="fetch neither panoramas nor textures (530 MB of wheels); both are drawn then",
    )  # fmt: skip
    models.add_argument("--check", action="store_true", help="only look whether it is whole")


def _models(args: argparse.Namespace) -> int:
    if not args.check:
        if args.out.is_file():  # said before gigabytes are fetched
            raise ValueError(f"--out {args.out} is a file, expected a folder; name another")
        args.out.parent.mkdir(parents=True, exist_ok=True)
        with (
            progress(0, "fetching") as shown,
            scratch_folder(args.out.parent / "fetched") as work,
        ):
            if args.source is not None:
                sources = local_sources(args.source)
            else:
                sources = fetch_sources(work, extras=not args.only_furniture)
            shown.begin("converting")
            build_library(args.out, sources, shown.say)
    library = ModelLibrary(args.out)
    print(
        f"{args.out}: {len(library.entries)} models, {len(library.panoramas)} panoramas, "
        f"{len(library.surfaces)} textures; credits in {args.out / 'CREDITS.md'}"
    )
    return 0


def _add_render(render: argparse.ArgumentParser) -> None:
    plan = RenderPlan(default_folder())
    render.add_argument("--out", type=Path, required=True, help="folder of the shards")
    render.add_argument("--models", type=Path, default=plan.library, help="folder of the library")
    render.add_argument("--split", choices=("train", "val", "test"), default=plan.split)
    render.add_argument("--shards", type=int, default=50, help="how many")
    render.add_argument("--first", type=int, default=0, help="number of the first shard")
    render.add_argument("--rooms", type=at_least(1), default=plan.rooms, help="rooms per shard")
    render.add_argument(
        "--lengths", type=int, nargs="+", default=list(plan.lengths), help="frames of each clip"
    )
    render.add_argument(
        "--sizes", nargs="+", metavar="WIDTHxHEIGHT",
        default=[f"{width}x{height}" for height, width in plan.sizes], help="shard after shard",
    )  # fmt: skip
    render.add_argument("--rays", type=int, default=plan.rays, help="per pixel")
    render.add_argument("--processes", type=int, default=1, help="each on one core")
    render.add_argument(
        "--most-gib", type=float, default=20.0, help="stop when the folder's shards take so much"
    )


def _render(args: argparse.Namespace) -> int:
    if min(args.shards, args.processes) < 1 or args.first < 0:
        raise ValueError(
            f"--shards, --processes and --first are {args.shards}, {args.processes} and "
            f"{args.first}, expected at least 1, 1 and 0"
        )
    plan = RenderPlan(
        library=args.models,
        split=args.split,
        rooms=args.rooms,
        lengths=tuple(args.lengths),
        sizes=tuple(_size(text) for text in args.sizes),
        rays=args.rays,
    )
    paths = render_shards(args.out, plan, args.first, args.shards, args.processes, args.most_gib)
    with progress(args.shards, "rendering", "shards") as shown:
        for path in paths:
            shown.say(str(path))
            shown.advance()
    return 0


def _size(text: str) -> tuple[int, int]:
    """Height and width of "168x126".

    Raises:
        ValueError: Something else.
    """
    width, cross, height = text.partition("x")
    if not (cross and width.isdecimal() and height.isdecimal()):
        raise ValueError(f"a size is {text!r}, expected WIDTHxHEIGHT such as 168x126")
    return int(height), int(width)


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
        styles=tuple(args.styles),
    )
    started = time.monotonic()
    per_shard = plan.rooms * plan.clips * plan.frames
    device = str(choose_placement(args.device, "fp32").device)
    paths = write_shards(args.out, plan, args.first, args.shards, device)
    with progress(args.shards, "rendering", "shards") as shown:
        for done, path in enumerate(paths, start=1):
            rate = done * per_shard / max(time.monotonic() - started, 1e-9)
            shown.say(f"{path}  {rate:.0f} frames/s")
            shown.advance()
    return 0


def _add_bag(bag: argparse.ArgumentParser) -> None:
    plan = BagPlan()
    bag.add_argument("bags", type=Path, nargs="+", metavar="BAG", help="bags, films or folders")
    bag.add_argument("--out", type=Path, required=True, help="a new folder for the shards")
    bag.add_argument(
        "--val", type=Path, nargs="+", default=[], metavar="BAG",
        help="recordings to validate with; the others are to train on then",
    )  # fmt: skip
    bag.add_argument(
        "--poses", choices=("auto", *SOURCES, "none"), default=plan.choice.poses,
        help="where they come from; auto: the best there is, in this order",
    )  # fmt: skip
    bag.add_argument("--model", default=plan.choice.model, help="of --poses map")
    for name, what in (
        ("image", "frames"), ("camera-info", "their CameraInfo"), ("pose", "true poses"),
        ("depth", "depth"),
    ):  # fmt: skip
        bag.add_argument(f"--{name}-topic", default="", help=f"{what}, where it cannot be told")
    bag.add_argument("--no-depth", action="store_true", help="leave depth out")
    bag.add_argument(
        "--unposed", action="store_true", help="take frames that have depth and no pose too"
    )
    bag.add_argument(
        "--exact-depth", action="store_true", help="depth is a simulator's: good for normals"
    )
    bag.add_argument("--rate", type=float, default=plan.rate_hz, help="frames a second at most")
    bag.add_argument("--width", type=at_least(1), default=plan.width, help="pixels at most")
    bag.add_argument("--frames", type=int, default=plan.frames, help="of a clip at most")
    bag.add_argument(
        "--val-share", type=float, default=plan.val_share,
        help="the last part of each recording, to validate with",
    )  # fmt: skip
    bag.add_argument(
        "--gap", type=float, default=plan.gap_s, help="seconds between training and validation"
    )


def _bag(args: argparse.Namespace) -> int:
    log_plainly(logging.ERROR, "%(message)s")  # what is warned of stands in the report
    topics = TopicChoice(
        args.image_topic, args.camera_info_topic, args.pose_topic, args.depth_topic
    )
    plan = BagPlan(
        choice=RecordingChoice(args.poses, topics, not args.no_depth, args.model),
        rate_hz=args.rate,
        width=args.width,
        frames=args.frames,
        val_share=args.val_share,
        gap_s=args.gap,
        unposed=args.unposed,
        exact_depth=args.exact_depth,
    )
    taken = write_bags(args.bags, args.out, plan, args.val)
    for one in taken:
        for note in one.recorded.notes:
            print(plain(f"{one.recorded.path}: {note}"))
        told = ", ".join(f"{count} {why}" for why, count in one.left_out.items() if count)
        print(
            plain(
                f"{one.recorded.path}: {len(one.frames('train'))} frames to train on, "
                f"{len(one.frames('val'))} to validate with; left out: {told or 'none'}"
            )
        )
    if not any(one.frames("val") for one in taken):
        print(f"{args.out} has nothing to validate with: train with --set eval_windows=0")
    print(f"{args.out / 'report.html'} shows them; look at it, then g2vlm dataset check {args.out}")
    return 0


def _check(args: argparse.Namespace) -> int:
    root = args.root if args.folder is None else args.folder
    if root is None:
        raise ValueError("give the folder of the data")
    if args.dataset in LANGUAGE_LAYOUTS:
        return _check_language(args, root)
    sequences = _sequences(args, root)
    spread = -(-len(sequences) // max(1, args.sequences))
    checks, broken = list[SequenceCheck](), list[str]()
    looked_at = sequences[::spread]
    with progress(len(looked_at), "checking", "sequences") as shown:
        for sequence in shown.over(looked_at):
            try:
                checks.append(check_sequence(sequence))
            except DataError as error:
                broken.append(str(error))
    print("\n".join([check_table(checks), *broken]))
    bad = sum(not check.good for check in checks) + len(broken)
    frames = sum(len(sequence) for sequence in sequences)
    print(
        f"{len(sequences)} sequences, {frames} frames; {len(checks) + len(broken)} looked at, "
        f"{bad} whose parts do not belong together or cannot be read"
    )
    return 1 if bad else 0


def _check_language(args: argparse.Namespace, root: Path) -> int:
    """Conversations, as a model would learn from them."""
    source = resolve_folder(args.model)
    config = ModelConfig.from_folder(source)
    maker = QuestionMaker(
        config, Tokenizer.from_folder(source), 1, (), blind=False, context=args.context
    )
    pool = LanguagePool(args.dataset, root, args.film_frames)

    def tokens_of(conversation: Conversation) -> int:
        maker.of_conversation(conversation)
        return maker.tokens_of(conversation)

    with progress(len(pool), "checking", "conversations") as shown:
        check = check_language(pool, args.conversations, tokens_of, shown.advance)
    print(plain_lines(check.table()))
    return 1 if check.refused else 0


def _sequences(args: argparse.Namespace, root: Path) -> Sequence[FrameSequence]:
    """What is looked at, by the layout or as the folder looks."""
    shards = root.is_dir() and any(root.glob("*.tar"))
    layout = args.dataset or (SYNTHETIC if shards or args.split else "recording")
    if layout != SYNTHETIC:
        return open_dataset(layout, root)
    found: list[FrameSequence] = []
    there = [split for split in SPLITS if any(root.glob(f"{split}-*.tar"))]
    for split in [args.split] if args.split else there or SPLITS[:1]:
        pool = ClipPool(root, split)
        found += pool.clips
        for path, reason in pool.refused.items():
            print(plain(f"{path} is left out: {reason}"))
    return found


if __name__ == "__main__":
    import sys

    sys.exit(main(sys.argv[1:]))
