# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What a real camera does to a picture: shutter, white balance, vignette, noise, JPEG.

The order is that of the light: motion blur while the shutter is open, falloff of the lens,
exposure and colour of the sensor, its noise, the tone curve, the file.
Letters: N frames, H W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from .render import RenderedFrames

__all__ = ["CameraModel", "draw_camera", "photograph"]

_TAPS = 5  # moments of an open shutter
_LONGEST_BLUR = 0.03  # of the picture's width: what automatic exposure lets happen
_FULL_WELL = 4000.0  # electrons of white: sets the shot noise of a small sensor


@dataclass(frozen=True)
class CameraModel:
    """One camera and its settings; the defaults leave pictures as they are.

    Args:
        shutter: Share of the time between frames that the shutter is open.
        vignette: Loss of light in the corners, 0 to 1.
        exposure: Gain on linear light.
        flicker: Deviation of the log gain from frame to frame.
        white_balance: Gains of red, green and blue.
        gain: Sensor gain: multiplies shot noise and read noise; 0 is no noise.
        saturation: 1 leaves colours, 0 is grey.
        contrast: Exponent on the encoded picture about its middle grey.
        sharpness: Share of an unsharp mask, as phones apply.
        jpeg_quality: 1 to 100, or None.

    Raises:
        ValueError: A share outside of 0..1, or a quality outside of 1..100.
    """

    shutter: float = 0.0
    vignette: float = 0.0
    exposure: float = 1.0
    flicker: float = 0.0
    white_balance: tuple[float, float, float] = (1.0, 1.0, 1.0)
    gain: float = 0.0
    saturation: float = 1.0
    contrast: float = 1.0
    sharpness: float = 0.0
    jpeg_quality: int | None = None

    def __post_init__(self) -> None:
        for name in ("shutter", "vignette"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} is {getattr(self, name)}, expected 0..1")
        if self.jpeg_quality is not None and not 1 <= self.jpeg_quality <= 100:
            raise ValueError(f"jpeg_quality is {self.jpeg_quality}, expected 1..100 or None")


def draw_camera(rng: np.random.Generator) -> CameraModel:
    """Draw a camera: most are decent, some are dark, noisy, badly balanced or compressed."""
    warm, tint = rng.normal(0, 0.07), rng.normal(0, 0.025)
    return CameraModel(
        shutter=float(rng.uniform(0.0, 0.5)) if rng.random() < 0.6 else 0.0,
        vignette=float(rng.beta(1.5, 4.0)) * 0.6,
        exposure=float(np.exp(rng.normal(0, 0.22))),
        flicker=float(rng.uniform(0, 0.05)),
        white_balance=(float(np.exp(warm)), float(np.exp(tint)), float(np.exp(-warm))),
        gain=float(np.exp(rng.uniform(-2.0, 1.5))) if rng.random() < 0.8 else 0.0,
        saturation=float(rng.uniform(0.55, 1.15)),
        contrast=float(np.exp(rng.normal(0, 0.12))),
        sharpness=float(rng.uniform(0, 0.6)) if rng.random() < 0.4 else 0.0,
        jpeg_quality=int(rng.integers(45, 96)) if rng.random() < 0.7 else None,
    )


def photograph(
    frames: RenderedFrames, camera: CameraModel, rng: np.random.Generator
) -> RenderedFrames:
    """The same frames as a camera would have taken them; only `rgb` changes.

    Args:
        frames: From `render`.
        camera: Its model.
        rng: Source of the noise.
    """
    pictures = []
    count, height, width = frames.depth.shape
    y, x = np.mgrid[:height, :width]
    radius = np.hypot(x - frames.K[0, 2], y - frames.K[1, 2]) / np.hypot(height / 2, width / 2)
    falloff = 1.0 - camera.vignette * np.minimum(radius, 1.2)[..., None] ** 2
    balance = np.array(camera.white_balance)
    for index in range(count):
        light = _decode(frames.rgb[index])
        if camera.shutter > 0 and count > 1:
            light = _smear(light, _flow(frames, index) * camera.shutter)
        exposure = camera.exposure * np.exp(rng.normal(0, 1) * camera.flicker)
        light = light * falloff * balance * exposure
        if camera.gain > 0:
            noise = rng.normal(size=light.shape)
            variance = light * camera.gain / _FULL_WELL + (0.0015 * camera.gain) ** 2
            light = light + noise * np.sqrt(variance)
        pictures.append(_develop(light, camera))
    return replace(frames, rgb=np.stack(pictures))


