# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Geometry for the semantic expert: what the geometric pass found, added to its own tokens.

An option that the published architecture lacks (`ModelConfig.geometry_feedback`). There the
semantic expert meets geometry only as keys and values of the geometric expert's layers. Here the
final hidden states, the decoded points and the poses are turned into features by small MLPs and
added to the semantic image tokens and to each frame's start mark, so that they stand in keys and
values of the semantic expert itself. With `ModelConfig.reference_features` the words of a
question that name a mark or a frame carry the features of that place or camera.

Shape letters: B windows, N frames, P patches per frame, S merged semantic patches, D width, H W
pixels, M places, C numbers of a feature.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import ModelConfig
from .reading import (
    OCTAVES,
    GeometryReading,
    compressed,
    in_first,
    inverse,
    length_of,
    motion_numbers,
    place_numbers,
    pooled,
    waves,
)
from .references import FRAME_SLOTS, PLACE_SLOTS

__all__ = [
    "FusedImages",
    "GeometryFusion",
    "Places",
    "ReferenceSlots",
]

_SUMMARY_OCTAVES = 2
_PLACE_WIDTH = 6 * (1 + 2 * OCTAVES)
_CAMERA_WIDTH = 9 * (1 + 2 * OCTAVES) + 5
_CONTENT = 0.2  # weight of features that are no numbers ahead of a projection
_SEEK_WIDTH = 64
_SLOTS = PLACE_SLOTS + FRAME_SLOTS
_PAIRS = PLACE_SLOTS * (PLACE_SLOTS - 1) // 2
_SUMMARY_NUMBERS = 6 * PLACE_SLOTS + 7 * _PAIRS + 13


@dataclass(frozen=True)
class FusedImages:
    """Semantic images with geometry in them.

    Args:
        tokens_BNSD: Image tokens.
        cameras_BND: Added to each frame's start mark.
        hidden_BNSD: Hidden states pooled to the image tokens.
        centres_BNS3: Mean points of the image tokens in the first camera's axes.
        merged_hw: Rows and columns of the image tokens.
        reading: What was added.
    """

    tokens_BNSD: Tensor
    cameras_BND: Tensor
    hidden_BNSD: Tensor
    centres_BNS3: Tensor
    merged_hw: tuple[int, int]
    reading: GeometryReading

    @classmethod
    def joined(cls, frames: Sequence[FusedImages], reading: GeometryReading) -> FusedImages:
        """Windows whose frames were fused one by one.

        Args:
            frames: One frame each, in order.
            reading: Of all frames.
        """
        parts = {
            name: torch.cat([getattr(one, name) for one in frames], dim=1)
            for name in ("tokens_BNSD", "cameras_BND", "hidden_BNSD", "centres_BNS3")
        }
        return cls(**parts, merged_hw=frames[0].merged_hw, reading=reading)


