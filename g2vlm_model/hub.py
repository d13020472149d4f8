# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Models by repository id, "ORG/NAME" or "ORG/NAME@REVISION": the Hugging Face cache, then the hub.

What the cache holds whole is taken without a look at the network, so a robot starts the same with
and without one; a revision pins it. What is missing comes by `huggingface_hub` (extra `hub`): only
the files that a model folder consists of, resumed where a download broke off, and held against the
hashes that the cache names them by. The cache's layout is that of huggingface_hub: a folder
models--ORG--NAME with refs/REVISION (a commit), snapshots/COMMIT/FILE (links) and blobs/HASH.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from .interface.progress import progress
from .interface.words import plain

__all__ = [
    "MODEL_FILES",
    "Repository",
    "cache_root",
    "cached_snapshot",
    "check_hashes",
    "download",
    "snapshot_in",
]

_LOG = logging.getLogger(__name__)

# All that a model folder is read from.
MODEL_FILES = (
    *("text_config.json", "vit_config.json", "dino_config.json", "g2vlm_config.json"),
    *("tokenizer.json", "vocab.json", "merges.txt", "tokenizer_config.json", "added_tokens.json"),
    *("model.safetensors", "model.safetensors.index.json", "model-*-of-*.safetensors"),
    "calibration.json",
)
_ID = re.compile(
    r"(?P<org>[A-Za-z0-9][\w.-]*)/(?P<name>[A-Za-z0-9][\w.-]*)(?:@(?P<revision>[\w./-]+))?",
    re.ASCII,
)
_CACHE_FOLDER = re.compile(r"models--[\w.-]+?--[\w.-]+", re.ASCII)
_GIT_HASH, _SHA256 = 40, 64  # hexadecimal digits of a blob's name
_CHUNK_BYTES = 4 << 20


@dataclass(frozen=True)
class Repository:
    """A model on the hub.

    Args:
        name: "ORG/NAME".
        revision: Branch, tag or commit.
    """

    name: str
    revision: str = "main"

    @classmethod
    def parse(cls, text: str) -> Repository | None:
        """Read "ORG/NAME" or "ORG/NAME@REVISION"; None where a text is no such id."""
        found = _ID.fullmatch(text)
        if found is None or ".." in text:
            return None
        return cls(f"{found['org']}/{found['name']}", found["revision"] or "main")

    def __str__(self) -> str:
        """Return the id as it is given."""
        return self.name if self.revision == "main" else f"{self.name}@{self.revision}"

    @property
    def command(self) -> str:
        """What fetches it where there is a network."""
        pinned = "" if self.revision == "main" else f" --revision {self.revision}"
        return f"hf download {self.name}{pinned}"


def cache_root() -> Path:
    """Return the folder of huggingface_hub's cache, by its environment variables."""
    for variable, inner in (
        ("HF_HUB_CACHE", ""),
        ("HUGGINGFACE_HUB_CACHE", ""),
        ("HF_HOME", "hub"),
    ):
        if found := os.environ.get(variable):
            return Path(os.path.expandvars(found)).expanduser() / inner
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(home).expanduser() / "huggingface" / "hub"


def cached_snapshot(repository: Repository) -> Path | None:
    """Return the folder of a repository's revision in the cache, whole or not; None: not there."""
    return _snapshot(_cache_folder(repository), repository.revision)


def _cache_folder(repository: Repository) -> Path:
    return cache_root() / f"models--{repository.name.replace('/', '--')}"


def snapshot_in(folder: Path) -> Path | None:
    """Return the snapshot that a folder models--ORG--NAME of a cache stands for.

    Returns:
        That of `main`, or else the only one; None where the folder is none of a cache.

    Raises:
        FileNotFoundError: It holds no snapshot.
        ValueError: It holds several, and none is `main`.
    """
    if _CACHE_FOLDER.fullmatch(folder.name) is None or not (folder / "snapshots").is_dir():
        return None
    if main := _snapshot(folder, "main"):
        return main
    found = sorted(path for path in (folder / "snapshots").iterdir() if path.is_dir())
    if not found:
        raise FileNotFoundError(f"{folder} holds no snapshot: its download never began")
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise ValueError(f"{folder} holds several snapshots ({names}); give the folder of one")
    return found[0]


def _snapshot(folder: Path, revision: str) -> Path | None:
    reference = folder / "refs" / revision
    commit = reference.read_text(encoding="utf-8").strip() if reference.is_file() else revision
    if re.fullmatch(r"[0-9a-f]{40}", commit) is None:
        return None
    snapshot = folder / "snapshots" / commit
    return snapshot if snapshot.is_dir() else None


