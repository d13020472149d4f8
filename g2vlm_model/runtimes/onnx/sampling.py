"""Chooses tokens from logits with numpy.

Shape letter: V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["NumpySampler", "TokenStep"]


@dataclass(frozen=True)
class TokenStep:
    """One decoded token.

    Args:
        token: Its id.
        log_probability: Natural logarithm of its probability at temperature 1.
        logits_V: What it was chosen from.
    """

    token: int
    log_probability: float
    logits_V: NDArray[np.float32]


class NumpySampler:
    """As `generate.Sampler`; greedy choices are the same, samples are not.

    Args:
        temperature: 0 takes the most probable token; above, one is drawn from
            softmax(logits / temperature).
        seed: The same seed draws the same tokens, on any device. They come from numpy's
            generator: torch draws others from the same seed.
    """

    def __init__(self, temperature: float = 0.0, seed: int = 0) -> None:
        self._temperature = temperature
        # Any integer is a seed, as with torch; numpy itself refuses negative ones.
        self._random = np.random.default_rng(seed % 2**64)

    def __call__(self, logits_V: NDArray[np.float32]) -> TokenStep:
        """Choose from logits (V,)."""
        shifted_V = logits_V.astype(np.float64) - logits_V.max()
        log_total = np.log(np.exp(shifted_V).sum())
        if self._temperature == 0:
            token = int(logits_V.argmax())
        else:
            bounds_V = np.exp(shifted_V / self._temperature).cumsum()
            drawn = self._random.random() * bounds_V[-1]
            token = min(int(np.searchsorted(bounds_V, drawn, side="right")), len(bounds_V) - 1)
        return TokenStep(token, float(shifted_V[token] - log_total), logits_V)
