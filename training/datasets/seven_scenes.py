"""Posed RGB-D folders in the layout of 7-Scenes, for evaluation.

`frame-NNNNNN.color.png|jpg`, `.depth.png` (uint16 millimetres, 0 and 65535 no reading),
`.pose.txt` (4x4 camera-to-world, metres), and `camera-intrinsics.txt` (3x3) where present.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from g2vlm_model.config import ModelConfig
from g2vlm_model.preprocess import geometric_size, resize_geometric, scaled_intrinsics

from ..batch import WindowBatch

__all__ = ["SevenScenes"]

_DEFAULT_K = np.array([[585.0, 0, 320.0], [0, 585.0, 240.0], [0, 0, 1.0]])
_NO_READING = 65535


@dataclass(frozen=True)
class SevenScenes:
    """One sequence.

    Args:
        root: Folder of the frames.

    Raises:
        FileNotFoundError: No frame, or a part of one is missing.
    """

    root: Path

    def __post_init__(self) -> None:
        if not self.names:
            raise FileNotFoundError(f"{self.root} holds no frame-NNNNNN.pose.txt")

    @property
    def names(self) -> list[str]:
        """Frame names in order, e.g. "frame-000012"."""
        return sorted(path.name[: -len(".pose.txt")] for path in self.root.glob("frame-*.pose.txt"))

    def window(self, names: list[str], config: ModelConfig) -> WindowBatch:
        """Read frames in the model's size; depth by nearest pixel.

        Raises:
            FileNotFoundError: A picture or depth map is missing.
            ValueError: A pose that is no 4x4 matrix of numbers.
        """
        pictures = [np.asarray(Image.open(self._colour(name)).convert("RGB")) for name in names]
        first = pictures[0].shape[:2]
        size = geometric_size(config, *first)
        rgb = np.stack([resize_geometric(picture, size) for picture in pictures])
        K = scaled_intrinsics(self._intrinsics(), first, size)
        return WindowBatch(
            rgb_BN3HW=torch.from_numpy(rgb).permute(0, 3, 1, 2)[None].float() / 255,
            depth_BNHW=torch.stack([self._depth(name, size) for name in names])[None],
            object_id_BNHW=torch.zeros(1, len(names), *size, dtype=torch.uint8),
            T_world_cam_BN44=torch.stack([self._pose(name) for name in names])[None],
            K_BN33=torch.from_numpy(K).float().expand(1, len(names), 3, 3),
            scenes=(None,),
        )

    def _colour(self, name: str) -> Path:
        for ending in ("png", "jpg"):
            path = self.root / f"{name}.color.{ending}"
            if path.is_file():
                return path
        raise FileNotFoundError(f"{self.root} has no {name}.color.png or .jpg")

    def _depth(self, name: str, size: tuple[int, int]) -> torch.Tensor:
        path = self.root / f"{name}.depth.png"
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing")
        raw = np.asarray(Image.open(path)).astype(np.float32)
        raw[raw >= _NO_READING] = 0.0
        rows = ((np.arange(size[0]) + 0.5) * raw.shape[0] / size[0]).astype(int)
        columns = ((np.arange(size[1]) + 0.5) * raw.shape[1] / size[1]).astype(int)
        return torch.from_numpy(raw[rows][:, columns] / 1000.0)

    def _pose(self, name: str) -> torch.Tensor:
        path = self.root / f"{name}.pose.txt"
        pose = np.loadtxt(path)
        if pose.shape != (4, 4) or not np.isfinite(pose).all():
            raise ValueError(f"{path} holds {pose.shape} numbers, expected a finite 4x4 matrix")
        return torch.from_numpy(pose).float()

    def _intrinsics(self) -> NDArray[np.float64]:
        path = self.root / "camera-intrinsics.txt"
        if not path.is_file():
            return _DEFAULT_K
        K = np.loadtxt(path)
        if K.shape != (3, 3) or not np.isfinite(K).all():
            raise ValueError(f"{path} holds {K.shape} numbers, expected a finite 3x3 matrix")
        return np.asarray(K, np.float64)
