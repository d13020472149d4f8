# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Speed of the scenes: frames per second by picture size and smoothness, and what comes before.

    python -m benchmarks.render --threads 1
    python -m benchmarks.render --device cuda --rooms 64 --together 64
    python -m benchmarks.render --rooms 4 --frames 6 --rounds 1 --widths 112 168 --models FOLDER

With a library of models (`g2vlm dataset models`) realistic scenes are timed beside the procedural
ones; "light scene" is their light volume. Making a scene and a camera path is Python on one core
and is shown apart from the pictures. On a CPU rooms are rendered one by one, as the shard writer
does; a GPU is given several at once.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from g2vlm_training.datasets.augment import AugmentOptions, augment
from g2vlm_training.synthetic import (
    CameraModel,
    Room,
    Shot,
    camera_path,
    draw_camera,
    intrinsics,
    make_room,
    photograph,
    render_shots,
    scene_seed,
)
from numpy.random import default_rng

from .common import (
    Timing,
    add_common_arguments,
    interleaved,
    print_table,
    set_threads,
    write_report,
)

SIZES = ((84, 112), (126, 168), (168, 224), (240, 320))
FOV_DEG = 70.0


def main() -> int:
    """Time making, rendering and photographing; print a table, write JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_common_arguments(parser, "render")
    parser.add_argument("--rooms", type=int, default=12, help="different scenes")
    parser.add_argument("--frames", type=int, default=8, help="per scene")
    parser.add_argument("--together", type=int, default=1, help="scenes in one call")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--models", type=Path, help="library: time realistic scenes too")
    parser.add_argument("--widths", type=int, nargs="*", help="of these sizes only")
    arguments = parser.parse_args()
    device = set_threads(arguments)
    sizes = [size for size in SIZES if not arguments.widths or size[1] in arguments.widths]
    if not sizes:
        raise SystemExit(f"--widths are {arguments.widths}, expected some of {SIZES}")
    seeds = [scene_seed("test", index) for index in range(arguments.rooms)]
    rooms = [make_room(seed) for seed in seeds]
    paths = [camera_path(room, 0, arguments.frames, "hand") for room in rooms]

    def shoot(size: tuple[int, int], rays: int) -> Callable[[], object]:
        K = intrinsics(FOV_DEG, size)
        shots = [Shot(room, path, K) for room, path in zip(rooms, paths, strict=True)]
        groups = [
            shots[start : start + arguments.together]
            for start in range(0, len(shots), arguments.together)
        ]
        return lambda: [
            render_shots(group, size, supersample=rays, device=arguments.device) for group in groups
        ]

    taken = render_shots([Shot(rooms[0], paths[0], intrinsics(FOV_DEG, sizes[0]))], sizes[0])[0]
    camera: CameraModel = draw_camera(default_rng(0))
    jobs: dict[str, Callable[[], object]] = {
        "make scene": lambda: [make_room(seed) for seed in seeds],
        "make path": lambda: [camera_path(room, 1, arguments.frames, "hand") for room in rooms],
        "photograph": lambda: [photograph(taken, camera, default_rng(0)) for _ in rooms],
    }
    for size in sizes:
        for rays in (1, 2):
            jobs[f"{size[1]}x{size[0]}, {rays * rays} ray"] = shoot(size, rays)
    rgb = torch.rand(arguments.rooms, arguments.frames, 3, *sizes[0])
    depth, intrinsic = torch.rand_like(rgb[:, :, 0]) + 1, torch.from_numpy(taken.K).float()
    jobs["augment"] = lambda: augment(
        rgb, AugmentOptions(), range(len(rgb)), depth,
        intrinsic.expand(*rgb.shape[:2], 3, 3),
    )  # fmt: skip
    if arguments.models is not None:
        jobs.update(realistic_jobs(arguments, sizes))
    timings = interleaved(jobs, arguments.rounds, device)
    report(timings, rooms, arguments, device)
    return 0


def realistic_jobs(
    arguments: argparse.Namespace, sizes: list[tuple[int, int]]
) -> dict[str, Callable[[], object]]:
    """The same work on furnished scenes; set OIDN_NUM_THREADS=1 to time one core."""
    from g2vlm_training.synthetic.realistic import Photographer, furnished_scene, open_stock

    stock = open_stock(arguments.models)
    seeds = [scene_seed("test", index) for index in range(arguments.rooms)]
    scenes = [furnished_scene(seed, stock, "indoor") for seed in seeds]
    paths = [camera_path(scene, 0, arguments.frames, "hand") for scene in scenes]
    jobs: dict[str, Callable[[], object]] = {
        "realistic: make scene": lambda: [furnished_scene(seed, stock, "indoor") for seed in seeds],
        "realistic: light scene": lambda: [Photographer(scene) for scene in scenes],
    }

    def shoot(size: tuple[int, int], rays: int) -> Callable[[], object]:
        K = intrinsics(FOV_DEG, size)
        cameras = [Photographer(scene, rays=rays) for scene in scenes]
        return lambda: [
            camera.take(path, K, size) for camera, path in zip(cameras, paths, strict=True)
        ]

    for size in sizes:
        for rays in (2, 4):
            jobs[f"realistic: {size[1]}x{size[0]}, {rays} rays"] = shoot(size, rays)
    return jobs


def report(
    timings: dict[str, Timing],
    rooms: list[Room],
    arguments: argparse.Namespace,
    device: torch.device,
) -> None:
    """Print the table and write the JSON file."""
    frames = arguments.rooms * arguments.frames
    rows = [["what", "ms per scene", "frames/s", "frames/s of CPU time"]]
    results = {}
    for name, timing in timings.items():
        rows.append(
            [
                name,
                f"{1e3 * timing.median / arguments.rooms:.1f}",
                f"{frames / timing.median:.1f}",
                f"{frames / timing.cpu_median:.1f}",
            ]
        )
        results[name] = {**timing.as_json(), "frames": frames}
    primitives = [len(room.shape_M) for room in rooms]
    print(f"{arguments.rooms} scenes of {min(primitives)} to {max(primitives)} primitives")
    print_table(rows)
    results["scenes"] = {"primitives": primitives, "frames_each": arguments.frames}
    write_report(arguments.out, "render", device, results)


if __name__ == "__main__":
    raise SystemExit(main())
