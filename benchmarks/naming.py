# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Does the model look at the thing that a question names?

    python -m benchmarks.naming --root TEST --split test --windows 64

Questions of unseen rooms that name things are asked as the node asks them; the place where the
model looked (`SpatialAnswer.named`) is held against the truth's object numbers: it is on the
thing, or within 5 % of the picture's width of it. The quarters are those of the share of attention
at the place.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import torch
from g2vlm_training.datasets.batch import draw_batch
from g2vlm_training.datasets.mixture import ClipPool
from g2vlm_training.evaluate.answer_cases import window_of
from g2vlm_training.evaluate.spatial_qa import questions_in_turn
from g2vlm_training.stages.question_batch import view_of
from g2vlm_training.synthetic.questions import TASKS, Question, View

from g2vlm_model.interface import NamedPlace, SpatialQuery
from g2vlm_model.runtimes import load_runtime

from .common import add_common_arguments, print_table, set_threads, write_report

NEAR = 0.05
SEED = 11


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--split", choices=("val", "test"), default="test")
    parser.add_argument("--model", default="nano")
    parser.add_argument("--windows", type=int, default=64)
    parser.add_argument("--frames", type=int, nargs="+", default=[3, 1, 2, 4])
    add_common_arguments(parser, "naming")
    args = parser.parse_args()
    device = set_threads(args)
    found = np.array(asked(args), np.float64)
    order = np.argsort(-found[:, 0], kind="stable")
    rows = [["places", "n", "share of attention", "on the thing, %", "on it or near, %"]]
    for name, part in (("all", order), *zip(QUARTERS, np.array_split(order, 4), strict=True)):
        share, on, near = found[part].mean(axis=0)
        rows.append([name, str(len(part)), f"{share:.2f}", f"{100 * on:.1f}", f"{100 * near:.1f}"])
    print_table(rows)
    write_report(args.out, "naming", device, {"rows": rows})


QUARTERS = ("surest quarter", "second", "third", "least sure")


def asked(args: argparse.Namespace) -> list[tuple[float, bool, bool]]:
    """Share, on the thing, near it: for every thing that a question names and that was found."""
    runtime = load_runtime(model=args.model, device=args.device, precision="fp32")
    pool, rows = ClipPool(args.root, args.split), []
    generator, rng = torch.Generator().manual_seed(SEED), np.random.default_rng(SEED)
    for number in range(args.windows):
        batch = draw_batch(pool, 1, args.frames[number % len(args.frames)], generator, None)
        view = view_of(batch, 0)
        scene = runtime.observe(window_of(batch, f"naming-{number}"))
        for question in questions_in_turn(view, 16, 16 * number, rng, TASKS):
            if question.by_name:
                query = SpatialQuery(question.bare, question.marks, max_tokens=1)
                places = runtime.ask(scene, query).named
                rows += [judged(place, question, view) for place in places]
        scene.close()
    return [row for row in rows if row is not None]


def judged(place: NamedPlace, question: Question, view: View) -> tuple[float, bool, bool] | None:
    """Of one place; None where the name stands for no object of the truth."""
    ids = [
        number
        for ground in question.bare_grounds
        if question.bare[: ground.end].casefold().endswith(place.mark.label.casefold())
        for number in ground.objects
    ]
    if not ids:
        return None
    shown_HW = np.isin(view.object_id_NHW[place.mark.frame_index], ids)
    height, width = shown_HW.shape
    row = int(np.clip(round(place.mark.v), 0, height - 1))
    column = int(np.clip(round(place.mark.u), 0, width - 1))
    away_HW = cv2.distanceTransform((~shown_HW).astype(np.uint8), cv2.DIST_L2, 5)
    near = shown_HW.any() and away_HW[row, column] <= NEAR * width
    return place.share, bool(shown_HW[row, column]), bool(near)


if __name__ == "__main__":
    main()
