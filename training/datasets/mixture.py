# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Where windows come from: shards, folders, and several of them with weights."""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch

from ..ranges import COUNT, POSITIVE, check_range
from ..synthetic import Split
from .base import DataError, FrameSequence, Refusals
from .language import LANGUAGE_LAYOUTS, Conversation, LanguagePool
from .layouts import LAYOUTS, open_dataset
from .shards import Shard, ShardClip, shard_paths
from .views import ViewOptions

__all__ = ["SYNTHETIC", "ClipPool", "FolderPool", "Mixture", "SourceOptions"]

SYNTHETIC = "synthetic"
_TRIES = 25  # conversations, until it is said that they cannot be used
Ready = TypeVar("Ready")
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class SourceOptions:
    """One data set of a mixture.

    Args:
        layout: "synthetic" for shards, or a name of `LAYOUTS` or, of conversations about pictures,
            of `LANGUAGE_LAYOUTS`.
        root: Its folder; relative paths start at the folder of the run's data.
        split: Of synthetic shards.
        weight: Share of the windows, relative to the other sources.
        film_frames: Frames of a film that a conversation is about.

    Raises:
        ValueError: Unknown layout or split, or a weight that is not above 0.
    """

    layout: str = SYNTHETIC
    root: str = "."
    split: Split = "train"
    weight: float = 1.0
    film_frames: int = 8

    def __post_init__(self) -> None:
        known = [SYNTHETIC, *sorted(LAYOUTS), *sorted(LANGUAGE_LAYOUTS)]
        if self.layout not in known:
            raise ValueError(f"layout is {self.layout!r}, expected one of {known}")
        if self.split not in ("train", "val", "test"):
            raise ValueError(f"split is {self.split!r}, expected train, val or test")
        check_range(self, POSITIVE, "weight", part="sources")
        check_range(self, COUNT, "film_frames", part="sources")

    @property
    def is_language(self) -> bool:
        """Whether it holds conversations."""
        return self.layout in LANGUAGE_LAYOUTS


