# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What lenses, sensors and files do to a picture, so that rendered ones teach about real ones.

The order is that of the light: lens and shutter (`shutter.py`), focus, exposure, colour, the
camera's sharpening, the sensor's noise, the file. Geometry stays as it is; `views.py` crops and
mirrors. A draw holds for all frames of a clip with chance `shared` (one camera, one setting),
else each frame has its own.

Shape letters: B clips, N frames, H W pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..ranges import CHANCE, WEIGHT, check_range
from .jitter import LUMA, jittered
from .shutter import Warp, motion_field, warped

__all__ = ["AugmentOptions", "augment"]

_FLICKER = 1 / 3  # exposure of neighbouring frames varies by this share of that of clips
_REACH = 3  # pixels to each side of the blur kernels
_JPEG_QUALITY = (35, 95)
_BLUR, _ROLL = 0.06, 0.03  # longest flow of an exposure and of a read-out, of the width
_LITTLE = 0.15  # of the other motion beside the main one
_NOMINAL_FOV = 1.0  # focal length over width of pictures that come without intrinsics
_GAMMA = 2.2
_DARK_STOPS = (1.0, 3.5)
_READ = 0.12  # read noise over the shot noise of white


@dataclass(frozen=True)
class AugmentOptions:
    """Strengths; all 0 leaves the pictures as they are.

    The defaults keep the colours nameable, which questions about colours need; `nano.yaml` shows
    what geometry is trained with.

    Args:
        shared: Chance that the frames of a clip share their draws.
        exposure: Deviation of log brightness; a third of it again per frame, as of automatic
            exposure.
        white_balance: Deviation of the log gains of red and blue.
        gamma: Deviation of log gamma.
        contrast: Largest relative change of the contrast about the mean.
        saturation: Largest relative change of saturation.
        hue_deg: Largest turn of the hues, degrees.
        jitter: Chance of the published jitter: brightness, contrast and saturation within 50 %, hue
            within a tenth of a turn, in any order. 0.9 is published, with `grey` 0.05, `shared` 0.7
            and nothing else.
        grey: Chance of a picture without colour.
        remix: Chance that red, green and blue are mixed by a random matrix.
        vignette: Largest loss of light in the corners.
        blur: Chance of a lens out of focus (Gaussian, up to 1.2 pixels).
        motion: Chance of blur along the true flow of a drawn motion, up to 6 % of the width.
        rolling: Chance that rows are read one after the other during such a motion.
        bend: Largest radial shift of the corners by distortion that calibration left, of the
            width.
        fringe: The same between red, green and blue.
        dark: Chance of a scene 1 to 3.5 stops too dark, with noise to match.
        sharpen: Chance of the halos of a camera's own sharpening.
        noise: Largest deviation of the sensor's noise at middle grey, of full scale: shot noise in
            linear light, read noise beside it; half of it is grainy.
        jpeg: Chance of compression, quality 35 to 95.

    Raises:
        ValueError: A number below 0, or a chance above 1.
    """

    shared: float = 0.7
    exposure: float = 0.25
    white_balance: float = 0.08
    gamma: float = 0.12
    contrast: float = 0.2
    saturation: float = 0.4
    hue_deg: float = 0.0
    jitter: float = 0.0
    grey: float = 0.0
    remix: float = 0.0
    vignette: float = 0.35
    blur: float = 0.35
    motion: float = 0.15
    rolling: float = 0.1
    bend: float = 0.006
    fringe: float = 0.002
    dark: float = 0.06
    sharpen: float = 0.2
    noise: float = 0.03
    jpeg: float = 0.1

    def __post_init__(self) -> None:
        chances = (
            *("shared", "jitter", "grey", "remix", "blur", "motion", "rolling", "dark"),
            *("sharpen", "jpeg"),
        )
        check_range(self, WEIGHT, *vars(self), part="augment")
        check_range(self, CHANCE, *chances, part="augment")


