# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Where tokens stand: frame blocks, three-axis rotary positions, order of a pass.

Text counts one running position on all axes. A frame is a start mark at p, patches at
t = p + 1, h = p + 1 + row, w = p + 1 + column, and an end mark at p + 1 + max(rows, columns);
the next token stands behind that one. Positions keep growing from frame to frame.

Shape letters: L tokens, N frames, P patches per frame, C head width; axis order t, h, w.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .config import TextConfig
from .layers import Rotation, TableCache, inverse_frequencies

__all__ = ["FrameBlocks", "FrameRotations", "MRope", "interleave", "text_positions"]

MIN_TEXT_ROWS = 1024


def text_positions(start: int, count: int, device: torch.device | None = None) -> Tensor:
    """Return (3, L) int64 positions of text from `start` on."""
    return torch.arange(start, start + count, device=device).expand(3, -1)


def interleave(marks_N2: Tensor, patches_NP: Tensor, dim: int) -> Tensor:
    """Put patches between their frame's marks.

    Args:
        marks_N2: (..., N, 2, ...) with the 2 at axis `dim`.
        patches_NP: (..., N, P, ...) likewise.
        dim: Axis of tokens within a frame, counted from the front.

    Returns:
        (..., N * (P + 2), ...): frame after frame, the order of the sequence.
    """
    start, end = marks_N2.narrow(dim, 0, 1), marks_N2.narrow(dim, 1, 1)
    return torch.cat((start, patches_NP, end), dim=dim).flatten(dim - 1, dim)


@dataclass(frozen=True)
class FrameBlocks:
    """N frames of rows x columns patches, each between two marks."""

    frames: int
    rows: int
    columns: int

    @property
    def patches(self) -> int:
        """Patches of a frame."""
        return self.rows * self.columns

    @property
    def block(self) -> int:
        """Tokens of a frame: patches and two marks."""
        return self.patches + 2

    @property
    def tokens(self) -> int:
        """Tokens of all frames."""
        return self.frames * self.block

    @property
    def stride(self) -> int:
        """Positions that a frame takes."""
        longer: int = torch.sym_max(self.rows, self.columns)
        return longer + 2

    @property
    def advance(self) -> int:
        """Positions that all frames take."""
        return self.frames * self.stride

    def positions(self, start: int, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
        """Return positions of marks (3, N, 2) and patches (3, N, P), int64."""
        first_N = start + self.stride * torch.arange(self.frames, device=device)
        marks_N2 = torch.stack((first_N, first_N + self.stride - 1), dim=1)
        base_N11 = (first_N + 1)[:, None, None]
        shape = (self.frames, self.rows, self.columns)
        row_R1 = torch.arange(self.rows, device=device)[:, None]
        column_C = torch.arange(self.columns, device=device)
        patches_3NRC = torch.stack(
            (
                base_N11.expand(shape),
                (base_N11 + row_R1).expand(shape),
                (base_N11 + column_C).expand(shape),
            )
        )
        return marks_N2.expand(3, -1, -1), patches_3NRC.flatten(2)


@dataclass(frozen=True)
class FrameRotations:
    """Rotations of a pass over frames: marks (N * 2, 1, C / 2), patches (N * P, 1, C / 2)."""

    frames: int
    marks: Rotation
    patches: Rotation

    def interleaved(self) -> Rotation:
        """Return the rotations in the order of the sequence, (N * (P + 2), 1, C / 2)."""
        shape = (self.frames, -1)
        cos, sin = (
            interleave(marks.unflatten(0, shape), patches.unflatten(0, shape), 1)
            for marks, patches in zip(self.marks, self.patches, strict=True)
        )
        return Rotation(cos, sin)


class MRope:
    """Rotary embedding over three axes (M-RoPE of Qwen2-VL).

    Channel pair j turns by position * theta^(-2j / C); the first `mrope_section[0]` pairs take
    their position from axis t, the next from h, the last from w.
    """

    def __init__(self, text: TextConfig) -> None:
        self.width = text.head_dim
        self.theta = text.rope_theta
        self.axis_of_pair = [
            axis for axis, count in enumerate(text.mrope_section) for _ in range(count)
        ]
        self._text: TableCache[Rotation] = TableCache()
        self._frames: TableCache[FrameRotations] = TableCache()

    def rotation(self, positions_3L: Tensor) -> Rotation:
        """Return tables (L, 1, C / 2) of positions (3, L)."""
        device = positions_3L.device
        frequencies = inverse_frequencies(self.width, self.theta, device)
        axis = torch.tensor(self.axis_of_pair, device=device)
        angles_LC = positions_3L.float()[axis].T * frequencies
        return Rotation.of(angles_LC[:, None])

    def text(self, start: int, count: int, device: torch.device) -> Rotation:
        """Return tables (L, 1, C / 2) of text: rows of one long table, so a step costs a view."""
        rows = max(MIN_TEXT_ROWS, 1 << (start + count - 1).bit_length())
        table = self._text.get(
            (rows, device), lambda: self.rotation(text_positions(0, rows, device))
        )
        return Rotation(table.cos[start : start + count], table.sin[start : start + count])

    def frames(self, start: int, blocks: FrameBlocks, device: torch.device) -> FrameRotations:
        """Return tables of the marks and patches of frames."""

        def build() -> FrameRotations:
            marks_3N2, patches_3NP = blocks.positions(start, device)
            return FrameRotations(
                blocks.frames,
                self.rotation(marks_3N2.flatten(1)),
                self.rotation(patches_3NP.flatten(1)),
            )

        return self._frames.get((start, blocks, device), build)
