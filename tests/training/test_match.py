# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Match injection and its supervision."""

from __future__ import annotations

import pytest
import torch
from g2vlm_training.stages.correspondence import cell_tracks, correspondence_loss, match_error

from g2vlm_model.extras.match import CELLS_PER_SIDE, Cells, MatchInjection, cell_centres, pair_cues
from tests.training.tiny import random_pixels, tiny_model

GRID = (3, 4)


def test_one_frame_gets_no_message() -> None:
    inject = MatchInjection(32, 16)
    messages = inject(torch.randn(2, 1, 12, 32), GRID)
    assert float(messages.early_BNPD.abs().max()) == 0.0
    assert messages.late_BNPD.shape == (2, 1, 12, 32)


def test_cells_are_in_row_order_and_displacements_in_patches() -> None:
    """Descriptors that shift by one patch to the right must be found one patch to the right."""
    torch.manual_seed(0)
    rows, columns = (size * CELLS_PER_SIDE for size in GRID)
    field = torch.nn.functional.normalize(torch.randn(rows, columns + 2, 64), dim=-1)
    first, second = field[:, 2:], field[:, :-2]  # cell (y, x) of `first` is (y, x + 2) of `second`
    both = torch.stack((first, second)).flatten(1, 2)[None]
    cues = pair_cues(both[:, :1], both[:, 1:], Cells.of(GRID, both), GRID)
    per_cell = cues[0, 0].unflatten(-1, (4, 4))
    left_patches = torch.arange(12) % GRID[1] < GRID[1] - 1
    assert torch.allclose(per_cell[left_patches][..., 0], torch.ones(()), atol=0.05)
    assert torch.allclose(per_cell[left_patches][..., 1], torch.zeros(()), atol=0.05)
    assert bool((per_cell[left_patches][..., 3] == 1).all())


def test_messages_follow_the_frames() -> None:
    model = tiny_model()
    assert model.match is not None
    tokens = model.encode_geometry(random_pixels(3))
    order = [2, 0, 1]
    forward = model.match(tokens, GRID).early_BNPD
    shuffled = model.match(tokens[:, order], GRID).early_BNPD
    assert torch.allclose(forward[:, order], shuffled, atol=1e-5)


@pytest.mark.parametrize("grid", [GRID, (1, 1), (2, 7)])
def test_cues_are_those_of_a_search_over_all_cells(grid: tuple[int, int]) -> None:
    """The 3 x 3 neighbourhood is a softmax over all cells with the others masked out."""
    count = grid[0] * grid[1] * CELLS_PER_SIDE**2
    random = torch.Generator().manual_seed(1)
    both = torch.randn(1, 2, count, 8, dtype=torch.float64, generator=random)
    both = torch.nn.functional.normalize(both, dim=-1)
    centres = cell_centres(grid).double()
    near = (centres[:, None] - centres).abs().amax(dim=-1) < 1.5 / CELLS_PER_SIDE
    similar = both[0, 0] @ both[0, 1].T / 0.07
    best = similar.argmax(dim=1)
    place = similar.masked_fill(~near[best], float("-inf")).softmax(dim=1) @ centres
    mutual = near[similar.argmax(dim=0)[best], torch.arange(count)].double()
    chance = similar.softmax(dim=1).amax(dim=1)
    expected = torch.cat((place - centres, chance[:, None], mutual[:, None]), dim=1)
    rows = pair_cues(both[:, :1], both[:, 1:], Cells.of(grid, both), grid)[0, 0]
    side = CELLS_PER_SIDE
    by_row = rows.unflatten(0, grid).unflatten(-1, (side, side, 4)).transpose(1, 2)
    torch.testing.assert_close(by_row.flatten(0, 3), expected, rtol=0, atol=1e-12)


def test_descriptor_layout_matches_cell_centres() -> None:
    centres = cell_centres(GRID)
    assert centres.shape == (48, 2)
    assert centres[1].tolist() == [0.75, 0.25]
    assert centres[8].tolist() == [0.25, 0.75]


def test_tracks_of_a_camera_that_moves_sideways() -> None:
    """A fronto-parallel wall at depth 2, focal 56: 0.25 m to the right moves it by 7 px."""
    depth = torch.full((1, 2, 42, 56), 2.0)
    poses = torch.eye(4).repeat(1, 2, 1, 1)
    poses[0, 1, 0, 3] = 0.25
    K = torch.tensor([[[56.0, 0, 27.5], [0, 56.0, 20.5], [0, 0, 1.0]]])
    tracks = cell_tracks(depth, poses, K, 7)
    y, x = torch.meshgrid(torch.arange(6), torch.arange(8), indexing="ij")
    here = torch.stack((x, y), dim=-1).flatten(0, 1) + 0.5
    moved = tracks.place_BNNQ2[0, 0, 1] - here
    assert torch.allclose(moved, torch.tensor([-1.0, 0.0]).expand_as(moved), atol=1e-4)
    assert bool((tracks.visible_BNNQ[0, 0, 1] == (x.flatten() > 0)).all())
    assert not bool(tracks.visible_BNNQ[0, 0, 0].any())


def test_hidden_points_are_not_visible() -> None:
    depth = torch.full((1, 2, 42, 56), 2.0)
    depth[0, 1, :, 28:] = 1.0
    poses = torch.eye(4).repeat(1, 2, 1, 1)
    K = torch.tensor([[[56.0, 0, 27.5], [0, 56.0, 20.5], [0, 0, 1.0]]])
    visible = cell_tracks(depth, poses, K, 7).visible_BNNQ[0, 0, 1].view(6, 8)
    assert bool(visible[:, :4].all())
    assert not bool(visible[:, 4:].any())


def test_loss_is_small_for_true_descriptors_and_large_for_others() -> None:
    depth = torch.full((1, 2, 42, 56), 2.0)
    poses = torch.eye(4).repeat(1, 2, 1, 1)
    poses[0, 1, 0, 3] = 0.25
    K = torch.tensor([[[56.0, 0, 27.5], [0, 56.0, 20.5], [0, 0, 1.0]]])
    tracks = cell_tracks(depth, poses, K, 7)
    torch.manual_seed(0)
    field = torch.nn.functional.normalize(torch.randn(6, 9, 64), dim=-1)
    # Cell x of the first frame is cell x - 1 of the second.
    true = torch.stack((field[:, :8], field[:, 1:])).flatten(1, 2)[None]
    still = torch.stack((field[:, :8], field[:, :8])).flatten(1, 2)[None]
    assert float(correspondence_loss(true, tracks, (6, 8))) < 0.1
    assert float(correspondence_loss(still, tracks, (6, 8))) > 3.0
    assert float(match_error(true, tracks, (6, 8)).max()) < 1e-3
    assert float(match_error(still, tracks, (6, 8)).min()) > 0.9


def test_isolated_geometry_does_not_see_the_text_or_the_marks() -> None:
    from g2vlm_model.cache import GrowingCache

    for isolate in (True, False):
        model = tiny_model(isolate_geometry=isolate)
        tokens = model.encode_geometry(random_pixels(2))
        outputs = []
        for ids in ([7, 8, 9], [20, 21, 22]):
            cache = GrowingCache()
            model.prefill_text(torch.tensor([ids]), cache)
            outputs.append(model.geometry_pass(tokens, GRID, cache=cache).hidden_BNPD)
        difference = float((outputs[0] - outputs[1]).abs().max())
        assert (difference < 1e-5) == isolate, difference
