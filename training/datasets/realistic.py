# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Furnished scenes rendered into shards, room by room from their seeds, by several processes."""

from __future__ import annotations

import logging
import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from g2vlm_model.interface.whole_files import remove_remains
from g2vlm_model.processes import end_with_parent, end_with_spawner

from ..synthetic import Split, camera_path, draw_camera, intrinsics, photograph, scene_seed
from ..synthetic.paths import PathStyle
from ..synthetic.realistic import FurnishedScene, Photographer, furnished_scene, open_stock
from .base import Clip, SceneInfo, known_depth
from .shards import write_shard

__all__ = ["RenderPlan", "render_furnished", "render_shards"]

_LOG = logging.getLogger(__name__)
_GIB = 2**30
_TRIES = 6
_GLANCE = (21, 28)  # size at which a path is looked at before it is rendered
_KNOWN, _NEAR = 0.25, 0.45  # least share of depth and least median depth of a good path, metres
_THINGS = 6  # with fewer in sight, the building among them, another path is tried


@dataclass(frozen=True)
class Motion:
    """A kind of camera path: style, metres between frames (from, to), degrees of turn, share."""

    style: PathStyle
    step: tuple[float, float]
    turn_deg: tuple[float, float]
    share: float


# What cameras do, and how often; see `camera_path`.
_MOTIONS = (
    Motion("hand", (0.03, 0.3), (1.0, 10.0), 0.34),
    Motion("robot", (0.03, 0.35), (1.0, 10.0), 0.2),
    Motion("arm", (0.03, 0.2), (1.0, 8.0), 0.14),
    Motion("drive", (0.05, 0.35), (0.3, 4.0), 0.12),
    Motion("drone", (0.03, 0.35), (1.0, 8.0), 0.08),
    Motion("turn", (0.03, 0.2), (2.0, 12.0), 0.08),
    Motion("still", (0.03, 0.2), (1.0, 6.0), 0.04),
)


@dataclass(frozen=True)
class RenderPlan:
    """What `render_shards` renders.

    Args:
        library: Folder of the models.
        split: Whose seeds.
        rooms: Rooms per shard.
        lengths: Frames of each clip of a room.
        sizes: Heights and widths; shard i takes `sizes[i % len(sizes)]`.
        rays: Per pixel.
        spacing: Of the light volume, metres.
        camera: Share of clips taken by a drawn camera: blur, noise, colour, JPEG.
        fov_deg: Range of the horizontal field of view; wide ones come with wide pictures.

    Raises:
        ValueError: A number out of range.
    """

    library: Path
    split: Split = "train"
    rooms: int = 10
    lengths: tuple[int, ...] = (16, 8)
    sizes: tuple[tuple[int, int], ...] = (
        (126, 168), (126, 168), (98, 168), (126, 168), (112, 168), (126, 168), (168, 126),
    )  # fmt: skip
    rays: int = 2
    spacing: float = 0.4
    camera: float = 0.35
    fov_deg: tuple[float, float] = (42.0, 100.0)

    def __post_init__(self) -> None:
        if min((self.rooms, self.rays, *self.lengths)) < 1 or not self.lengths:
            raise ValueError(
                f"rooms, rays, lengths are {self.rooms}, {self.rays}, {self.lengths}, expected "
                "at least 1 each"
            )
        if not self.sizes or min(min(size) for size in self.sizes) < 14:
            raise ValueError(f"sizes are {self.sizes}, expected heights and widths from 14")
        low, high = self.fov_deg
        if not 1 <= low <= high <= 170:
            raise ValueError(f"fov_deg is {self.fov_deg}, expected two numbers in 1..170, ordered")


def render_shards(
    folder: Path, plan: RenderPlan, first: int, count: int, processes: int = 1,
    most_gib: float = 20.0,
) -> Iterator[Path]:  # fmt: skip
    """Render shards `first` to `first + count - 1`; those that exist are left alone.

    A shard is made by its number alone, so a folder can be continued, and several machines can
    share the numbers. No shard is begun once the folder's shards take `most_gib`.

    Args:
        folder: Where to.
        plan: What to.
        first, count: Numbers of the shards.
        processes: How many render at a time, each on one core.
        most_gib: Bound on the disk that the folder's shards take.

    Yields:
        The path of each shard when it is there.

    Raises:
        ModelsError: The library is not there or damaged.
        OSError: The disk is full.
    """
    remove_remains(folder)
    numbers = iter(range(first, first + count))
    if processes == 1:
        for number in numbers:
            if _is_full(folder, most_gib):
                return
            yield _render_shard(folder, plan, number)
        return
    with _renderers(processes) as pool:
        running: set[Future[Path]] = set()
        for number in numbers:
            if _is_full(folder, most_gib):
                break
            running.add(pool.submit(_render_shard, folder, plan, number))
            if len(running) >= processes:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                yield from (item.result() for item in done)
        for item in running:
            yield item.result()


