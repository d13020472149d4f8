# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Matches in queries and keys: the equations on made-up layers, and the command on real ones."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from g2vlm_training.analyse_cli import main
from g2vlm_training.datasets.base import Clip
from g2vlm_training.datasets.batch import WindowBatch, batch_of
from g2vlm_training.datasets.mixture import ClipPool
from g2vlm_training.datasets.synthetic import ShardPlan, write_shards
from g2vlm_training.evaluate.correspondence import (
    SequenceMatches,
    correlation,
    match_sequence,
    query_key_matches,
    tracks_px,
)
from g2vlm_training.evaluate.correspondence_run import AnalysisOptions, planned_sequences
from g2vlm_training.evaluate.correspondence_summary import summarised
from g2vlm_training.gasp.gasp_heads import LanguageLayer
from g2vlm_training.gasp.gasp_readers import QwenReader
from g2vlm_training.gasp.gasp_tracks import lattice
from g2vlm_training.stages.tokens import nano_tokenizer
from torch import Tensor, nn

from g2vlm_model.checkpoint import save_model
from g2vlm_model.cli import main as g2vlm
from tests.helpers import shared_data
from tests.training.tiny import tiny_model
from tests.training.tiny_qwen import tiny_qwen

PLAN = ShardPlan(split="test", rooms=3, clips=1, frames=4, width=112, heights=(84,), smooth=0.0)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rooms")
    for _ in write_shards(folder, PLAN, 0, 1):
        pass
    return folder


@pytest.fixture(scope="module")
def clip(data: Path) -> Clip:
    return ClipPool(data, "test").clips[0].read(range(4))


