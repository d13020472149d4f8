"""Geometry for the semantic expert: what the geometric pass found, added to its own tokens.

An option that the published architecture lacks (`ModelConfig.geometry_feedback`). There the
semantic expert meets geometry only as keys and values of the geometric expert's layers. Here the
final hidden states, the decoded points and the poses are turned into features by small MLPs and
added to the semantic image tokens and to each frame's start mark, so that they stand in keys and
values of the semantic expert itself. With `ModelConfig.reference_features` the words of a
question that name a mark or a frame carry the features of that place or camera.

Lengths are divided by the window's median depth: ratios, sides and angles are exact, and metres
have to be guessed from the hidden states.

Shape letters: B windows, N frames, P patches per frame, S merged semantic patches, D width, H W
pixels, M places, C numbers of a feature.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .config import ModelConfig
from .geometry import GeometryTensors

__all__ = [
    "FRAME_SLOTS",
    "PLACE_SLOTS",
    "FusedImages",
    "GeometryFusion",
    "GeometryReading",
    "Places",
    "read_geometry",
]

_OCTAVES, _SUMMARY_OCTAVES = 4, 2
_PLACE_WIDTH = 6 * (1 + 2 * _OCTAVES)
_CAMERA_WIDTH = 9 * (1 + 2 * _OCTAVES) + 5
_ANGLE_GAIN = 8.0  # turns between frames are fractions of a radian
_STEP_GAIN = 16.0  # steps between frames are a small share of the depth
_SMALL = 1e-3
_CONTENT = 0.2  # weight of features that are no numbers ahead of a projection
PLACE_SLOTS, FRAME_SLOTS = 4, 2
_SLOTS = PLACE_SLOTS + FRAME_SLOTS
_PAIRS = PLACE_SLOTS * (PLACE_SLOTS - 1) // 2
_SUMMARY_NUMBERS = 4 * PLACE_SLOTS + 7 * _PAIRS + 13


@dataclass(frozen=True)
class GeometryReading:
    """What the geometric pass says of windows, free of scale.

    Args:
        hidden_BNPD: Final-normed patch tokens.
        grid_hw: Rows and columns of patches.
        local_BNHW3: float32 points in the axes of their camera, median depth 1 per window.
        T_first_cam_BN44: float32 camera to first camera, lengths in the same unit.
        log_scale_B: float32 logarithm of the median depth in the model's unit.
    """

    hidden_BNPD: Tensor
    grid_hw: tuple[int, int]
    local_BNHW3: Tensor
    T_first_cam_BN44: Tensor
    log_scale_B: Tensor

    def frame(self, index: int) -> GeometryReading:
        """The reading of one frame of every window (views)."""
        return GeometryReading(
            hidden_BNPD=self.hidden_BNPD[:, index : index + 1],
            grid_hw=self.grid_hw,
            local_BNHW3=self.local_BNHW3[:, index : index + 1],
            T_first_cam_BN44=self.T_first_cam_BN44[:, index : index + 1],
            log_scale_B=self.log_scale_B,
        )


@dataclass(frozen=True)
class FusedImages:
    """Semantic images with geometry in them.

    Args:
        tokens_BNSD: Image tokens.
        cameras_BND: Added to each frame's start mark.
        merged_hw: Rows and columns of the image tokens.
        reading: What was added.
    """

    tokens_BNSD: Tensor
    cameras_BND: Tensor
    merged_hw: tuple[int, int]
    reading: GeometryReading

    @classmethod
    def joined(cls, frames: Sequence[FusedImages], reading: GeometryReading) -> FusedImages:
        """Windows whose frames were fused one by one.

        Args:
            frames: One frame each, in order.
            reading: Of all frames.
        """
        return cls(
            tokens_BNSD=torch.cat([one.tokens_BNSD for one in frames], dim=1),
            cameras_BND=torch.cat([one.cameras_BND for one in frames], dim=1),
            merged_hw=frames[0].merged_hw,
            reading=reading,
        )


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
        return local_M3, _in_first(local_M3, T_M44)


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


def read_geometry(
    hidden_BNPD: Tensor, grid_hw: tuple[int, int], geometry: GeometryTensors
) -> GeometryReading:
    """Bring a pass's geometry into the first camera's axes and divide it by its median depth.

    Args:
        hidden_BNPD: What the heads read.
        grid_hw: Rows and columns of patches.
        geometry: What the heads said.
    """
    local_BNHW3 = geometry.local_points_BNHW3
    scale_B = local_BNHW3[..., 2].flatten(1).nanmedian(dim=1).values.clamp(min=_SMALL)
    T_BN44 = geometry.T_world_cam_BN44
    rotation_B33, centre_B3 = T_BN44[:, 0, :3, :3], T_BN44[:, 0, :3, 3]
    turned_BN33 = rotation_B33.mT[:, None] @ T_BN44[..., :3, :3]
    moved_BN3 = (T_BN44[..., :3, 3] - centre_B3[:, None]) @ rotation_B33
    moved_BN3 = moved_BN3 / scale_B[:, None, None]
    T_first_BN34 = torch.cat((turned_BN33, moved_BN3[..., None]), dim=-1)
    return GeometryReading(
        hidden_BNPD=hidden_BNPD,
        grid_hw=grid_hw,
        local_BNHW3=local_BNHW3 / scale_B[:, None, None, None, None],
        T_first_cam_BN44=torch.cat((T_first_BN34, T_BN44[..., 3:, :]), dim=-2),
        log_scale_B=scale_B.log(),
    )


def _waves(x: Tensor, count: int = _OCTAVES) -> Tensor:
    """(..., C) numbers beside their sines and cosines in a few octaves."""
    octaves = 0.5 * math.pi * 2.0 ** torch.arange(count, device=x.device, dtype=x.dtype)
    angles = (x[..., None] * octaves).flatten(-2)
    return torch.cat((x, angles.sin(), angles.cos()), dim=-1)


def _compressed(x: Tensor, gain: float) -> Tensor:
    """Odd logarithm: fine near 0, bounded growth far away."""
    return x.sign() * (x.abs() * gain).log1p()


def _length(x: Tensor) -> Tensor:
    return (x.square().sum(dim=-1, keepdim=True) + _SMALL**2).sqrt()


def _place_numbers(local: Tensor, first: Tensor) -> Tensor:
    """(..., 6) of points in their camera's axes and in the first camera's."""
    z = local[..., 2:].clamp(min=_SMALL)
    rays = (local[..., :2] / z).clamp(-4.0, 4.0)
    return torch.cat((rays, z.log(), _compressed(first, 1.0)), dim=-1)


def _in_first(points: Tensor, T_first_cam: Tensor) -> Tensor:
    """Points (..., 3) moved by transforms (..., 4, 4) of the same leading axes."""
    turned: Tensor = (T_first_cam[..., :3, :3] @ points[..., None])[..., 0]
    return turned + T_first_cam[..., :3, 3]


def _motion_numbers(T_a_b: Tensor) -> Tensor:
    """(..., 13) of transforms (..., 4, 4): turn, step seen from both ends, direction, length."""
    R, there = T_a_b[..., :3, :3], T_a_b[..., :3, 3]
    back = -(R.mT @ there[..., None])[..., 0]
    yaw = torch.atan2(R[..., 0, 2], R[..., 2, 2])
    pitch = torch.atan2(-R[..., 1, 2], (R[..., 0, 2] ** 2 + R[..., 2, 2] ** 2 + 1e-12).sqrt())
    roll = torch.atan2(R[..., 1, 0], R[..., 1, 1])
    angles = _ANGLE_GAIN * torch.stack((yaw, pitch, roll), dim=-1)
    steps = _compressed(torch.cat((there, back), dim=-1), _STEP_GAIN)
    length = _length(there)
    return torch.cat((angles, steps, there / length, length.log()), dim=-1)


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
            self.summary = _Projection(numbers + _SLOTS * (width + 1), width)

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
        hidden_BNPD = reading.hidden_BNPD
        hidden_MDRC = hidden_BNPD.flatten(0, 1).mT.unflatten(-1, reading.grid_hw)
        pooled_MSD = F.adaptive_avg_pool2d(hidden_MDRC, merged_hw).flatten(2).mT
        T_BN1144 = reading.T_first_cam_BN44[:, :, None, None]
        numbers_BNHWC = _place_numbers(
            reading.local_BNHW3, _in_first(reading.local_BNHW3, T_BN1144)
        )
        maps_MCHW = numbers_BNHWC.flatten(0, 1).permute(0, 3, 1, 2)
        numbers_MSC = F.adaptive_avg_pool2d(maps_MCHW, merged_hw).flatten(2).mT
        added_MSD = self.image(pooled_MSD, _waves(numbers_MSC))
        return FusedImages(
            tokens_BNSD=tokens_BNSD + added_MSD.unflatten(0, (batch, frames)),
            cameras_BND=self._cameras(reading),
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
        numbers_MC = _waves(_place_numbers(local_M3, first_M3))
        content = (_CONTENT * token_MD, _CONTENT * hidden_MD)
        return self.place(*content, numbers_MC)  # type: ignore[no-any-return]

    def summaries(self, reading: GeometryReading, slots: ReferenceSlots) -> Tensor:
        """(M, D): how what a question names lies to each other, and what it is.

        Places are seen from the first named camera, or from that of the first place.

        Args:
            reading: Of the windows.
            slots: What each question names.
        """
        assert self.summary is not None, "reference_features is off"
        T_MF44 = reading.T_first_cam_BN44[slots.window_M[:, None], slots.frame_MF]
        T_viewer_first_M44 = torch.linalg.inv(T_MF44[:, 0])
        seen_MP3 = _in_first(slots.first_MP3, T_viewer_first_M44[:, None])
        filled_MP = slots.filled_MS[:, :PLACE_SLOTS]
        i, j = torch.triu_indices(PLACE_SLOTS, PLACE_SLOTS, 1, device=seen_MP3.device)
        apart_MR3 = seen_MP3[:, j] - seen_MP3[:, i]
        far_MR1 = _length(apart_MR3)
        range_MP1 = _length(seen_MP3)
        places_MPC = torch.cat((_compressed(seen_MP3, 1.0), range_MP1.log()), dim=-1)
        pairs_MRC = torch.cat(
            (_compressed(apart_MR3, 4.0), apart_MR3 / far_MR1, far_MR1.log()), dim=-1
        )
        both_MR1 = (filled_MP[:, i] * filled_MP[:, j])[..., None]
        T_i_j_M44 = T_viewer_first_M44 @ T_MF44[:, 1]
        motion_MC = _motion_numbers(T_i_j_M44) * slots.filled_MS[:, -1:]
        numbers_MC = torch.cat(
            (
                (places_MPC * filled_MP[..., None]).flatten(1),
                (pairs_MRC * both_MR1).flatten(1),
                motion_MC,
            ),
            dim=-1,
        )
        features_MC = (_CONTENT * slots.features_MSD * slots.filled_MS[..., None]).flatten(1)
        return self.summary(  # type: ignore[no-any-return]
            _waves(numbers_MC, _SUMMARY_OCTAVES), features_MC, slots.filled_MS
        )

    def _cameras(self, reading: GeometryReading) -> Tensor:
        """(B, N, D) features of each frame's camera, as seen from the first camera and back."""
        numbers_BNC = _motion_numbers(reading.T_first_cam_BN44)
        waves_BNC = _waves(numbers_BNC[..., :9])
        scale_BN1 = reading.log_scale_B[:, None, None].expand_as(numbers_BNC[..., :1])
        mean_BND = _CONTENT * reading.hidden_BNPD.mean(dim=2)
        return self.camera(  # type: ignore[no-any-return]
            mean_BND, waves_BNC, numbers_BNC[..., 9:], scale_BN1
        )
