"""The geometric forward can be traced once for all window and picture sizes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

from g2vlm_model.model import G2VLM

from .tiny import random_pixels, tiny_config, tiny_model


class GeometricForward(nn.Module):
    """Pictures to what the heads say: the part in which nothing needs an SVD."""

    def __init__(self, model: G2VLM) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels_BN3HW: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        patch = self.model.config.patch_size
        grid = (pixels_BN3HW.shape[-2] // patch, pixels_BN3HW.shape[-1] // patch)
        tokens = self.model.encode_geometry(pixels_BN3HW)
        hidden = self.model.geometry_pass(tokens, grid, start_position=3).hidden_BNPD
        out = self.model.heads(hidden, grid, pixels_BN3HW=pixels_BN3HW)
        return out.local_points, out.rotation9, out.translation, out.confidence_logits


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "options",
    [
        {"geometry_attention": "global"},
        {"geometry_attention": "mixed"},
        {"conv_stem": 8, "match_width": 8, "point_refine": 8, "ray_prior_fov_deg": 65.0},
    ],
)
def test_one_graph_serves_all_sizes(options: dict[str, object]) -> None:
    forward = GeometricForward(tiny_model(tiny_config(**options))).eval()
    rows, columns = Dim("rows", min=1, max=64), Dim("columns", min=1, max=64)
    sizes = {1: Dim("frames", min=2, max=32), 3: 14 * rows, 4: 14 * columns}
    with torch.no_grad():
        graph = torch.export.export(
            forward, (random_pixels(1, 2, 3, 28, 42),), dynamic_shapes=(sizes,), strict=False
        ).module()
        for shape in ((1, 3, 3, 42, 70), (1, 2, 3, 56, 28)):
            pixels = random_pixels(*shape)
            for got, want in zip(graph(pixels), forward(pixels), strict=True):
                error = (got - want).abs() / want.abs().amax()
                assert error.max() < 1e-5, f"{shape}: max {error.max():.2e} of the largest value"