@contextmanager
def _renderers(processes: int) -> Iterator[ProcessPoolExecutor]:
    """Workers that are ended at once where the block is broken off: a shard takes minutes."""
    context = multiprocessing.get_context("spawn")
    theirs, ours = context.Pipe(duplex=False)
    with theirs, ours, ProcessPoolExecutor(processes, context, _alone, (theirs,)) as pool:
        try:
            yield pool
        except BaseException:
            ours.close()
            raise


def _alone(lifeline: Connection) -> None:
    """One thread per process, in Open Image Denoise too; set before it is loaded.

    The process ends where the other end of the lifeline is closed, or its parent is gone.
    """
    end_with_spawner()
    end_with_parent(os.dup(lifeline.fileno()), kill=True)
    os.environ["OIDN_NUM_THREADS"] = "1"
    os.environ["OMP_NUM_THREADS"] = "1"


def _is_full(folder: Path, most_gib: float) -> bool:
    taken = sum(path.stat().st_size for path in folder.glob("*.tar")) / _GIB
    if taken >= most_gib:
        _LOG.warning(
            "%s holds %.1f GiB of shards, the bound is %.1f: stop", folder, taken, most_gib
        )
    return taken >= most_gib


def _render_shard(folder: Path, plan: RenderPlan, number: int) -> Path:
    path = folder / f"{plan.split}-{number:05d}.tar"
    if not path.is_file():
        write_shard(path, _clips(plan, number))
        _LOG.info("rendered %s", path)
    return path


def _clips(plan: RenderPlan, number: int) -> Iterator[Clip]:
    size = plan.sizes[number % len(plan.sizes)]
    for index in range(number * plan.rooms, (number + 1) * plan.rooms):
        yield from render_furnished(plan, scene_seed(plan.split, index), size)


def render_furnished(plan: RenderPlan, seed: int, size_hw: tuple[int, int]) -> list[Clip]:
    """The clips of one scene; fewer where it has no free place for a camera.

    Args:
        plan: Lengths, rays, field of view.
        seed: From `scene_seed` of the plan's split.
        size_hw: Of the pictures.

    Raises:
        ModelsError: The library is not there or damaged.
    """
    scene = furnished_scene(seed, open_stock(plan.library))
    camera = Photographer(scene, rays=plan.rays, spacing=plan.spacing)
    rng = np.random.default_rng([seed, 37])
    known = SceneInfo(
        objects=scene.objects,
        room_size=scene.size if scene.kind == "indoor" else None,
        floor_area=scene.floor_area,
        split=plan.split,
    )
    clips = []
    for number, frames in enumerate(plan.lengths):
        K = intrinsics(float(rng.uniform(*plan.fov_deg)), size_hw)
        T_world_cam = _path(scene, camera, number, frames, K, size_hw, rng)
        if T_world_cam is None:
            _LOG.warning("%s scene %d has no free place for a camera", plan.split, seed)
            continue
        taken = camera.take(T_world_cam, K, size_hw, float(np.exp(rng.normal(0, 0.3))))
        if rng.random() < plan.camera:
            taken = photograph(taken, draw_camera(rng), rng)
        clips.append(
            Clip(
                rgb=taken.rgb,
                depth=known_depth(taken.depth),
                T_world_cam=taken.T_world_cam,
                K=np.tile(taken.K, (frames, 1, 1)),
                object_id=taken.object_id,
                normals=taken.normals,
                scene=known,
                name=f"{plan.split} furnished scene {seed} path {number}",
                complete=True,
            )
        )
    return clips


def _path(
    scene: FurnishedScene, camera: Photographer, number: int, frames: int,
    K: NDArray[np.float64], size_hw: tuple[int, int], rng: np.random.Generator,
) -> NDArray[np.float64] | None:  # fmt: skip
    """A path that sees something; of some tries the best."""
    motion = _MOTIONS[int(rng.choice(len(_MOTIONS), p=[each.share for each in _MOTIONS]))]
    step = float(np.exp(rng.uniform(*np.log(motion.step))))
    turn = float(np.exp(rng.uniform(*np.log(motion.turn_deg))))
    small = K.copy()
    small[0] *= _GLANCE[1] / size_hw[1]
    small[1] *= _GLANCE[0] / size_hw[0]
    best, most = None, -1.0
    for attempt in range(_TRIES):
        try:
            T_world_cam = camera_path(
                scene, 100 * number + attempt, frames, motion.style, step=step, turn_deg=turn
            )
        except RuntimeError:
            continue
        good = 0.0
        looks = T_world_cam[:: max(1, frames // 4)]
        for pose in looks:
            depth, _, number_of = camera.truth(pose, small, _GLANCE)
            seen = depth[depth > 0]
            if len(seen) > _KNOWN * depth.size:
                things = len(np.unique(number_of)) / _THINGS
                good += min(1.0, float(np.median(seen)) / _NEAR, things) / len(looks)
        if good > most:
            best, most = T_world_cam, good
        if most > 0.99:
            break
    return best