def _decode(rgb: NDArray[np.uint8]) -> NDArray[np.float64]:
    """SRGB bytes to linear light."""
    encoded = np.arange(256) / 255.0
    table = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    light: NDArray[np.float64] = table[rgb]
    return light


def _develop(light: NDArray[np.float64], camera: CameraModel) -> NDArray[np.uint8]:
    """Linear light to the bytes that come out of the file."""
    grey = light @ (0.2126, 0.7152, 0.0722)
    light = np.clip(grey[..., None] + camera.saturation * (light - grey[..., None]), 0, None)
    light = np.where(light > 0.8, 0.8 + 0.2 * np.tanh((light - 0.8) / 0.2), light)
    encoded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    encoded = 0.5 + (encoded - 0.5) * camera.contrast
    if camera.sharpness > 0:
        encoded += camera.sharpness * (encoded - cv2.blur(encoded, (3, 3)))
    picture: NDArray[np.uint8] = np.rint(np.clip(encoded, 0, 1) * 255).astype(np.uint8)
    if camera.jpeg_quality is None:
        return picture
    settings = [cv2.IMWRITE_JPEG_QUALITY, camera.jpeg_quality]
    _, file = cv2.imencode(".jpg", picture[..., ::-1], settings)
    decoded = cv2.imdecode(file, cv2.IMREAD_COLOR)
    assert decoded is not None, "a file that was just encoded decodes"
    return np.ascontiguousarray(decoded[..., ::-1], dtype=np.uint8)


def _flow(frames: RenderedFrames, index: int) -> NDArray[np.float64]:
    """(H, W, 2) pixels that surfaces move until the next frame (the last: since the one before).

    The sky moves with the rotation alone.
    """
    count, height, width = frames.depth.shape
    other, sign = (index + 1, 1.0) if index + 1 < count else (index - 1, -1.0)
    T_other_cam = np.linalg.inv(frames.T_world_cam[other]) @ frames.T_world_cam[index]
    y, x = np.mgrid[:height, :width].astype(np.float64)
    K = frames.K
    z = np.where(frames.depth[index] > 0, frames.depth[index], 1e4).astype(np.float64)
    local = np.stack([(x - K[0, 2]) / K[0, 0] * z, (y - K[1, 2]) / K[1, 1] * z, z], axis=-1)
    moved = local @ T_other_cam[:3, :3].T + T_other_cam[:3, 3]
    uv = moved @ K.T
    flow = uv[..., :2] / np.maximum(uv[..., 2:], 0.05) - np.stack([x, y], axis=-1)
    scaled: NDArray[np.float64] = sign * flow
    return scaled


def _smear(light: NDArray[np.float64], flow_HW2: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of the picture moved along the flow, no further than the longest blur."""
    height, width = light.shape[:2]
    length = float(np.quantile(np.hypot(flow_HW2[..., 0], flow_HW2[..., 1]), 0.9))
    share = min(1.0, _LONGEST_BLUR * width / max(length, 1e-6))
    flow = np.clip(flow_HW2 * share, -0.1 * width, 0.1 * width).astype(np.float32)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    source = light.astype(np.float32)
    total = np.zeros_like(light)
    for moment in np.linspace(-0.5, 0.5, _TAPS):
        at_x, at_y = x + moment * flow[..., 0], y + moment * flow[..., 1]
        total += cv2.remap(
            source, at_x.astype(np.float32), at_y.astype(np.float32), cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip
    return total / _TAPS