def download(repository: Repository) -> Path:
    """Fetch what is missing of a repository into the cache, and show how far it is.

    Two processes may fetch at once: each file is locked. A download that was broken off goes on.

    Returns:
        The folder of its snapshot, every file of which has the content that its name in the
        cache stands for.

    Raises:
        OSError: No such package, network, repository or revision, or no space; the message says
            which command to run where.
        ValueError: What came is not what the hub said it is.
    """
    try:
        import huggingface_hub
        from huggingface_hub.utils.tqdm import disable_progress_bars
    except ModuleNotFoundError:
        raise FileNotFoundError(
            f"{repository} is not in {cache_root()} and the package huggingface_hub is not "
            f"installed: `pip install 'g2vlm_ros[hub]'`, or run `{repository.command}` where it is "
            "and copy the cache or the folder here"
        ) from None
    before = cached_snapshot(repository)
    known = {path.name for path in before.iterdir()} if before is not None else set()
    disable_progress_bars()  # ours is shown, which heeds `--quiet`
    with _refusals(repository), progress(0, f"fetching {repository.name}") as shown:
        shown.note(lambda: f"{_fetched_bytes(repository) / 1e6:.0f} MB are here")
        folder = Path(
            huggingface_hub.snapshot_download(
                repository.name,
                revision=repository.revision,
                allow_patterns=list(MODEL_FILES),
                cache_dir=cache_root(),
                endpoint=os.environ.get("HF_ENDPOINT"),  # as it is now, not at the import
            )
        )
        shown.begin(f"comparing hashes of {repository.name}")
        check_hashes(folder, skip=known)
    return folder


def _fetched_bytes(repository: Repository) -> int:
    """What the cache holds of a repository, with parts of files that are on their way."""
    blobs = _cache_folder(repository) / "blobs"
    total = 0
    for path in blobs.iterdir() if blobs.is_dir() else ():
        with suppress(OSError):  # renamed at this moment
            total += path.stat().st_blocks * 512  # a file may be made at its full length
    return total


@contextmanager
def _refusals(repository: Repository) -> Iterator[None]:
    """One line for all that can go wrong on the way, with what to do."""
    from huggingface_hub import errors

    elsewhere = f"run `{repository.command}` where there is one, and copy the cache here"
    try:
        yield
    except errors.RevisionNotFoundError:
        raise FileNotFoundError(
            f"{repository.name} has no revision {repository.revision!r}"
        ) from None
    except errors.GatedRepoError:
        raise PermissionError(
            f"{repository.name} is gated: accept its terms on the hub, then `hf auth login`"
        ) from None
    except errors.RepositoryNotFoundError:
        raise FileNotFoundError(
            f"the hub has no repository {repository.name} (a private one needs `hf auth login`)"
        ) from None
    except errors.LocalEntryNotFoundError as error:
        cause = error.__cause__ or error
        raise FileNotFoundError(
            f"{repository} is not in {cache_root()}, and the hub was not reached "
            f"({plain(str(cause).partition(chr(10))[0], 200)}): {elsewhere}"
        ) from None
    except OSError as error:
        raise OSError(
            error.errno or 0,
            f"{repository} was not fetched: {plain(str(error), 300)}; again goes on",
        ) from error
    except Exception as error:
        # The library lets its HTTP client's errors through, whose package differs by version.
        if not type(error).__module__.startswith(("httpx", "requests", "urllib3", "hf_xet")):
            raise
        raise ConnectionError(
            f"{repository} was not fetched: {type(error).__name__}: {plain(str(error), 300)}; "
            f"again goes on, or {elsewhere}"
        ) from error


def check_hashes(folder: Path, skip: frozenset[str] | set[str] = frozenset()) -> int:
    """Compare the files of a snapshot with the hashes that they are named by in the cache.

    A file that differs is removed, so that the next download fetches it again.

    Args:
        folder: A snapshot; elsewhere files are no links to blobs, and nothing can be compared.
        skip: Names that are left out.

    Returns:
        How many were compared.

    Raises:
        ValueError: A file is not what its name stands for.
    """
    compared = 0
    for path in sorted(folder.iterdir()):
        if path.name in skip or not path.is_symlink() or not path.is_file():
            continue
        blob = path.resolve()
        wanted = blob.name
        if re.fullmatch(r"[0-9a-f]+", wanted) is None or len(wanted) not in (_GIT_HASH, _SHA256):
            continue
        if _hash(blob, len(wanted)) != wanted:
            path.unlink()
            blob.unlink()
            raise ValueError(
                f"{path} is not what the hub holds: its hash is not {wanted}; it was removed, "
                "another try fetches it again"
            )
        compared += 1
    return compared


def _hash(path: Path, digits: int) -> str:
    """Hash of a blob: SHA-256 of large files, git's own of small ones."""
    digest = hashlib.sha256() if digits == _SHA256 else hashlib.sha1()
    if digits == _GIT_HASH:
        digest.update(f"blob {path.stat().st_size}\0".encode())
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
