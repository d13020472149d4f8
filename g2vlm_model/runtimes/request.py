# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What `load_runtime` is asked for, as one value; and what a runtime answers to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ..config import CHAT, RECONSTRUCT, ModelConfig
from ..interface import SpatialRuntime

if TYPE_CHECKING:
    from .export_folder import ExportFolder
    from .serving import BuildContext

__all__ = ["MAX_FRAMES", "PROMPT_MODES", "Maker", "RuntimeRequest", "geometry_prompt"]

PROMPT_MODES = ("auto", "shared", "published")
MAX_FRAMES = 64
"""8 cameras x 8 moments, or 4 x 16. Nothing in the model ends here: its attention spans all
frames, so time grows with the square of their number, and what can be remembered of a scene with
their number (`docs/runtime.md`); the published training saw up to 24. Memory may end before: that
is said, and the runtime stays usable."""


@dataclass(frozen=True)
class RuntimeRequest:
    """See `load_runtime`.

    Args:
        model, device, precision, prompt_mode: As there.
        export: Folder of an export; "" is the store.
        warm_up, max_frames: As there.

    Raises:
        ValueError: An unknown prompt mode, or no frame.
    """

    model: str | Path = "nano"
    device: str = "auto"
    precision: str = "auto"
    prompt_mode: str = "auto"
    export: str | Path = ""
    warm_up: bool = False
    max_frames: int = MAX_FRAMES

    def __post_init__(self) -> None:
        if self.max_frames < 1:
            raise ValueError(f"max_frames is {self.max_frames}, expected at least 1")
        if self.prompt_mode not in PROMPT_MODES:
            raise ValueError(
                f"prompt_mode is {self.prompt_mode!r}, expected one of {list(PROMPT_MODES)}"
            )

    def given_export(self) -> ExportFolder | None:
        """The export folder that the caller names; None where he names none.

        Raises:
            FileNotFoundError: No such folder.
            ValueError: A damaged one, or one of another precision.
        """
        if not str(self.export):
            return None
        from .export_folder import ExportFolder

        folder = ExportFolder.open(self.export)
        found = folder.manifest.precision
        if self.precision not in ("auto", found):
            raise ValueError(
                f"precision is {self.precision!r}, but {folder.path} was exported in {found}; "
                f"leave it on auto, or export with --precision {self.precision}"
            )
        return folder

    def require_exported(self, precisions: Sequence[str]) -> None:
        """Refuse what is none of the exported precisions.

        Raises:
            ValueError: Such a one.
        """
        if self.precision not in ("auto", *precisions):
            raise ValueError(
                f"precision is {self.precision!r}, but graphs are exported in "
                f"{' or '.join(precisions)}; choose one of them, auto, or the runtime 'torch'"
            )


def geometry_prompt(mode: str, config: ModelConfig, prompts: Sequence[str]) -> str:
    """What a runtime's geometry stands behind.

    Args:
        mode: Of `PROMPT_MODES`; "auto" is "published" where the model's patches see text.
        config: Of the model.
        prompts: That can be had, of the graphs where they compute it.

    Raises:
        ValueError: It cannot be had, and another one would give another geometry.
    """
    if mode == "auto":
        mode = "shared" if config.isolate_geometry else "published"
    if mode == "shared" or RECONSTRUCT in prompts:
        return CHAT if mode == "shared" else RECONSTRUCT
    if config.isolate_geometry:
        return CHAT
    raise ValueError(
        "the export stands behind the chat prefix alone, and this model's geometry hangs on it: "
        "export the model again with `g2vlm export onnx`, or use prompt_mode 'shared'"
    )


class Maker(Protocol):
    """What each runtime offers; the modules `torch`, `onnx`, `tensorrt` and `fastest` are makers.

    Raises of all three: ValueError for words that do not fit, FileNotFoundError for a folder
    that is not there, RuntimeError where this machine cannot run it.
    """

    def ready(self, request: RuntimeRequest) -> SpatialRuntime | None:
        """Load what is there already; None where something has to be built first."""

    def meanwhile(self, request: RuntimeRequest) -> SpatialRuntime:
        """What serves during a build, and takes the windows that the built one does not."""

    def build(self, context: BuildContext, request: RuntimeRequest) -> SpatialRuntime | None:
        """Build what is missing and load it, in a thread of its own; None: what serves stays."""
