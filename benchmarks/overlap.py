# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What the overlap of frames costs beside the geometry of a window, and how well it tells.

    python -m benchmarks.overlap --threads 1
    python -m benchmarks.overlap --threads 1 --rooms 30 --places 7scenes=KITCHEN --pairs 40

Times are those of nano on windows of random pictures. Pairs of frames that share at least 30 % of
their points stand against pairs of two places, or, where there is one place, against those that
share at most 2 %; the areas under the curve are given, for synthetic rooms (`--rooms`) and for data
in a layout of `g2vlm evaluate` (`--places`). Beside what an observation computes anyway stands what
GASP trains, the queries and keys of the semantic expert: they are there once a question is asked.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from g2vlm_training.datasets.base import Clip, FrameSequence
from g2vlm_training.datasets.batch import batch_of, pixels_of
from g2vlm_training.datasets.layouts import open_dataset
from g2vlm_training.datasets.synthetic import ShardPlan, render_room
from g2vlm_training.datasets.views import model_clip
from g2vlm_training.gasp.gasp import unit_descriptors
from g2vlm_training.gasp.gasp_heads import LayerTap
from g2vlm_training.gasp.gasp_readers import SemanticReader
from g2vlm_training.gasp.gasp_tracks import point_tracks
from g2vlm_training.stages.semantic_stage import SemanticStage
from g2vlm_training.synthetic import scene_seed
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.common import (
    add_common_arguments,
    interleaved,
    print_table,
    set_threads,
    write_report,
)
from g2vlm_model.cache import KeyValueCache
from g2vlm_model.checkpoint import load_model, resolve_folder
from g2vlm_model.extras.overlap import frame_overlap, overlap_with_newest
from g2vlm_model.model import G2VLM
from g2vlm_model.sequence import FrameBlocks
from g2vlm_model.tokenizer import Tokenizer

LEAST_SHARED, MOST_APART = 0.3, 0.02  # of the points of two frames
TRIES = 20
THRESHOLDS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8)
SIZE = (84, 112)
PLAN = ShardPlan(split="test", clips=1, frames=12, smooth=0.0)


