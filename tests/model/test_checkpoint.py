# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Model folders: exact round trips, and a clear refusal of every kind of bad file."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from g2vlm_model import checkpoint
from g2vlm_model.checkpoint_keys import published_names
from g2vlm_model.config import ModelConfig
from g2vlm_model.model import G2VLM
from g2vlm_model.model_folder import INDEX_FILE, WEIGHTS_FILE
from g2vlm_model.safetensors_file import SafetensorsFile, StoredWeight
from g2vlm_model.tokenizer import Tokenizer

from .tiny import tiny_config, tiny_model
from .tiny_tokenizer import train_tokenizer


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good model folder; tests copy it before they damage it."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    checkpoint.save_model(
        folder, tiny_model(), Tokenizer(train_tokenizer(280)), metadata={"note": "a test"}
    )
    return folder


@pytest.fixture
def copy(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "model"))


def weights(model: G2VLM) -> dict[str, torch.Tensor]:
    return dict(model.named_parameters())


def test_round_trip(saved: Path) -> None:
    model, tokenizer = checkpoint.load_model(saved)
    want = weights(tiny_model())
    assert weights(model).keys() == want.keys()
    for name, tensor in weights(model).items():
        assert torch.equal(tensor, want[name]), name
    assert not model.training
    assert model.config == tiny_config()
    assert model.special_ids == tokenizer.special_ids(model.config.tokens)
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_converts_while_loading(saved: Path, dtype: torch.dtype) -> None:
    model, _ = checkpoint.load_model(saved, dtype=dtype)
    want = weights(tiny_model())
    for name, tensor in weights(model).items():
        kept = dtype.itemsize < 4 and name.startswith(checkpoint.FLOAT32_PREFIXES)
        expected = want[name] if kept else want[name].to(dtype)
        assert tensor.dtype == expected.dtype, name
        assert torch.equal(tensor, expected), name


def test_half_precision_file_loads_as_float32(saved: Path, tmp_path: Path) -> None:
    model, tokenizer = checkpoint.load_model(saved)
    checkpoint.save_model(tmp_path / "half", model, tokenizer, dtype=torch.float16)
    assert (tmp_path / "half" / WEIGHTS_FILE).stat().st_size < 0.6 * (
        saved / WEIGHTS_FILE
    ).stat().st_size
    again, _ = checkpoint.load_model(tmp_path / "half")
    for name, tensor in weights(again).items():
        assert torch.equal(tensor, weights(model)[name].half().float()), name


def shard(folder: Path) -> list[Path]:
    """Split a folder's weights over two files with an index."""
    tensors = load_file(str(folder / WEIGHTS_FILE))
    names = sorted(tensors)
    files = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    weight_map = {name: files[index % 2] for index, name in enumerate(names)}
    for file in files:
        part = {name: tensors[name] for name in names if weight_map[name] == file}
        save_file(part, str(folder / file))
    (folder / WEIGHTS_FILE).unlink()
    (folder / INDEX_FILE).write_text(json.dumps({"weight_map": weight_map}))
    return [folder / file for file in files]


def test_sharded_folder(copy: Path) -> None:
    shards = shard(copy)
    model, _ = checkpoint.load_model(copy)
    want = weights(tiny_model())
    for name, tensor in weights(model).items():
        assert torch.equal(tensor, want[name]), name
    shards[1].unlink()
    with pytest.raises(FileNotFoundError, match=f"{shards[1].name} is missing"):
        checkpoint.load_model(copy)


def test_index_stays_in_its_folder(copy: Path) -> None:
    shard(copy)
    (copy / INDEX_FILE).write_text(json.dumps({"weight_map": {"a": "../x.safetensors"}}))
    with pytest.raises(ValueError, match="is not in its folder"):
        checkpoint.load_model(copy)


