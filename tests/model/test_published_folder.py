# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Generated folders of the published layout: names, ids, sizes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from g2vlm_model.checkpoint import model_on_meta
from g2vlm_model.checkpoint_keys import published_names
from g2vlm_model.config import ModelConfig, SpecialIds
from g2vlm_model.model_folder import weight_files
from g2vlm_model.safetensors_file import SafetensorsFile
from g2vlm_model.tokenizer import Tokenizer
from tests.helpers import REPO

sys.path.insert(0, str(REPO / "scripts"))

from write_published_folder import main, published_config, write_folder, write_tokenizer

SMALL = ("--twelfths", "1", "--layers", "2", "--vocabulary", "2048")


def test_without_options_it_is_the_published_model() -> None:
    assert published_config() == ModelConfig.g2vlm_2b()


def test_the_special_tokens_have_the_published_ids(tmp_path: Path) -> None:
    ids = write_tokenizer(tmp_path, 151_936)
    assert (ids.bos, ids.eos) == (151_644, 151_645)
    assert (ids.start_of_image, ids.end_of_image) == (151_652, 151_653)
    tokenizer = Tokenizer.from_folder(tmp_path)
    text = "How far is the chair at A? Où est-elle, 椅子?\n"
    assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize("twelfths", range(1, 13))
def test_every_width_is_a_model(twelfths: int) -> None:
    config = published_config(layers=1, twelfths=twelfths, vocabulary=600)
    names = dict(model_on_meta(config, SpecialIds(0, 1, 2, 3, 4)).named_parameters())
    assert config.text.hidden_size % config.heads.num_heads == 0
    assert names["heads.point_head.weight"].shape[1] == config.heads.point_dim


def test_a_tensor_does_not_depend_on_the_others(tmp_path: Path) -> None:
    config = published_config(layers=1, twelfths=1, vocabulary=600)
    for name, shards in (("one", 1), ("two", 2)):
        write_folder(tmp_path / name, config, dtype="fp32", shards=shards)
    found = []
    for name in ("one", "two"):
        tensors = {}
        for path in weight_files(tmp_path / name):
            with SafetensorsFile(path) as reader:
                for tensor, entry in reader.entries.items():
                    tensors[tensor] = reader.sample_bytes(entry.begin, entry.end)
        found.append(tensors)
    assert found[0] == found[1]
    names = dict(model_on_meta(config, SpecialIds(0, 1, 2, 3, 4)).named_parameters())
    assert set(found[0]) == set(published_names(names))
    assert len(set(found[0].values())) > 0.5 * len(found[0])  # but for norms, each is its own


def test_a_folder_that_holds_something_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").write_text("")
    monkeypatch.setattr(sys, "argv", ["write_published_folder.py", str(tmp_path), *SMALL])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert "is not empty" in capsys.readouterr().err