def test_matches_are_those_of_the_equations() -> None:
    generator = torch.Generator().manual_seed(0)
    q = torch.randn(6, 4, 5, generator=generator)
    k = torch.randn(2, 6, 2, 5, generator=generator)
    own = torch.tensor([3, 0, 5])
    found = query_key_matches(q, k, own, (1, 6))
    for frame in range(2):
        for point, patch in enumerate(own.tolist()):
            similar, attention = [], []
            asked = q[patch]
            for other in range(6):
                key = torch.stack([k[frame, other, head // 2] for head in range(4)])
                cosine = (asked * key).sum() / (asked.norm() * key.norm())
                similar.append(float(cosine))
            for head in range(4):
                scores = k[frame, :, head // 2] @ asked[head] / math.sqrt(5)
                attention.append(scores.softmax(0))
            assert int(found.best_NQ[frame, point]) == int(np.argmax(similar))
            mean = torch.stack(attention).mean(0)
            assert float(found.confidence_NQ[frame, point]) == pytest.approx(float(mean.max()))
            best = int(found.best_NQ[frame, point])
            near = float(mean[max(0, best - 2) : best + 3].sum())
            assert float(found.nearby_NQ[frame, point]) == pytest.approx(near)


def test_nearby_is_a_disc_of_two_patches() -> None:
    """Equal attention everywhere: the share of 13 of 100 patches, and of 6 in a corner."""
    q, k = torch.zeros(100, 1, 2), torch.zeros(1, 100, 1, 2)
    for own, patches in ((44, 13), (0, 6)):
        q[own, 0, 0], k[0, own, 0, 0] = 1e-3, 1e-3
        found = query_key_matches(q, k, torch.tensor([own]), (10, 10))
        assert int(found.best_NQ) == own
        assert float(found.nearby_NQ) == pytest.approx(patches / 100, abs=1e-3)
        q.zero_()
        k.zero_()


def test_tracks_are_pixels_of_the_patches_middles() -> None:
    tracks = tracks_px(torch.tensor([0, 7]), torch.tensor([[5, 7]]), (2, 4), (20, 80))
    assert tracks.shape == (2, 2, 2)
    assert tracks.tolist() == [[[9.5, 4.5], [69.5, 14.5]], [[29.5, 14.5], [69.5, 14.5]]]


def test_correlation_is_pearsons() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.random(50)
    right = confidence + 0.3 * rng.standard_normal(50) > 0.5
    assert correlation(confidence, right) == pytest.approx(np.corrcoef(confidence, right)[0, 1])
    assert correlation(confidence, ~right) < -0.5
    assert math.isnan(correlation(confidence, np.ones(50, bool)))
    assert math.isnan(correlation(np.zeros(0), np.zeros(0, bool)))


class Told:
    """A reader whose one layer's queries and keys are given, on a grid of 12 x 16 patches."""

    def __init__(self, queries_NSC: Tensor, keys_NSC: Tensor) -> None:
        self._said = queries_NSC.flatten(0, 1), keys_NSC.flatten(0, 1)
        attention = nn.Module()
        attention.q_proj, attention.k_proj = nn.Identity(), nn.Identity()
        attention.head_dim = queries_NSC.shape[-1]  # type: ignore[assignment]
        self.layers: Sequence[LanguageLayer] = [
            LanguageLayer(0, "told", nn.Identity(), attention, nn.LayerNorm(1), attention)
        ]

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    def sized(self, clip: Clip) -> Clip:
        return clip

    def read(self, batch: WindowBatch) -> tuple[int, int]:
        for name, said in zip(("q_proj", "k_proj"), self._said, strict=True):
            getattr(self.layers[0].attention, name)(said[None])
        return 12, 16

    def images(self, said_BL: Tensor, frames: int) -> Tensor:
        said: Tensor = said_BL.unflatten(1, (frames, -1))
        return said


def places_of_patches(clip: Clip) -> Tensor:
    """(N, S, 3) world points at the middles of 12 x 16 patches."""
    batch = batch_of([clip])
    rows, columns = lattice(84, 12), lattice(112, 16)
    z = batch.depth_BNHW[0][:, rows][..., columns].flatten(1)
    v, u = torch.meshgrid(rows.float(), columns.float(), indexing="ij")
    pixel = torch.stack((u, v, torch.ones_like(u)), -1).flatten(0, 1)
    local = pixel @ torch.linalg.inv(batch.K_BN33[0]).mT * z[..., None]
    T = batch.T_world_cam_BN44[0]
    world: Tensor = local @ T[:, :3, :3].mT + T[:, None, :3, 3]
    return world


def test_layers_that_know_where_points_are_score_and_others_do_not(clip: Clip) -> None:
    """Keys and queries made of the true points find them; noise finds what chance does."""
    world = places_of_patches(clip)
    waves = torch.cat([f(s * world) for s in (1.0, 2.0, 4.0) for f in (torch.sin, torch.cos)], -1)
    knows = match_sequence(Told(waves, waves), clip, "knows")
    noise = torch.randn(waves.shape, generator=torch.Generator().manual_seed(0))
    guesses = match_sequence(Told(waves, noise), clip, "guesses")
    assert knows.visible_NQ.sum() > 50
    assert float(knows.pck_L()[0]) > 0.95
    chance = float(guesses.chance_NQ[guesses.visible_NQ].mean())
    assert 0.02 < chance < 0.1
    assert float(guesses.pck_L()[0]) < 4 * chance
    pooled = summarised("both", (1, 2, 3), [knows])
    assert pooled.pck[0].mean == pytest.approx(float(knows.pck_L()[0]))
    assert pooled.robustness[0].mean == 1


def _sequence(right: list[list[int]], visible: list[list[int]]) -> SequenceMatches:
    shape = np.array(right, bool)
    rising = np.linspace(0, 1, shape.size).reshape(1, *shape.shape)
    return SequenceMatches(
        "one", shape[None], rising, 1 - rising,
        np.array(visible, bool), np.full(shape.shape, 0.25), shape, (2, 2),
    )  # fmt: skip


def test_sequences_are_pooled_by_points_and_spread_over_sequences() -> None:
    one = _sequence([[1, 1, 1, 1], [1, 1, 0, 0]], [[1, 1, 1, 1], [1, 1, 1, 1]])
    other = _sequence([[1, 0, 0, 0], [0, 0, 0, 0]], [[1, 1, 0, 0], [0, 0, 0, 0]])
    found = summarised("m", (1, 24), [one, other])
    assert found.pck[0].mean == pytest.approx(7 / 10)
    assert found.pck[0].deviation == pytest.approx(0.125)
    assert [spread.mean for spread in found.gap_pck] == pytest.approx([5 / 6, 0.5])
    assert found.robustness[1].mean == pytest.approx(0.5 / (5 / 6))
    assert (found.points, found.sequences, found.chance) == (10, 2, 0.25)
    assert found.moved == 3, "still is right where the match is"
    assert found.moved_pck[0].mean == 0
    assert found.gap_still == pytest.approx((5 / 6, 0.5))
    assert found.correlation[0].mean < 0, "what is right stands first, where the highest is low"
    assert found.nearby_correlation[0].mean == pytest.approx(-found.correlation[0].mean)


def test_the_command_compares_models_of_both_kinds(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_model(tmp_path / "tiny", tiny_model(), nano_tokenizer(700))
    tiny_qwen().save_pretrained(tmp_path / "qwen")
    common = ["correspondence", "--root", str(data), "--gaps", "1", "3", "--points", "4"]
    folders = [str(tmp_path / "tiny"), str(tmp_path / "qwen")]
    arguments = [*common, "--models", *folders, "--side", "112", "--out", str(tmp_path / "out")]
    assert main(arguments) == 0
    assert "qwen: 3 sequences" in capsys.readouterr().out
    content = json.loads((tmp_path / "out" / "correspondence.json").read_text())
    first, second = content["models"]
    assert first["points"] == second["points"] > 0
    assert (len(first["pck"]), len(second["pck"])) == (2, 3)
    assert 0 <= first["chance"] <= 1
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 1
    assert "tiny" in page
    assert main([*common, "--models", folders[0], "--expert", "geometric", "--json"]) == 0
    geometric = json.loads(capsys.readouterr().out)["models"][0]
    assert geometric["grid_hw"] == [3, 4]


def test_real_frames_are_analysed() -> None:
    folder = shared_data()
    if folder is None or not (folder / "7scenes_redkitchen").is_dir():
        pytest.skip("needs the 7-Scenes kitchen in ../shared/data")
    arguments = ["correspondence", "--dataset", "7scenes", "--sequences", "2", "--gaps", "1", "2"]
    assert main([*arguments, "--root", str(folder / "7scenes_redkitchen")]) == 0


def test_bad_requests_say_what_to_do(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match=r"gaps is \(2, 1\), expected rising numbers"):
        AnalysisOptions(gaps=(2, 1))
    with pytest.raises(ValueError, match="points is 0"):
        AnalysisOptions(points=0)
    with pytest.raises(ValueError, match="a gap of 9 frames needs sequences of 10"):
        planned_sequences(ClipPool(data, "test").clips, AnalysisOptions(gaps=(1, 9)))
    words = ["analyse", "correspondence", "--root", str(data), "--gaps", "1"]
    assert g2vlm([*words, "--models", "nano", "nano"]) == 2
    assert "expected as many different names" in capsys.readouterr().err


def test_frames_that_share_nothing_are_refused(clip: Clip) -> None:
    model = tiny_qwen()
    blind = dataclasses.replace(clip, depth=np.zeros_like(clip.depth))
    with pytest.raises(ValueError, match="no point of its first frame is seen in a later one"):
        match_sequence(QwenReader(model, 112), blind, "blind")
