"""What cameras do to a picture: exposure, colour, blur, noise. One draw per clip and frame."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["AugmentOptions", "augment"]


@dataclass(frozen=True)
class AugmentOptions:
    """Strengths; all 0 leaves the pictures as they are.

    Args:
        exposure: Deviation of log brightness per clip; a third of it again per frame.
        white_balance: Deviation of the log gains of red and blue per clip.
        gamma: Deviation of log gamma per clip.
        saturation: Largest relative change of saturation per clip.
        noise: Largest deviation of the sensor's noise, of full scale.
        blur: Chance that a clip is softened.
        vignette: Largest loss of light in the corners.
    """

    exposure: float = 0.25
    white_balance: float = 0.08
    gamma: float = 0.12
    saturation: float = 0.4
    noise: float = 0.03
    blur: float = 0.35
    vignette: float = 0.35


def augment(rgb_BN3HW: Tensor, options: AugmentOptions, generator: torch.Generator) -> Tensor:
    """Return pictures as a worse camera would have taken them.

    Args:
        rgb_BN3HW: float in [0, 1].
        options: Strengths.
        generator: Source of every random choice.
    """
    batch, frames, _, height, width = rgb_BN3HW.shape

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator)

    gain = options.exposure * (normal(batch, 1, 1, 1, 1) + normal(batch, frames, 1, 1, 1) / 3)
    balance = options.white_balance * normal(batch, 1, 3, 1, 1)
    balance[:, :, 1] = 0.0
    gamma = (options.gamma * normal(batch, 1, 1, 1, 1)).exp()
    out = (rgb_BN3HW.clamp(min=1e-4).pow(gamma) * (gain + balance).exp()).clamp(0, 1)
    grey = out.mean(dim=2, keepdim=True)
    out = grey + (out - grey) * (1 + options.saturation * (2 * uniform(batch, 1, 1, 1, 1) - 1))
    radius = torch.linspace(-1, 1, width).square() + torch.linspace(-1, 1, height)[:, None].square()
    out = out * (1 - options.vignette * uniform(batch, 1, 1, 1, 1) * radius / 2)
    soft = F.avg_pool2d(F.pad(out.flatten(0, 1), (1, 1, 1, 1), mode="replicate"), 3, 1)
    chosen = (uniform(batch, 1, 1, 1, 1) < options.blur).float() * uniform(batch, 1, 1, 1, 1)
    out = out + chosen * (soft.view_as(out) - out)
    out = out + options.noise * uniform(batch, 1, 1, 1, 1) * normal(*out.shape)
    return out.clamp(0, 1)