def rewrite(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    tensors = load_file(str(folder / WEIGHTS_FILE))
    change(tensors)
    save_file(tensors, str(folder / WEIGHTS_FILE))


def test_missing_unexpected_and_wrong_tensors_are_all_named(copy: Path) -> None:
    def damage(tensors: dict[str, torch.Tensor]) -> None:
        del tensors["dino2llm.bias"]
        tensors["point_head.proj.bias"] = torch.zeros(7)
        tensors["stranger.weight"] = torch.zeros(1)

    rewrite(copy, damage)
    with pytest.raises(ValueError, match="does not fit its config files") as caught:
        checkpoint.load_model(copy)
    text = str(caught.value)
    assert str(copy / WEIGHTS_FILE) in text
    assert "missing dino2llm.bias" in text
    assert "point_head.proj.bias is [7], the configs say [588]" in text
    assert f"unexpected stranger.weight in {WEIGHTS_FILE}" in text


@pytest.mark.parametrize(
    ("number", "dtype"),
    [
        (float("nan"), torch.float32),
        (float("-inf"), torch.float32),
        (1e38, torch.float16),  # finite in the file, infinite in the model
    ],
)
def test_weights_that_are_no_numbers(copy: Path, number: float, dtype: torch.dtype) -> None:
    def damage(tensors: dict[str, torch.Tensor]) -> None:
        tensors["dino2llm.bias"][3] = number

    rewrite(copy, damage)
    with pytest.raises(ValueError, match=r"in dino2llm\.bias, expected finite numbers that float"):
        checkpoint.load_model(copy, dtype=dtype)


def test_rows_that_are_no_numbers_are_found_while_they_are_rounded(copy: Path) -> None:
    def damage(tensors: dict[str, torch.Tensor]) -> None:
        tensors["language_model.lm_head.weight"][-1, 3] = float("nan")

    rewrite(copy, damage)
    with pytest.raises(ValueError, match=r"in language_model\.lm_head\.weight, expected finite"):
        checkpoint.load_model(copy, quantise="int8")


def test_rows_of_a_stored_weight_and_a_number_alone(tmp_path: Path) -> None:
    held = {"rows": torch.arange(12.0).view(4, 3), "one": torch.tensor(7.0)}
    save_file(held, tmp_path / "model.safetensors")
    with SafetensorsFile(tmp_path / "model.safetensors") as reader:
        rows = StoredWeight("rows", reader, "rows").read(torch.float32, rows=slice(1, 3))
        assert torch.equal(rows, held["rows"][1:3])
        assert StoredWeight("one", reader, "one").read(torch.float32) == 7.0


@pytest.mark.skipif(sys.platform != "linux", reason="pages are counted the Linux way")
def test_no_page_of_a_file_stays_behind_what_was_read(tmp_path: Path) -> None:
    """Thousands of pieces would leave a hundred megabytes of them in the process."""
    path = tmp_path / "model.safetensors"
    save_file({f"rows{i}": torch.ones(512, 512) for i in range(16)}, path)

    def held_kb() -> int:
        found = Path("/proc/self/smaps").read_text().partition(str(path))[2]
        return int(re.search(r"\nRss:\s*(\d+) kB", found)[1])  # type: ignore[index]

    with SafetensorsFile(path) as reader:
        for name in reader.entries:
            StoredWeight(name, reader, name).read(torch.float32, rows=slice(3, 500))
            assert held_kb() == 0
        tensor = reader.mapped("rows3")
        assert held_kb() == 0
        assert float(tensor.sum()) == 512 * 512
        assert held_kb() >= 1024


def test_long_lists_are_cut(copy: Path) -> None:
    save_file({"x": torch.zeros(1)}, str(copy / WEIGHTS_FILE))
    with pytest.raises(ValueError, match=r"and \d+ more"):
        checkpoint.load_model(copy)


def cut(path: Path, size: int) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:size] if size >= 0 else content[: len(content) + size])


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (-100, "is cut off: .* ends at byte"),
        (500, "within its header"),
        (3, "is cut off"),
        (0, "is cut off"),
    ],
)
def test_cut_off_file(copy: Path, size: int, message: str) -> None:
    cut(copy / WEIGHTS_FILE, size)
    with pytest.raises(ValueError, match=message) as caught:
        checkpoint.load_model(copy)
    assert WEIGHTS_FILE in str(caught.value)
    assert "download or write it again" in str(caught.value)


def test_pickle_by_another_name(copy: Path) -> None:
    torch.save({"a": torch.zeros(3)}, copy / WEIGHTS_FILE)
    with pytest.raises(ValueError, match="is no safetensors file"):
        checkpoint.load_model(copy)


def test_damaged_header(copy: Path) -> None:
    content = bytearray((copy / WEIGHTS_FILE).read_bytes())
    content[8:40] = b"\xff" * 32
    (copy / WEIGHTS_FILE).write_bytes(content)
    with pytest.raises(ValueError, match="has a damaged header"):
        checkpoint.load_model(copy)


def test_any_damage_to_the_header_is_a_value_error(copy: Path) -> None:
    """300 random changes of up to four header bytes, the length included."""
    good = (copy / WEIGHTS_FILE).read_bytes()
    end = 8 + int.from_bytes(good[:8], "little")
    random = np.random.default_rng(7)
    messages: list[str] = []
    for _ in range(300):
        content = bytearray(good)
        for place in random.integers(0, end, random.integers(1, 5)):
            content[place] = random.integers(0, 256)
        (copy / WEIGHTS_FILE).write_bytes(content)
        try:
            with SafetensorsFile(copy / WEIGHTS_FILE) as reader:
                assert reader.entries
        except ValueError as error:
            messages.append(str(error))
    assert len(messages) > 100
    assert all(WEIGHTS_FILE in message for message in messages)


