# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Where a model's files are; nothing of it needs torch."""

from __future__ import annotations

import os
import re
from pathlib import Path

from .hub import Repository, cached_snapshot, download, snapshot_in
from .interface.documents import parse_json

__all__ = [
    "CONFIG_FILES",
    "EMBEDDED_MODELS",
    "INDEX_FILE",
    "WEIGHTS_FILE",
    "has_file",
    "model_name",
    "refuse_pickle",
    "require_file",
    "resolve_folder",
    "weight_files",
]

WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
CONFIG_FILES = ("text_config.json", "vit_config.json", "dino_config.json")  # g2vlm_config.json: may
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
POINTER = b"version https://git-lfs.github.com/spec/"
_SHARD = re.compile(r"model-(\d{5})-of-(\d{5})\.safetensors")
EMBEDDED_MODELS = {"nano": Path(__file__).parent / "weights" / "nano"}


def resolve_folder(model: str | Path) -> Path:
    """Return the folder of a model.

    Args:
        model: An embedded model's name; a folder, also one models--ORG--NAME of a cache of the
            Hugging Face hub; or a repository, "ORG/NAME" or "ORG/NAME@REVISION", which is taken
            from that cache where it is there whole, and else fetched (`hub.download`).

    Raises:
        OSError: No such folder; a repository that is not there and cannot be fetched.
        ValueError: The path is a file, or empty; what was fetched is damaged.
    """
    text = os.fspath(model)
    if not text.strip():
        raise ValueError(
            f"model is {text!r}, expected {', '.join(EMBEDDED_MODELS)}, a folder or ORG/NAME"
        )
    folder = EMBEDDED_MODELS.get(text, Path(text).expanduser())
    if folder.is_dir():
        return snapshot_in(folder) or folder
    if folder.is_file():
        refuse_pickle(folder)
        raise ValueError(f"{folder} is a file; give the folder that holds it")
    if folder.is_symlink():
        raise FileNotFoundError(f"{folder} is a link to {os.readlink(folder)}, which is not there")
    repository = Repository.parse(text)
    if repository is None:
        raise FileNotFoundError(
            f"no model folder {folder} (embedded models: {', '.join(EMBEDDED_MODELS)}; a "
            "repository is ORG/NAME or ORG/NAME@REVISION)"
        )
    snapshot = cached_snapshot(repository)
    if snapshot is not None and not _lacks(snapshot):
        return snapshot
    lacks = "" if snapshot is None else f" (the cache lacks {_lacks(snapshot)})"
    try:
        return download(repository)
    except OSError as error:
        reason = error.strerror or str(error)
        error.args = (*error.args[:-1], f"no folder {folder}{lacks}; {reason}")
        raise


def model_name(folder: Path) -> str:
    """Name of a resolved folder; a snapshot in a cache has that of its repository."""
    folder = folder.absolute()
    if folder.parent.name == "snapshots" and folder.parent.parent.name.startswith("models--"):
        return folder.parent.parent.name.split("--", 2)[-1]
    return folder.resolve().name


def weight_files(folder: Path) -> list[Path]:
    """Return a folder's weight files: the shards of its index, the single file, or all shards.

    Raises:
        FileNotFoundError: None, or a shard is missing.
        ValueError: Only pickles, or a damaged index.
    """
    index, single = folder / INDEX_FILE, folder / WEIGHTS_FILE
    if has_file(index, "it names the shards"):
        weight_map = _weight_map(index)
        paths = [folder / name for name in sorted(set(map(str, weight_map.values())))]
        for path in paths:
            if path.parent.resolve() != folder.resolve():
                raise ValueError(f"{index} names {path}, which is not in its folder")
            refuse_pickle(path)
            require_file(path, f"{index.name} names it")
        return paths
    if has_file(single, "it holds the weights"):
        return [single]
    if shards := {path.name: path for path in folder.glob("model-*-of-*.safetensors")}:
        return _whole_set(folder, shards)
    for path in sorted(folder.iterdir()):
        refuse_pickle(path)
    raise FileNotFoundError(f"{folder} has neither {WEIGHTS_FILE} nor {INDEX_FILE}")


def _weight_map(index: Path) -> dict[str, str]:
    try:
        content = parse_json(index.read_bytes())
        weight_map = content["weight_map"]
    except (ValueError, KeyError, TypeError):
        weight_map = None
    if not isinstance(weight_map, dict) or not weight_map:
        raise ValueError(f"{index} has no weight_map; download it again")
    return weight_map


def _whole_set(folder: Path, shards: dict[str, Path]) -> list[Path]:
    """Shards without an index, which say themselves how many they are."""
    counts = {int(found[2]) for name in shards if (found := _SHARD.fullmatch(name))}
    if len(counts) != 1:
        names = ", ".join(sorted(shards))
        raise ValueError(f"{folder} has shards of several sets and no {INDEX_FILE}: {names}")
    (count,) = counts
    paths = [folder / f"model-{i:05d}-of-{count:05d}.safetensors" for i in range(1, count + 1)]
    for path in paths:
        require_file(path, f"one of {count} shards")
    return paths


def require_file(path: Path, why: str) -> None:
    """Raise FileNotFoundError or ValueError where a file of a model folder cannot be read.

    Args:
        path: A file, or a link to one.
        why: What it is wanted for.
    """
    if path.is_symlink() and not path.exists():
        raise FileNotFoundError(
            f"{path} is a link to {os.readlink(path)}, which is not there ({why}): a folder that "
            "was copied without what its links lead to; copy with `cp -rL`, or download it again"
        )
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing ({why})")
    with path.open("rb") as file:
        if file.read(len(POINTER)) == POINTER:
            raise ValueError(
                f"{path} is a pointer of git-lfs, not the file ({why}): run `git lfs pull` in the "
                "repository that it comes from, or download it again"
            )


def has_file(path: Path, why: str) -> bool:
    """Whether a model folder has a file that it may lack; what only looks like one is refused.

    Args:
        path, why: As of `require_file`, which says what it raises.
    """
    if not (path.is_file() or path.is_symlink()):
        return False
    require_file(path, why)
    return True


def refuse_pickle(path: Path) -> None:
    """Raise ValueError where a file is a pickle, which can run any code when loaded."""
    if path.suffix in PICKLES:
        raise ValueError(
            f"{path} is a pickle, which can run any code when loaded; convert it to "
            f"{WEIGHTS_FILE} where you trust it"
        )


def _lacks(snapshot: Path) -> str:
    """What a snapshot lacks to be a model folder, "" where it is whole: downloads break off."""
    for name in CONFIG_FILES:
        if not (snapshot / name).is_file():
            return name
    words = ("vocab.json", "merges.txt")
    if not (snapshot / "tokenizer.json").is_file():
        for name in words:
            if not (snapshot / name).is_file():
                return name
    try:
        weight_files(snapshot)
    except FileNotFoundError as error:
        return str(error)
    return ""
