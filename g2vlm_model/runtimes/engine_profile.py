"""The window sizes that an engine serves: smallest, the one it is tuned for, largest.

A narrower range is compiled into a faster engine with less memory. Standard library only.
"""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass

__all__ = ["PROFILES", "Profile", "Size", "default_profile", "named_profile", "parse_size"]

Size = tuple[int, int, int]  # frames, height, width in pixels of the model's picture


@dataclass(frozen=True)
class Profile:
    """A range of window sizes, each (frames, height, width).

    Args:
        minimum, optimum, maximum: Ascending in each of the three numbers.
    """

    minimum: Size
    optimum: Size
    maximum: Size

    def __post_init__(self) -> None:
        for what, *values in zip(
            ("frames", "height", "width"), self.minimum, self.optimum, self.maximum, strict=True
        ):
            if not 1 <= values[0] <= values[1] <= values[2]:
                raise ValueError(
                    f"{what} of the profile are {values}, expected smallest <= tuned for <= "
                    "largest, each at least 1"
                )

    @property
    def is_static(self) -> bool:
        """Whether one size is served only."""
        return self.minimum == self.maximum

    def covers(self, size: Size) -> bool:
        """Whether windows of this size can be run."""
        ranges = zip(self.minimum, size, self.maximum, strict=True)
        return all(low <= value <= high for low, value, high in ranges)

    def require(self, size: Size) -> None:
        """Refuse a window that the engine cannot run.

        Raises:
            ValueError: The profile excludes it; the text says which to build.
        """
        if not self.covers(size):
            low = ",".join(str(min(pair)) for pair in zip(size, self.minimum, strict=True))
            high = ",".join(str(max(pair)) for pair in zip(size, self.maximum, strict=True))
            raise ValueError(
                f"the window is {_shown(size)} (frames x height x width), the engine was built "
                f"for {_shown(self.minimum)} to {_shown(self.maximum)}; use another window, or "
                "build for it: g2vlm export tensorrt --profile custom "
                f"--min {low} --opt {','.join(map(str, size))} --max {high}"
            )

    def __str__(self) -> str:
        return "..".join(_shown(size) for size in (self.minimum, self.optimum, self.maximum))


@dataclass(frozen=True)
class _Named:
    """Frames, and height over width, of a profile that fits every model."""

    frames: Size
    shapes: tuple[float, float, float]


PROFILES = {
    # Cameras are 16:9 to 4:3 (with a rig's 2:1 below); memory is short.
    "jetson": _Named(frames=(1, 4, 8), shapes=(1 / 2, 3 / 4, 3 / 4)),
    # Up to the longest window that a runtime takes, up to square pictures.
    "desktop": _Named(frames=(1, 8, 24), shapes=(1 / 2, 3 / 4, 1.0)),
}


def named_profile(name: str, width: int, patch: int) -> Profile:
    """A profile of `PROFILES` in the sizes of a model.

    Args:
        name: "jetson" or "desktop".
        width: Of the model's picture in pixels, the same for all windows.
        patch: Side of a patch: heights are multiples of it.

    Raises:
        ValueError: No such profile.
    """
    if name not in PROFILES:
        raise ValueError(f"profile is {name!r}, expected custom or one of {sorted(PROFILES)}")
    named = PROFILES[name]
    heights = [max(1, round(width * shape / patch)) * patch for shape in named.shapes]
    sizes = [(frames, height, width) for frames, height in zip(named.frames, heights, strict=True)]
    return Profile(*sizes)


def default_profile() -> str:
    """The profile of the machine that this runs on: a Jetson is the one with an Arm CPU."""
    return "jetson" if platform.machine() == "aarch64" else "desktop"


def parse_size(text: str) -> Size:
    """Read "frames,height,width", as the command line takes it.

    Raises:
        ValueError: Not three whole numbers from 1.
    """
    match = re.fullmatch(r"\s*([1-9]\d*)\s*,\s*([1-9]\d*)\s*,\s*([1-9]\d*)\s*", text)
    if match is None:
        raise ValueError(f"size is {text!r}, expected frames,height,width such as 4,392,518")
    return int(match[1]), int(match[2]), int(match[3])


def _shown(size: Size) -> str:
    return "x".join(map(str, size))