class _Draws:
    """Random numbers of shape (B, N, ...), the same for all frames of the clips that share.

    Each clip has its own source of them, so that it does not matter which clips it comes with.
    """

    def __init__(
        self, seeds: Sequence[int], frames: int, shared: float, device: torch.device
    ) -> None:
        self.frames, self.device = frames, device
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        # What has as many numbers as there are pixels is drawn where the pictures are.
        self.fine = [torch.Generator(device).manual_seed(seed + 1) for seed in seeds]
        self.shares_B = torch.tensor([_rand(one) < shared for one in self.generators])

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers."""
        return self._shared(
            [torch.randn(self.frames, *shape, generator=g) for g in self.generators]
        )

    def uniform(self, *shape: int) -> Tensor:
        """Uniform numbers in 0..1."""
        return self._shared([torch.rand(self.frames, *shape, generator=g) for g in self.generators])

    def chosen(self, chance: float) -> Tensor:
        """(B, N, 1, 1, 1) bool, true with a chance."""
        return self.uniform(1, 1, 1) < chance

    def of_frames(self) -> Tensor:
        """(B, N, 1, 1, 1) standard normal numbers that are never shared."""
        drawn = [torch.randn(self.frames, 1, 1, 1, generator=g) for g in self.generators]
        return torch.stack(drawn).to(self.device)

    def of_pixels(self, *shape: int) -> Tensor:
        """(B, N, ...) standard normal numbers that are never shared."""
        drawn = [
            torch.randn(self.frames, *shape, generator=g, device=self.device) for g in self.fine
        ]
        return torch.stack(drawn)

    def _shared(self, drawn: Sequence[Tensor]) -> Tensor:
        own = torch.stack(list(drawn))
        keep = self.shares_B.view(-1, *[1] * (own.dim() - 1))
        return torch.where(keep, own[:, :1], own).to(self.device)


def _rand(generator: torch.Generator) -> float:
    return float(torch.rand((), generator=generator))


def augment(
    rgb_BN3HW: Tensor,
    options: AugmentOptions,
    seeds: Sequence[int],
    depth_BNHW: Tensor | None = None,
    K_BN33: Tensor | None = None,
) -> Tensor:
    """Return pictures as a worse camera would have taken them.

    Args:
        rgb_BN3HW: float in [0, 1], on the CPU or a GPU, where all but the file's compression is
            done.
        options: Strengths.
        seeds: Of each clip's choices, which do not hang on the other clips.
        depth_BNHW: z-depth in any unit, 0 where unknown: near things blur more when the camera
            moves. None: only its rotations blur.
        K_BN33: Intrinsics in pixels; None: a field of view of 53 degrees.
    """
    draws = _Draws(seeds, rgb_BN3HW.shape[1], options.shared, rgb_BN3HW.device)
    out = _expose(rgb_BN3HW, options, draws, depth_BNHW, K_BN33)
    out = _focus(out, options, draws)
    out = _light(out, options, draws)
    out = _published(out, options, draws)
    out = _colour(out, options, draws)
    out = _sharpen(out, options, draws)
    out = _noise(out.clamp(0, 1), options, draws).clamp(0, 1)
    return _compress(out, options, draws)


def _expose(
    rgb: Tensor, options: AugmentOptions, draws: _Draws, depth: Tensor | None, K: Tensor | None
) -> Tensor:
    """A lens that is not quite calibrated, and a camera that moves meanwhile."""
    blurred = draws.chosen(options.motion).flatten()
    rolled = draws.chosen(options.rolling).flatten()
    blur = (_BLUR * draws.uniform()).flatten()
    roll = (_ROLL * (2 * draws.uniform() - 1)).flatten()
    bend = (options.bend * (2 * draws.uniform() - 1)).flatten()
    fringe = (options.fringe * (2 * draws.uniform(2) - 1)).flatten(0, 1)
    turn, move = draws.normal(3).flatten(0, 1), draws.normal(3).flatten(0, 1)
    travels = (draws.uniform(1) < 0.5).flatten(0, 1)  # as on wheels; hands turn
    changed = blurred | rolled
    if options.bend > 0 or options.fringe > 0:
        changed = torch.ones_like(changed)
    if not bool(changed.any()):
        return rgb
    height, width = rgb.shape[-2:]
    if depth is None:
        depth = rgb.new_zeros(*rgb.shape[:2], height, width)
    if K is None:
        focal = _NOMINAL_FOV * width
        K = rgb.new_tensor([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])
        K = K.expand(*rgb.shape[:2], 3, 3)
    moving = (blurred | rolled)[changed]
    flow = rgb.new_zeros(int(changed.sum()), height, width, 2)
    if bool(moving.any()):
        which = changed.nonzero()[:, 0][moving]
        turn = torch.where(travels, _LITTLE * turn, turn)[which]
        move = torch.where(travels, move, _LITTLE * move)[which]
        flow[moving] = motion_field(depth.flatten(0, 1)[which], K.flatten(0, 1)[which], turn, move)
    warp = Warp(
        flow, (blur * blurred)[changed], (roll * rolled)[changed], bend[changed], fringe[changed]
    )
    out = rgb.flatten(0, 1).clone()
    out[changed] = warped(out[changed], warp)
    return out.view_as(rgb)


def _focus(rgb: Tensor, options: AugmentOptions, draws: _Draws) -> Tensor:
    """Out of focus; one kernel per picture."""
    sigma = 0.3 + 0.9 * draws.uniform(1, 1, 1)
    changed = draws.chosen(options.blur).flatten()
    if not bool(changed.any()):
        return rgb
    reach = torch.arange(-_REACH, _REACH + 1.0, device=rgb.device)
    y, x = torch.meshgrid(reach, reach, indexing="ij")
    disc = (-(x.square() + y.square()) / (2 * sigma.square())).exp()
    kernels = disc.flatten(0, 2)[changed][:, None]
    kernels = kernels / kernels.sum((-1, -2), keepdim=True)
    out = rgb.flatten(0, 1).clone()
    padded = F.pad(out[changed], [_REACH] * 4, mode="replicate").transpose(0, 1)
    out[changed] = F.conv2d(padded, kernels, groups=len(kernels)).transpose(0, 1)
    return out.view_as(rgb)


def _light(rgb: Tensor, options: AugmentOptions, draws: _Draws) -> Tensor:
    """Vignette, exposure, white balance, gamma, contrast."""
    height, width = rgb.shape[-2:]
    rows, columns = (torch.linspace(-1, 1, side, device=rgb.device) for side in (height, width))
    radius = (columns.square() + rows.square()[:, None]) / 2
    out = rgb * (1 - options.vignette * draws.uniform(1, 1, 1) * radius)
    flicker = draws.of_frames() * _FLICKER
    gain = options.exposure * (draws.normal(1, 1, 1) + flicker)
    balance = options.white_balance * draws.normal(3, 1, 1)
    balance[:, :, 1] = 0.0
    gamma = (options.gamma * draws.normal(1, 1, 1)).exp()
    contrast = 1 + options.contrast * (2 * draws.uniform(1, 1, 1) - 1)
    if options.gamma > 0:
        out = out.clamp(min=1e-4).pow(gamma)
    out = out * (gain + balance).exp()
    if options.contrast == 0:
        return out
    mean = out.mean((-1, -2, -3), keepdim=True)
    return mean + (out - mean) * contrast


def _published(rgb: Tensor, options: AugmentOptions, draws: _Draws) -> Tensor:
    """The published jitter of chosen pictures."""
    if options.jitter == 0:
        return rgb
    chosen = draws.chosen(options.jitter).flatten()
    strengths = (2 * draws.uniform(4) - 1).flatten(0, 1)
    order = draws.uniform(4).argsort(dim=-1).flatten(0, 1)
    out = rgb.flatten(0, 1).clone()
    out[chosen] = jittered(out[chosen], strengths[chosen], order[chosen])
    return out.view_as(rgb)


def _colour(rgb: Tensor, options: AugmentOptions, draws: _Draws) -> Tensor:
    """Saturation, hue, mixed channels, no colour: one 3x3 matrix per picture."""
    saturation = 1 + options.saturation * (2 * draws.uniform(1, 1) - 1)
    angle = math.radians(options.hue_deg) * (2 * draws.uniform(1, 1) - 1)
    mixed = draws.uniform(3, 3)
    remixed, grey = draws.chosen(options.remix)[..., 0], draws.chosen(options.grey)[..., 0]
    one, mean = torch.eye(3, device=rgb.device), rgb.new_full((3, 3), 1 / 3)
    axis = rgb.new_tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
    # A turn about the grey axis; what is grey stays grey.
    matrix = mean + (one - mean) * angle.cos() + axis * angle.sin()
    matrix = torch.where(angle == 0, one, matrix)
    matrix = mean + (matrix - mean) * saturation
    matrix = torch.where(remixed, mixed / mixed.sum(-1, keepdim=True), matrix)
    luma = rgb.new_tensor(LUMA).expand(3, 3)
    matrix = torch.where(grey, luma, matrix)
    if bool((matrix == one).all()):
        return rgb
    return torch.einsum("bnij,bnjhw->bnihw", matrix, rgb)


def _sharpen(rgb: Tensor, options: AugmentOptions, draws: _Draws) -> Tensor:
    """Add what a 3x3 mean takes away."""
    strength = (1.5 * draws.uniform(1, 1, 1)).flatten(0, 1)
    changed = draws.chosen(options.sharpen).flatten()
    if not bool(changed.any()):
        return rgb
    out = rgb.flatten(0, 1).clone()
    sharp = out[changed]
    soft = F.avg_pool2d(F.pad(sharp, [1] * 4, mode="replicate"), 3, 1)
    out[changed] = sharp + strength[changed] * (sharp - soft)
    return out.view_as(rgb)


def _noise(rgb: Tensor, options: AugmentOptions, draws: _Draws) -> Tensor:
    """Shot and read noise in linear light; grainy (over 2x2 pixels) or not, coloured or not.

    A dark scene loses its light ahead of the noise, and some of the loss is amplified again.
    """
    strength = options.noise * draws.uniform(1, 1, 1)
    low, high = _DARK_STOPS
    stops = (low + (high - low) * draws.uniform(1, 1, 1)) * draws.chosen(options.dark)
    lifted = stops * draws.uniform(1, 1, 1) * 0.6
    if options.noise == 0 and not bool((stops > 0).any()):
        return rgb
    grainy, coloured = draws.chosen(0.5), draws.chosen(0.5)
    fine = draws.of_pixels(*rgb.shape[2:])
    coarse = F.avg_pool2d(F.pad(fine.flatten(0, 1), [0, 1, 0, 1], mode="replicate"), 2, 1)
    noise = torch.where(grainy, 2 * coarse.view_as(fine), fine)
    noise = torch.where(coloured, noise, noise[:, :, :1])
    linear = rgb.clamp(min=0).pow(_GAMMA) * (-stops).exp2()
    # So strong that a middle grey of 0.5 varies by the strength once it is encoded.
    grey = 0.5**_GAMMA
    unit = _GAMMA * 0.5 ** (_GAMMA - 1) / (grey + _READ**2) ** 0.5
    linear = linear + strength * unit * (linear + _READ**2).sqrt() * noise
    encoded: Tensor = (linear.clamp(min=1e-6) * lifted.exp2()).pow(1 / _GAMMA)
    return encoded


def _compress(rgb: Tensor, options: AugmentOptions, draws: _Draws) -> Tensor:
    """JPEG there and back."""
    low, high = _JPEG_QUALITY
    quality = (low + (high - low) * draws.uniform()).round().int()
    chosen = draws.chosen(options.jpeg).flatten(1)
    if not bool(chosen.any()):
        return rgb
    out = rgb.clone()
    for clip, frame in chosen.nonzero().tolist():
        bytes_HW3 = (rgb[clip, frame].permute(1, 2, 0) * 255).round().byte().cpu().numpy()
        bgr = np.ascontiguousarray(bytes_HW3[..., ::-1])
        how = [cv2.IMWRITE_JPEG_QUALITY, int(quality[clip, frame])]
        back = cv2.imdecode(cv2.imencode(".jpg", bgr, how)[1], cv2.IMREAD_COLOR)
        assert back is not None
        read = np.ascontiguousarray(np.asarray(back)[..., ::-1])
        out[clip, frame] = torch.from_numpy(read).permute(2, 0, 1).to(out) / 255
    return out
