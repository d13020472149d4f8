# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Where a model's files are; nothing of it needs torch."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["EMBEDDED_MODELS", "INDEX_FILE", "WEIGHTS_FILE", "refuse_pickle", "resolve_folder"]

WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
EMBEDDED_MODELS = {"nano": Path(__file__).parent / "weights" / "nano"}


def resolve_folder(model: str | Path) -> Path:
    """Return the folder of an embedded model's name or of a path.

    Raises:
        FileNotFoundError: No such folder.
        ValueError: The path is a file, or empty.
    """
    if not str(model).strip():
        raise ValueError(
            f"model is {str(model)!r}, expected {', '.join(EMBEDDED_MODELS)} or a folder"
        )
    folder = EMBEDDED_MODELS.get(str(model), Path(model).expanduser())
    if folder.is_file():
        refuse_pickle(folder)
        raise ValueError(f"{folder} is a file; give the folder that holds it")
    if not folder.is_dir():
        known = ", ".join(EMBEDDED_MODELS)
        advice = f"embedded models: {known}"
        if _REPOSITORY.fullmatch(str(model)):
            name = str(model).rpartition("/")[2]
            advice = (
                f"{advice}; nothing is downloaded: if this is a repository on the Hugging Face "
                f"hub, `hf download {model} --local-dir {name}` and give that folder"
            )
        raise FileNotFoundError(f"no model folder {folder} ({advice})")
    return folder


def refuse_pickle(path: Path) -> None:
    """Raise ValueError where a file is a pickle, which can run any code when loaded."""
    if path.suffix in PICKLES:
        raise ValueError(
            f"{path} is a pickle, which can run any code when loaded; convert it to "
            f"{WEIGHTS_FILE} where you trust it"
        )
