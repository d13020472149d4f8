# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Memory for decoded frames that comes back by itself. Shape letters: H W pixels."""

from __future__ import annotations

import weakref
from collections import deque

import numpy as np
from numpy.typing import NDArray

__all__ = ["FramePool"]


class FramePool:
    """A bounded set of equal buffers for decoded frames, allocated once and reused.

    A slot is lent as an array. It comes back by itself when the last reference to that array
    (the frame, the window, a scene that keeps it, a view into it) is gone, so nobody has to
    remember to return it and nobody can overwrite a frame that is still in use.

    Args:
        slots: Number of frames that can be alive at once, at least 1.
        max_bytes: Of all of them; where they are large, fewer can be alive.
    """

    def __init__(self, slots: int, max_bytes: int = 2**62) -> None:
        assert slots >= 1, slots
        self._slots = slots
        self._max_bytes = max_bytes
        self._shape = (0, 0)
        self._free: deque[NDArray[np.uint8]] = deque()
        self._made = 0

    @property
    def nbytes(self) -> int:
        """Bytes of all buffers of the present size."""
        return self._made * self._shape[0] * self._shape[1] * 3

    def take(self, height: int, width: int) -> NDArray[np.uint8] | None:
        """Lend a buffer.

        A new size drops the old buffers; those still in use live on until released.

        Returns:
            (H, W, 3) uint8 C-contiguous with old content, or None when all slots are in use.
        """
        if (height, width) != self._shape:
            self._shape = (height, width)
            self._free = deque()
            self._made = 0
        if self._free:
            owner = self._free.popleft()
        elif self._made < min(self._slots, self._max_bytes // (height * width * 3)):
            owner = np.empty(height * width * 3, np.uint8)
            self._made += 1
        else:
            return None
        # The memoryview between owner and loan stops NumPy from shortening the chain of
        # bases, so every view of the loan keeps `loan` alive and not only `owner`.
        loan = np.frombuffer(owner.data, np.uint8)
        weakref.finalize(loan, self._free.append, owner).atexit = False
        return loan.reshape(height, width, 3)