class Window:
    """A window of one size through the geometric half.

    Args:
        model: In evaluation.
        pixels_NHW: Normalised pictures (N, 3, H, W).
    """

    def __init__(self, model: G2VLM, pixels_NHW: Tensor) -> None:
        patch = model.config.patch_size
        self.model, self.pixels = model, pixels_NHW
        self.grid = (pixels_NHW.shape[-2] // patch, pixels_NHW.shape[-1] // patch)
        self.blocks = FrameBlocks(len(pixels_NHW), *self.grid)
        self.observe()

    @torch.inference_mode()
    def observe(self) -> None:
        """Encoder, expert and heads."""
        self.cache = KeyValueCache(self.model.config, self.blocks.tokens)
        tokens = self.model.encode_geometry(self.pixels[None])
        hidden = self.model.geometry_pass(tokens, self.grid, cache=self.cache)
        self.model.decode_geometry(hidden.hidden_BNPD, self.grid, pixels_BN3HW=self.pixels[None])
        self.tokens_1NPD = tokens

    @torch.inference_mode()
    def by_matches(self) -> Tensor:
        """Overlap of each frame with the newest, by the match injection's descriptors."""
        assert self.model.match is not None, "nano has match injection"
        descriptors_BNSE = self.model.match.descriptors(self.tokens_1NPD, self.grid)
        found: Tensor = overlap_with_newest(descriptors_BNSE[0])
        return found

    @torch.inference_mode()
    def by_keys(self) -> Tensor:
        """The same by the last layer's keys."""
        found: Tensor = frame_overlap(
            self.cache.keys[-1, 0, :, : self.cache.length], self.model.config.text, self.grid, 0, 1
        )
        return found


WAYS: dict[str, Callable[[Window], Tensor]] = {
    "matches": Window.by_matches,
    "keys": Window.by_keys,
}


def cost(model: G2VLM, frames: int, rounds: int, device: torch.device) -> dict[str, float]:
    """CPU seconds of a window's geometry, and of its overlaps as shares of that."""
    window = Window(model, torch.randn(frames, 3, *SIZE, device=device))
    jobs: dict[str, Callable[[], object]] = {"geometry": window.observe}
    jobs |= {way: lambda way=way: WAYS[way](window) for way in WAYS}  # type: ignore[misc]
    timings = interleaved(jobs, rounds, device)
    whole = timings["geometry"].cpu_median
    return {"geometry_s": whole} | {way: timings[way].cpu_median / whole for way in WAYS}


class SemanticQueries:
    """Matches of one frame in another by the semantic expert's last layer (GASP, eq. 10).

    Args:
        model: In evaluation.
        tokenizer: The model's.
    """

    def __init__(self, model: G2VLM, tokenizer: Tokenizer) -> None:
        self.reader = SemanticReader(SemanticStage(model, tokenizer, questions=1))

    @torch.inference_mode()
    def overlap(self, frame: Clip, newest: Clip) -> float:
        """Mean cosine of the best match of each patch's query among the newest frame's keys."""

        def joined(name: str) -> NDArray[Any]:
            return np.concatenate([getattr(clip, name) for clip in (frame, newest)])

        pair = replace(
            frame,
            rgb=joined("rgb"),
            depth=joined("depth"),
            T_world_cam=joined("T_world_cam"),
            K=joined("K"),
            object_id=None,
            normals=None,
        )
        last = self.reader.layers[-1]
        with LayerTap([last], projections=True) as tap:
            self.reader.read(batch_of([pair]))
        q_BNSE, k_BNSE = unit_descriptors(
            *(self.reader.images(said[last.index], 2) for said in (tap.queries, tap.keys))
        )
        return float((q_BNSE[0, 0] @ k_BNSE[0, 1].T).amax(dim=1).mean())


def areas(
    model: G2VLM, semantic: SemanticQueries, places: Sequence[FrameSequence], pairs: int
) -> dict[str, Any]:
    """Areas under the curve of overlapping pairs of frames against others.

    Others are of two places, or, where there is one only, share next to no point.
    """
    rng = np.random.default_rng(0)
    ways = (*WAYS, "semantic queries")
    scores: dict[str, tuple[list[float], list[float]]] = {way: ([], []) for way in ways}
    counts = [0, 0]
    for _ in range(TRIES * pairs):
        a, b = (int(k) for k in rng.integers(len(places), size=2))
        i, j = int(rng.integers(len(places[a]))), int(rng.integers(len(places[b])))
        shared = shared_points(places[a].read([i, j])) if a == b and i != j else float(a == b)
        kind = 0 if LEAST_SHARED <= shared < 1 else 1
        if counts[kind] >= pairs or MOST_APART < shared < LEAST_SHARED or shared == 1:
            continue
        clips = [model_clip(places[k].read([f]), model.config) for k, f in ((a, i), (b, j))]
        window = Window(model, torch.cat([_pixels(clip, model.device) for clip in clips]))
        for way, overlap in WAYS.items():
            scores[way][kind].append(float(overlap(window)[0]))
        scores["semantic queries"][kind].append(semantic.overlap(*clips))
        counts[kind] += 1
    if not all(counts):
        raise ValueError(f"found {counts[0]} overlapping and {counts[1]} other pairs, needs both")
    found: dict[str, Any] = {"overlapping": counts[0], "apart": counts[1]}
    for way, (same, apart) in scores.items():
        right = np.array(same)[:, None] > np.array(apart)
        found[way] = {
            "auc": float(right.mean()),
            "overlapping_5_50_95": np.percentile(same, (5, 50, 95)).round(3).tolist(),
            "apart_5_50_95": np.percentile(apart, (5, 50, 95)).round(3).tolist(),
        }
    return found


def window_signal(model: G2VLM, rooms: Sequence[FrameSequence], frames: int) -> dict[str, Any]:
    """What the node compares with `window.min_overlap`: the newest frame's best earlier partner.

    Windows of one room whose newest frame shares points with an earlier one, and the same
    windows with a newest frame of the next room.
    """
    signals: dict[str, list[float]] = {"overlapping": [], "strange": []}
    clips = [model_clip(room.read(range(frames)), model.config) for room in rooms]
    pictures = [_pixels(clip, model.device) for clip in clips]
    for number, (clip, pixels) in enumerate(zip(rooms, pictures, strict=True)):
        shares = [shared_points(clip.read([frame, frames - 1])) for frame in range(frames - 1)]
        if max(shares) >= LEAST_SHARED:
            signals["overlapping"].append(float(Window(model, pixels).by_keys()[:-1].max()))
        strange = torch.cat((pixels[:-1], pictures[(number + 1) % len(rooms)][-1:]))
        signals["strange"].append(float(Window(model, strange).by_keys()[:-1].max()))
    found: dict[str, Any] = {"windows": {kind: len(all_) for kind, all_ in signals.items()}}
    for kind, values in signals.items():
        found[f"{kind}_0_1_5_50_95_100"] = (
            np.percentile(values, (0, 1, 5, 50, 95, 100)).round(3).tolist()
        )
    found["at"] = {
        f"{least:.2f}": {
            kind: float((np.array(values) < least).mean()) for kind, values in signals.items()
        }
        for least in THRESHOLDS
    }
    return found


def shared_points(clip: Clip) -> float:
    """Share of the points of two frames that the other one sees."""
    visible = point_tracks(batch_of([clip]), 8, "depth").visible_BNNQ[0]
    return float(visible[[0, 1], [1, 0]].float().mean())


def _pixels(clip: Clip, device: torch.device) -> Tensor:
    rgb = torch.from_numpy(clip.rgb).to(device).permute(0, 3, 1, 2).float() / 255
    return torch.nn.functional.interpolate(pixels_of(rgb), SIZE, mode="bilinear", antialias=True)


class _Room:
    """One rendered clip as a sequence."""

    def __init__(self, number: int) -> None:
        self.clip = render_room(PLAN, scene_seed("test", number), SIZE)[0]
        self.name, self.size_hw = f"room {number}", SIZE

    def __len__(self) -> int:
        return len(self.clip)

    def read(self, frames: Sequence[int]) -> Clip:
        """These frames, in this order."""
        index = np.asarray(frames)
        arrays = {name: getattr(self.clip, name)[index] for name in ("rgb", "depth", "K")}
        poses = self.clip.T_world_cam[index]
        return replace(self.clip, **arrays, T_world_cam=poses, object_id=None, normals=None)


def main() -> None:
    """Measure, print tables, write the JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="nano", help="model folder")
    parser.add_argument("--frames", type=int, nargs="+", default=[2, 8])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--rooms", type=int, default=0, help="synthetic rooms to tell apart")
    parser.add_argument("--places", nargs="+", default=[], metavar="LAYOUT=ROOT")
    parser.add_argument("--pairs", type=int, default=150, help="of each kind")
    add_common_arguments(parser, "overlap")
    arguments = parser.parse_args()
    device = set_threads(arguments)
    model, tokenizer = load_model(resolve_folder(arguments.model), device)
    semantic = SemanticQueries(model, tokenizer)
    results: dict[str, Any] = {"cost": {}}
    rows = [["frames", "geometry", *(f"{way}, share" for way in WAYS)]]
    for frames in arguments.frames:
        mine = results["cost"][str(frames)] = cost(model, frames, arguments.rounds, device)
        shares = (f"{100 * mine[way]:.2f} %" for way in WAYS)
        rows.append([str(frames), f"{1000 * mine['geometry_s']:.1f} ms", *shares])
    print_table(rows)
    kinds: dict[str, list[FrameSequence]] = {}
    if arguments.rooms:
        kinds["synthetic"] = [_Room(900 + number) for number in range(arguments.rooms)]
    named = [place.split("=", 1) for place in arguments.places]
    if named:
        kinds["real"] = [
            sequence for layout, root in named for sequence in open_dataset(layout, Path(root))
        ]
    for frames in arguments.frames if arguments.rooms else ():
        mine = results[f"windows of {frames}"] = window_signal(model, kinds["synthetic"], frames)
        print(f"windows of {frames}", mine)
    for kind, places in kinds.items() if arguments.pairs else ():
        results[kind] = areas(model, semantic, places, arguments.pairs)
        print(kind, results[kind])
    write_report(arguments.out, "overlap", device, results)


if __name__ == "__main__":
    main()