@pytest.mark.parametrize("header", [b"[]", b"3", b"null", b'{"a": 1}', b'{"a": {"dtype": "F32"}}'])
def test_header_of_another_kind(tmp_path: Path, header: bytes) -> None:
    (tmp_path / WEIGHTS_FILE).write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(ValueError, match="has a damaged header"):
        SafetensorsFile(tmp_path / WEIGHTS_FILE)


def test_integer_weights(copy: Path) -> None:
    def quantise(tensors: dict[str, torch.Tensor]) -> None:
        tensors["dino2llm.bias"] = tensors["dino2llm.bias"].to(torch.int8)

    rewrite(copy, quantise)
    with pytest.raises(ValueError, match=r"dino2llm\.bias as I8, weights must be one of"):
        checkpoint.load_model(copy)


@pytest.mark.parametrize("suffix", [".bin", ".pt", ".pth"])
def test_pickles_are_refused(copy: Path, suffix: str) -> None:
    (copy / WEIGHTS_FILE).rename(copy / f"pytorch_model{suffix}")
    with pytest.raises(ValueError, match="is a pickle, which can run any code"):
        checkpoint.load_model(copy)
    with pytest.raises(ValueError, match="is a pickle"):
        checkpoint.load_model(copy / f"pytorch_model{suffix}")


def test_missing_things(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no model folder .*embedded models: nano"):
        checkpoint.load_model(tmp_path / "nowhere")
    for nothing in ("", "  "):  # not the current folder, which an empty path would be
        with pytest.raises(
            ValueError, match=r"model is '\s*', expected nano, a folder or ORG/NAME"
        ):
            checkpoint.load_model(nothing)
    with pytest.raises(ValueError, match="is a file; give the folder"):
        checkpoint.load_model(copy / WEIGHTS_FILE)
    (copy / "tokenizer.json").rename(copy / "tokenizer.txt")
    with pytest.raises(FileNotFoundError, match="holds no tokenizer"):
        checkpoint.load_model(copy)
    (copy / WEIGHTS_FILE).unlink()
    with pytest.raises(FileNotFoundError, match="has neither"):
        checkpoint.load_model(copy)


def test_tokenizer_of_another_model(copy: Path) -> None:
    Tokenizer(train_tokenizer(330)).save(copy)
    with pytest.raises(ValueError, match="of two different models"):
        checkpoint.load_model(copy)


def test_a_tokenizer_without_the_special_tokens(copy: Path) -> None:
    content = json.loads((copy / "tokenizer.json").read_text())
    content["added_tokens"] = [
        token for token in content["added_tokens"] if token["content"] != "<|im_end|>"
    ]
    (copy / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"has no single token '<\|im_end\|>'; name the special"):
        checkpoint.load_model(copy)


def test_model_id_follows_the_weights(copy: Path) -> None:
    first = checkpoint.model_id(copy)
    name, _, digest = first.rpartition("@")
    assert name == "model"
    assert len(digest) == 8
    assert checkpoint.model_id(copy) == first

    def nudge(tensors: dict[str, torch.Tensor]) -> None:
        for tensor in tensors.values():
            tensor.mul_(1.001)

    rewrite(copy, nudge)
    assert checkpoint.model_id(copy) != first


def test_metadata_is_readable(saved: Path) -> None:
    with SafetensorsFile(saved / WEIGHTS_FILE) as reader:
        assert reader.metadata["note"] == "a test"


def test_special_ids_must_fit() -> None:
    with pytest.raises(ValueError, match="special id bos is 151644, the vocabulary has 300"):
        G2VLM(tiny_config())


def test_every_option_has_a_row_in_the_key_table() -> None:
    config = tiny_config(conv_stem=4, match_width=4)
    names = [
        name
        for name, _ in checkpoint.model_on_meta(config, tiny_model().special_ids).named_parameters()
    ]
    assert len(published_names(names)) == len(names)
    with pytest.raises(KeyError, match="no row in KEY_TABLE"):
        published_names(["trunk.something_new"])


def test_nano_preset_fits_its_limit() -> None:
    model = checkpoint.model_on_meta(ModelConfig.nano(), tiny_model().special_ids)
    assert sum(parameter.numel() for parameter in model.parameters()) <= 16_000_000
