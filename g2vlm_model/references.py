"""Words of a question that name a mark or a frame, and the tokens that spell them.

With `ModelConfig.reference_features` these tokens carry the features of what they name
(`fusion.py`), so a question reads what is at "A" without looking for it.

Shape letters: M questions, T text tokens, D width.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .fusion import FusedImages, GeometryFusion, Places
from .interface import PixelMark
from .tokenizer import Tokenizer

__all__ = ["Reference", "find_references", "reference_features"]

_FRAME = re.compile(r"\b(?:frame|image|picture|view) (\d+)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Reference:
    """A token that names something of the scene.

    Args:
        token: Index of the name's last token in the question.
        frame: Index of the frame.
        share: (x, y) of a mark as shares of the picture's width and height; None: the frame.
    """

    token: int
    frame: int
    share: tuple[float, float] | None = None


def find_references(
    tokenizer: Tokenizer,
    text: str,
    marks: Sequence[PixelMark],
    sizes_hw: Sequence[tuple[int, int]],
) -> tuple[Reference, ...]:
    """Find every mention of a mark's label or of a frame's number ("frame 2").

    Labels are whole words and case counts, so the article in "is there a chair" is no mark "A".
    A mark without a label is called `mark`, as `question_with_marks` calls it.

    Args:
        tokenizer: Of the model.
        text: The question with the lines of its marks.
        marks: Of the question, inside their pictures.
        sizes_hw: (height, width) of each frame's original picture.
    """
    begins = tokenizer.begins(text)

    def token(end: int) -> int:
        return sum(begin < end for begin in begins) - 1

    found = []
    for mark in marks:
        height, width = sizes_hw[mark.frame_index]
        share = ((mark.u + 0.5) / width, (mark.v + 0.5) / height)
        name = re.escape(mark.label or "mark")
        for match in re.finditer(rf"(?<!\w){name}(?!\w)", text):
            found.append(Reference(token(match.end()), mark.frame_index, share))
    for match in _FRAME.finditer(text):
        frame = int(match.group(1)) - 1
        if 0 <= frame < len(sizes_hw):
            found.append(Reference(token(match.end()), frame))
    return tuple(found)


def reference_features(
    fusion: GeometryFusion,
    images: FusedImages,
    references: Sequence[Sequence[Reference]],
    tokens: int,
) -> Tensor:
    """What the references of M questions add to their embeddings.

    Args:
        fusion: Of the model.
        images: B windows; each was asked M / B questions, window after window.
        references: Of every question.
        tokens: T.

    Returns:
        (M, T, D), zero where a token names nothing.
    """
    cameras_BND = images.cameras_BND
    device = cameras_BND.device
    each = len(references) // cameras_BND.shape[0]
    rows = [(row, one) for row, several in enumerate(references) for one in several]
    added_MTD = cameras_BND.new_zeros(len(references), tokens, cameras_BND.shape[-1])
    for marks in (False, True):
        named = [(row, one) for row, one in rows if (one.share is not None) == marks]
        if not named:
            continue
        index = torch.tensor([(row, one.token, row // each, one.frame) for row, one in named])
        row, token, window, frame = index.to(device).unbind(1)
        if marks:
            share = torch.tensor([one.share for _, one in named], device=device)
            features = fusion.places(images, Places(window, frame, share))
        else:
            features = cameras_BND[window, frame]
        added_MTD = added_MTD.index_put((row, token), features, accumulate=True)
    return added_MTD
