# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Obstacles, occupancy and phantoms of the embedded model against rooms whose truth is known.

    python -m benchmarks.obstacles --split val --rooms 8       # what the defaults were chosen by
    python -m benchmarks.obstacles --split test --rooms 10     # what is reported

Each drive is mapped of exact depth, of the model's depth as it is, and of that corrected by the
pictures (`dense.sweep`), all at true poses; and once with everything through the pipeline, which
knows K, the mount and wheels that are 2 % wrong. See `obstacle_scores` for what counts. Brackets
hold 95 % over rooms drawn with replacement.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

from benchmarks.common import add_common_arguments, print_table, set_threads, write_report
from benchmarks.obstacle_drives import Drive, DriveOptions, drives
from benchmarks.obstacle_scores import NEAR_M, RANGE_M, Score, intervals, score, summed
from benchmarks.obstacle_worlds import (
    Posed,
    ScaleError,
    model_world,
    pipeline_world,
    true_world,
)
from g2vlm_map.dense.dense_map import DenseRules
from g2vlm_map.dense.options import DenseOptions
from g2vlm_model.runtimes import load_runtime

WANTED = {"recall": ">= 0.90", "free but occupied": "<= 0.03", "phantoms per 10 m": "<= 1"}
MODEL_HW = (84, 112)
RULES = {
    "exact depth": DenseRules(DenseOptions(sweep=False)),
    "model": DenseRules(DenseOptions(sweep=False)),
    "model, swept": DenseRules(),
    "pipeline": DenseRules(),
}


def main() -> None:
    """Measure, print a table, write the JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="nano")
    parser.add_argument("--split", default="test", choices=("train", "val", "test"))
    parser.add_argument("--rooms", type=int, default=10, help="drives, one in each room")
    parser.add_argument("--frames", type=int, default=DriveOptions().frames)
    parser.add_argument("--scale-sigma", type=float, default=ScaleError().sigma)
    parser.add_argument("--no-pipeline", action="store_true", help="true poses only")
    add_common_arguments(parser, "obstacles")
    arguments = parser.parse_args()
    device = set_threads(arguments)
    runtime = load_runtime("torch", arguments.model, device=str(device))
    options = replace(DriveOptions(), frames=arguments.frames)
    scores: dict[str, list[Score]] = {name: [] for name in RULES}
    rooms: list[dict[str, Any]] = []
    for number, drive in enumerate(drives(arguments.split, arguments.rooms, options)):
        posed = _posed(drive)
        error = ScaleError(arguments.scale_sigma, number)
        seen = model_world(runtime, posed, error, f"{arguments.split} {drive.room.seed}")
        worlds = {"exact depth": true_world(posed, MODEL_HW), "pipeline": None}
        if not arguments.no_pipeline:
            worlds["pipeline"] = pipeline_world(runtime, posed, number)
        room: dict[str, Any] = {"seed": drive.room.seed, "way_m": drive.way_m}
        for name, rules in RULES.items():
            world = worlds.get(name, seen)
            if world is None or not world.scale.metric:
                room[name] = "no scale" if world else "not asked for"
                continue
            scores[name].append(score(drive, world, rules))
            room[name] = scores[name][-1].numbers
        rooms.append(room)
        print(f"room {drive.room.seed}, {drive.way_m:.1f} m: {room}", flush=True)
    made = {name: items for name, items in scores.items() if items}
    totals = {name: summed(items).numbers for name, items in made.items()}
    print(f"found: within {NEAR_M} m; seen: within {RANGE_M} m of the camera")
    spread = {name: intervals(items) for name, items in made.items()}
    print_table(
        [
            ["", *(f"{name} ({len(items)})" for name, items in made.items()), "wanted"],
            *(
                [key, *(_told(totals[name][key], *spread[name][key]) for name in made), wanted]
                for key, wanted in ((key, WANTED.get(key, "")) for key in totals["model"])
            ),
        ]
    )
    results = {"total": totals, "interval": spread, "rooms": rooms}
    write_report(arguments.out, "obstacles", device, results)


def _told(value: float, low: float, high: float) -> str:
    return f"{value:.3f} ({low:.3f} .. {high:.3f})"


def _posed(drive: Drive) -> Posed:
    return Posed(drive.rgb_NHW3, drive.depth_NHW, drive.T_world_cam_N44, drive.K, drive.T_base_cam)


if __name__ == "__main__":
    main()