class ClipPool:
    """The clips of a folder's shards; new shards are found by `refresh`.

    Shards that cannot be read are refused with a warning and listed in `refused`.

    Args:
        folder: Of the shards.
        split: Whose.

    Raises:
        FileNotFoundError: There is no shard.
        DataError: None of the shards can be read.
    """

    def __init__(self, folder: Path, split: Split) -> None:
        self.folder, self.split = folder, split
        self.refused: dict[Path, str] = {}
        self.refusals = Refusals(f"windows of {folder}")
        self._shards: dict[Path, Shard] = {}
        self._groups: list[list[ShardClip]] = []
        self.refresh()

    @property
    def paths(self) -> list[Path]:
        """Files of the shards in use, in order."""
        return list(self._shards)

    @property
    def shards(self) -> list[Shard]:
        """The shards in use, in order."""
        return list(self._shards.values())

    @property
    def clips(self) -> list[ShardClip]:
        """All clips, in the order of the shards."""
        return [clip for shard in self.shards for clip in shard.clips]

    def refresh(self) -> int:
        """Look for new shards; return how many shards are in use."""
        shards = {}
        for path in shard_paths(self.folder, self.split):
            if path in self.refused:
                continue
            try:
                shards[path] = self._shards.get(path) or Shard(path)
            except DataError as error:
                self.refused[path] = str(error)
                _LOG.warning("left out shard %d: %s", len(self.refused), error)
        if not shards:
            raise DataError(f"none of {len(self.refused)} shards of {self.folder} can be read")
        self._use(shards)
        return len(shards)

    def pin(self, names: Sequence[str]) -> None:
        """Keep to the shards with these names, e.g. those of a run that is resumed.

        Raises:
            ValueError: None is named, or one of them is not there.
        """
        wanted = set(names)
        if not wanted:
            raise ValueError(f"no shard of {self.folder} is named, expected at least one")
        if not wanted <= {path.name for path in self._shards}:
            self.refresh()
        missing = sorted(wanted - {path.name for path in self._shards})
        if missing:
            raise ValueError(f"{self.folder} lacks the shards {missing[:3]} of the resumed run")
        self._use({path: shard for path, shard in self._shards.items() if path.name in wanted})

    def _use(self, shards: dict[Path, Shard]) -> None:
        self._shards = shards
        groups: dict[tuple[int, ...], list[ShardClip]] = {}
        for clip in self.clips:
            groups.setdefault((*clip.size_hw, len(clip)), []).append(clip)
        self._groups = [groups[key] for key in sorted(groups)]

    def draw(
        self,
        clips: int,
        frames: int,
        generator: torch.Generator,
        fits: Callable[[tuple[int, int]], bool] | None = None,
    ) -> list[ShardClip]:
        """Clips of one size and length, again only where there are fewer; see `ClipSource`.

        Args:
            clips, frames, generator: See `ClipSource`.
            fits: Whether an (H, W) will do; None: any. Where none does, the list is empty.
        """
        groups = [group for group in self._groups if len(group[0]) >= frames]
        if not groups:
            longest = max(len(group[0]) for group in self._groups)
            raise ValueError(
                f"windows of {frames} frames, but the clips of {self.folder} have {longest}"
            )
        if fits is not None:
            groups = [group for group in groups if fits(group[0].size_hw)]
            if not groups:
                return []
        sizes = torch.tensor([len(group) for group in groups], dtype=torch.float64)
        group = groups[int(torch.multinomial(sizes, 1, generator=generator))]
        rounds = -(-clips // len(group))
        chosen = [torch.randperm(len(group), generator=generator) for _ in range(rounds)]
        return [group[index] for index in torch.cat(chosen)[:clips].tolist()]


class FolderPool:
    """The sequences of one posed RGB-D data set; long ones are drawn more often.

    Args:
        layout: A name of `LAYOUTS`.
        root: The folder.

    Raises:
        FileNotFoundError: The folder holds nothing in that layout.
        DataError: What it holds cannot be used.
    """

    def __init__(self, layout: str, root: Path) -> None:
        self.name = f"{layout} {root}"
        self.refusals = Refusals(f"windows of {self.name}")
        self.sequences = open_dataset(layout, root)

    def draw(self, clips: int, frames: int, generator: torch.Generator) -> list[FrameSequence]:
        """Sequences with at least so many frames, with repetition; see `ClipSource`."""
        long = [sequence for sequence in self.sequences if len(sequence) >= frames]
        if not long:
            most = max(len(sequence) for sequence in self.sequences)
            raise ValueError(f"windows of {frames} frames, but {self.name} has at most {most}")
        weights = torch.tensor([len(sequence) for sequence in long], dtype=torch.float64)
        drawn = torch.multinomial(weights, clips, replacement=True, generator=generator)
        return [long[index] for index in drawn.tolist()]


class Mixture:
    """Draws each window's source by its weight.

    A step's windows are either of scenes or conversations, so that processes do the same work;
    which, is drawn by the weights together, so windows come up as these say.

    Args:
        options: What to open, at least one.
        folder: Where relative roots start.
        views: Of the run: they say which sizes are one size in a batch.

    Raises:
        ValueError: No source.
        ModuleNotFoundError: A library that one of them needs is missing.
        FileNotFoundError: One of them is not there.
        DataError: One of them cannot be used.
    """

    def __init__(
        self, options: Sequence[SourceOptions], folder: Path, views: ViewOptions | None = None
    ) -> None:
        self.views = views or ViewOptions()
        if not options:
            raise ValueError("sources is empty, expected at least one data set")
        self.refusals = Refusals("windows of the mixture")
        scenes = [item for item in options if not item.is_language]
        self.weights = torch.tensor([item.weight for item in scenes], dtype=torch.float64)
        language = [item for item in options if item.is_language]
        self.language = [
            LanguagePool(item.layout, folder / item.root, item.film_frames) for item in language
        ]
        self._language_weights = torch.tensor(
            [item.weight for item in language], dtype=torch.float64
        )
        self.sources: list[ClipPool | FolderPool] = []
        self.pools: dict[str, ClipPool] = {}
        for item in scenes:
            if item.layout == SYNTHETIC:
                key = f"{item.root}/{item.split}"
                if key in self.pools:
                    raise ValueError(f"sources has {item.root!r} {item.split} twice")
                self.pools[key] = ClipPool(folder / item.root, item.split)
                self.sources.append(self.pools[key])
            else:
                self.sources.append(FolderPool(item.layout, folder / item.root))

    @property
    def shards(self) -> list[Shard]:
        """The synthetic shards in use."""
        return [shard for pool in self.pools.values() for shard in pool.shards]

    @property
    def names(self) -> list[str]:
        """What `pin` takes: the synthetic shards in use by root, split and file name."""
        return [f"{key}/{path.name}" for key, pool in self.pools.items() for path in pool.paths]

    def check_sizes(self, patch: int, width: int) -> None:
        """Refuse pictures that would keep a size which the model does not take.

        Args:
            patch: Of the model.
            width: Of its pictures, for the advice.

        Raises:
            ValueError: There are some, and `views.width` brings them to no other size.
        """
        if self.views.width is not None:
            return
        sizes = {key: [clip.size_hw for clip in pool.clips] for key, pool in self.pools.items()}
        for source in self.sources:
            if isinstance(source, FolderPool):
                with contextlib.suppress(DataError):  # such frames are refused when they are drawn
                    sizes[source.name] = [source.sequences[0].size_hw]
        for name, found in sizes.items():
            for high, wide in found:
                if high % patch or wide % patch:
                    raise ValueError(
                        f"pictures of {name} are {wide}x{high}, and the model takes multiples of "
                        f"{patch}: set views.width={width} views.own_aspect=true"
                    )

    def refresh(self) -> int:
        """Look for new shards; return how many are in use."""
        return sum(pool.refresh() for pool in self.pools.values())

    def pin(self, names: Sequence[str]) -> None:
        """Keep to these shards, e.g. those of a run that is resumed; see `ClipPool.pin`.

        A bare file name, as of runs from before there were mixtures, counts for every source.
        """
        for key, pool in self.pools.items():
            parts = [name.rpartition("/") for name in names]
            pool.pin([file for source, _, file in parts if source in ("", key)])

    @property
    def conversations(self) -> dict[str, int]:
        """How many each language source has, by its place among them, layout and name."""
        return {
            f"{number} {pool.layout} {pool.root.name}": len(pool)
            for number, pool in enumerate(self.language)
        }

    def talks(self, generator: torch.Generator) -> bool:
        """Whether a step is about conversations; draws only where there are both kinds."""
        if not self.language or not self.sources:
            return bool(self.language)
        share = self._language_weights.sum() / (self._language_weights.sum() + self.weights.sum())
        return float(torch.rand((), generator=generator, dtype=torch.float64)) < float(share)

    def draw_conversation(
        self, generator: torch.Generator, fits: Callable[[Conversation], Ready]
    ) -> Ready:
        """A conversation of one of the language sources, ready for the model.

        One that cannot be used is replaced by another one, and counted in `refusals`.

        Args:
            generator: Source of every choice.
            fits: Makes of a conversation what the stage wants.

        Raises:
            DataError: None of `_TRIES` can be used.
        """
        why = ""
        for _ in range(_TRIES):
            number = int(torch.multinomial(self._language_weights, 1, generator=generator))
            pool = self.language[number]
            try:
                return fits(pool.read(pool.draw(generator)))
            except DataError as error:
                why = str(error)
                self.refusals.add(error)
        raise DataError(f"{_TRIES} conversations in a row cannot be used; the last: {why}")

    def draw(self, clips: int, frames: int, generator: torch.Generator) -> list[FrameSequence]:
        """Sequences of several sources; see `ClipSource`.

        The first source that is drawn gives the size of the batch. Where the shards of another
        have none of that size, this batch has fewer windows of it, and more of the first.
        """
        drawn = torch.multinomial(self.weights, clips, replacement=True, generator=generator)
        counts = torch.bincount(drawn, minlength=len(self.sources)).tolist()
        order = list(dict.fromkeys(drawn.tolist()))
        out: list[FrameSequence] = []
        fits: Callable[[tuple[int, int]], bool] | None = None
        for index in order:
            source = self.sources[index]
            if isinstance(source, FolderPool):
                out += source.draw(counts[index], frames, generator)
                continue
            found = source.draw(counts[index], frames, generator, fits)
            if fits is None:
                fits = functools.partial(self._are_alike, found[0].size_hw)
            out += found
        first = self.sources[order[0]]
        if len(order) > 1 and len(out) < clips and isinstance(first, ClipPool):
            out += first.draw(clips - len(out), frames, generator, fits)
        return out

    def _are_alike(self, one_hw: tuple[int, int], other_hw: tuple[int, int]) -> bool:
        return self.views.size_of(one_hw) == self.views.size_of(other_hw)