@dataclass(frozen=True)
class Places:
    """Places in pictures.

    Args:
        window_M: int64 index of the window.
        frame_M: int64 index of the frame in it.
        share_M2: float (x, y) as shares of the picture's width and height, 0 up to 1.
    """

    window_M: Tensor
    frame_M: Tensor
    share_M2: Tensor

    def cells(self, grid_hw: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Row and column of each place in a grid over its picture."""
        rows, columns = grid_hw
        x_M, y_M = self.share_M2.unbind(-1)
        row_M = (y_M * rows).long().clamp(0, rows - 1)
        return row_M, (x_M * columns).long().clamp(0, columns - 1)

    def points(self, reading: GeometryReading) -> tuple[Tensor, Tensor]:
        """(M, 3) points there, in the axes of their own camera and of the first one."""
        height, width = reading.local_BNHW3.shape[2:4]
        row_M, column_M = self.cells((height, width))
        local_M3 = reading.local_BNHW3[self.window_M, self.frame_M, row_M, column_M]
        T_M44 = reading.T_first_cam_BN44[self.window_M, self.frame_M]
        return local_M3, in_first(local_M3, T_M44)


@dataclass(frozen=True)
class ReferenceSlots:
    """What questions name, in a fixed number of slots: places, then frames.

    Args:
        window_M: int64 index of each question's window.
        first_MP3: Points of the places in the first camera's axes; 0 in empty slots.
        frame_MF: int64 indices of the named frames; empty slots hold the first place's frame.
        features_MSD: Features of places and cameras; any where empty.
        filled_MS: 1.0 where a slot is used, 0.0 where not.
    """

    window_M: Tensor
    first_MP3: Tensor
    frame_MF: Tensor
    features_MSD: Tensor
    filled_MS: Tensor


class _Projection(nn.Module):
    """Two linear maps with a GELU between them."""

    def __init__(self, in_width: int, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(in_width, 2 * width)
        self.fc2 = nn.Linear(2 * width, width)

    def forward(self, *parts: Tensor) -> Tensor:
        """Map parts of a feature, side by side, to (..., D)."""
        joined = torch.cat([part.to(self.fc1.weight.dtype) for part in parts], dim=-1)
        return self.fc2(F.gelu(self.fc1(joined)))  # type: ignore[no-any-return]


class GeometryFusion(nn.Module):
    """Features of image tokens, cameras and places.

    Args:
        config: Of the model; `reference_features` decides whether it knows places.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.text.hidden_size
        self.image = _Projection(width + _PLACE_WIDTH, width)
        self.camera = _Projection(width + _CAMERA_WIDTH, width)
        self.place: _Projection | None = None
        self.summary: _Projection | None = None
        if config.reference_features:
            self.place = _Projection(2 * width + _PLACE_WIDTH, width)
            numbers = _SUMMARY_NUMBERS * (1 + 2 * _SUMMARY_OCTAVES)
            self.summary = _Projection(numbers + _SLOTS * (width + 1) + width + 1, width)
        self.seek_words: nn.Linear | None = None
        self.seek_tokens: nn.Linear | None = None
        if config.reference_features:
            self.seek_words = nn.Linear(width, _SEEK_WIDTH)
            self.seek_tokens = nn.Linear(width, _SEEK_WIDTH)

    def forward(
        self, tokens_BNSD: Tensor, merged_hw: tuple[int, int], reading: GeometryReading
    ) -> FusedImages:
        """Add geometry to semantic images.

        Args:
            tokens_BNSD: From the semantic encoder, S = rows x columns.
            merged_hw: Rows and columns of the image tokens.
            reading: Of the same windows and frames.
        """
        batch, frames = tokens_BNSD.shape[:2]
        hidden_MPD = reading.hidden_BNPD.flatten(0, 1)
        pooled_MSD = pooled(hidden_MPD.unflatten(1, reading.grid_hw), merged_hw)
        T_BN1144 = reading.T_first_cam_BN44[:, :, None, None]
        first_BNHW3 = in_first(reading.local_BNHW3, T_BN1144)
        centres_MS3 = pooled(first_BNHW3.flatten(0, 1), merged_hw)
        numbers_BNHWC = place_numbers(reading.local_BNHW3, first_BNHW3)
        numbers_MSC = pooled(numbers_BNHWC.flatten(0, 1), merged_hw)
        added_MSD = self.image(pooled_MSD, waves(numbers_MSC))
        return FusedImages(
            tokens_BNSD=tokens_BNSD + added_MSD.unflatten(0, (batch, frames)),
            cameras_BND=self._cameras(reading),
            hidden_BNSD=pooled_MSD.unflatten(0, (batch, frames)),
            centres_BNS3=centres_MS3.unflatten(0, (batch, frames)),
            merged_hw=merged_hw,
            reading=reading,
        )

    def places(self, images: FusedImages, places: Places) -> Tensor:
        """(M, D) features of places: image token, hidden state and point there.

        Args:
            images: The windows, as they are in the cache.
            places: Where.
        """
        assert self.place is not None, "reference_features is off"
        reading = images.reading
        row_M, column_M = places.cells(images.merged_hw)
        token_MD = images.tokens_BNSD[
            places.window_M, places.frame_M, row_M * images.merged_hw[1] + column_M
        ]
        row_M, column_M = places.cells(reading.grid_hw)
        hidden_MD = reading.hidden_BNPD[
            places.window_M, places.frame_M, row_M * reading.grid_hw[1] + column_M
        ]
        local_M3, first_M3 = places.points(reading)
        numbers_MC = waves(place_numbers(local_M3, first_M3))
        content = (_CONTENT * token_MD, _CONTENT * hidden_MD)
        return self.place(*content, numbers_MC)  # type: ignore[no-any-return]

    def things(
        self, images: FusedImages, words_RD: Tensor, window_R: Tensor, frame_R: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Look for things by their names.

        Args:
            images: The windows, as they are in the cache.
            words_RD: Mean embedding of each name's tokens.
            window_R, frame_R: int64 indices; frame -1 looks into all frames.

        Returns:
            (R, D) features as those of a place, (R, 3) centre in the first camera's axes, and
            (R, N, S) how much each image token counts.
        """
        assert self.place is not None, "reference_features is off"
        assert self.seek_words is not None
        assert self.seek_tokens is not None
        keys_BNSE = self.seek_tokens(images.tokens_BNSD)
        query_RE = self.seek_words(words_RD) * _SEEK_WIDTH**-0.5
        logits_RNS = torch.einsum("re,rnse->rns", query_RE, keys_BNSE[window_R]).float()
        frames = torch.arange(logits_RNS.shape[1], device=frame_R.device)
        elsewhere_RN = (frame_R[:, None] >= 0) & (frame_R[:, None] != frames)
        logits_RNS = logits_RNS.masked_fill(elsewhere_RN[..., None], float("-inf"))
        weight_RNS = logits_RNS.flatten(1).softmax(dim=-1).view_as(logits_RNS)
        token_RD, hidden_RD, first_R3 = (
            torch.einsum("rns,rnsc->rc", weight_RNS.to(part.dtype), part[window_R])
            for part in (images.tokens_BNSD, images.hidden_BNSD, images.centres_BNS3)
        )
        seen_R = torch.where(frame_R >= 0, frame_R, weight_RNS.sum(dim=-1).argmax(dim=-1))
        T_R44 = images.reading.T_first_cam_BN44[window_R, seen_R]
        local_R3 = in_first(first_R3, inverse(T_R44))
        numbers_RC = waves(place_numbers(local_R3, first_R3))
        features_RD = self.place(_CONTENT * token_RD, _CONTENT * hidden_RD, numbers_RC)
        return features_RD, first_R3, weight_RNS

    def summaries(self, reading: GeometryReading, slots: ReferenceSlots) -> Tensor:
        """(M, D): how what a question names lies to each other, and what it is.

        Places are seen from the first named camera, or from that of the first place.

        Args:
            reading: Of the windows.
            slots: What each question names.
        """
        assert self.summary is not None, "reference_features is off"
        T_MF44 = reading.T_first_cam_BN44[slots.window_M[:, None], slots.frame_MF]
        T_viewer_first_M44 = inverse(T_MF44[:, 0])
        seen_MP3 = in_first(slots.first_MP3, T_viewer_first_M44[:, None])
        filled_MP = slots.filled_MS[:, :PLACE_SLOTS]
        i, j = torch.triu_indices(PLACE_SLOTS, PLACE_SLOTS, 1, device=seen_MP3.device)
        apart_MR3 = seen_MP3[:, j] - seen_MP3[:, i]
        far_MR1 = length_of(apart_MR3)
        range_MP1 = length_of(seen_MP3)
        rays_MP2 = (seen_MP3[..., :2] / seen_MP3[..., 2:].clamp(min=0.1)).clamp(-4.0, 4.0)
        places_MPC = torch.cat((compressed(seen_MP3, 1.0), rays_MP2, range_MP1.log()), dim=-1)
        pairs_MRC = torch.cat(
            (compressed(apart_MR3, 4.0), apart_MR3 / far_MR1, far_MR1.log()), dim=-1
        )
        both_MR1 = (filled_MP[:, i] * filled_MP[:, j])[..., None]
        T_i_j_M44 = T_viewer_first_M44 @ T_MF44[:, 1]
        motion_MC = motion_numbers(T_i_j_M44) * slots.filled_MS[:, -1:]
        numbers_MC = torch.cat(
            (
                (places_MPC * filled_MP[..., None]).flatten(1),
                (pairs_MRC * both_MR1).flatten(1),
                motion_MC,
            ),
            dim=-1,
        )
        # Metres are guessed from the model's own unit and from what the whole window looks like.
        mean_BD = reading.hidden_BNPD.mean(dim=(1, 2))
        context_BC = torch.cat((_CONTENT * mean_BD, reading.log_scale_B[:, None]), dim=-1)
        context_MC = context_BC[slots.window_M]
        features_MC = (_CONTENT * slots.features_MSD * slots.filled_MS[..., None]).flatten(1)
        return self.summary(  # type: ignore[no-any-return]
            waves(numbers_MC, _SUMMARY_OCTAVES), features_MC, slots.filled_MS, context_MC
        )

    def _cameras(self, reading: GeometryReading) -> Tensor:
        """(B, N, D) features of each frame's camera, as seen from the first camera and back."""
        numbers_BNC = motion_numbers(reading.T_first_cam_BN44)
        waves_BNC = waves(numbers_BNC[..., :9])
        scale_BN1 = reading.log_scale_B[:, None, None].expand_as(numbers_BNC[..., :1])
        mean_BND = _CONTENT * reading.hidden_BNPD.mean(dim=2)
        return self.camera(  # type: ignore[no-any-return]
            mean_BND, waves_BNC, numbers_BNC[..., 9:], scale_BN1
        )
