# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The tokenizer from both file layouts, special tokens by name, the published prompts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from g2vlm_model.config import TokenNames
from g2vlm_model.tokenizer import QWEN2_SPECIAL, Tokenizer, prompt_ids

from .tiny_tokenizer import CORPUS, SPECIAL, train_tokenizer

TEXTS = [
    *CORPUS,
    "  two  spaces\n\n  and lines \r\n",
    "naïve café — 漢字 🙂 123456",
    "It'S WE'LL don't",
    "<|im_start|>user\nHello<|im_end|>\n",
]


@pytest.fixture(scope="module")
def backend() -> Any:
    return train_tokenizer(300)


def write_two_files(backend: Any, folder: Path) -> int:
    """Write vocab.json and merges.txt; return the number of ordinary tokens."""
    model = json.loads(backend.to_str())["model"]
    vocab = {name: number for name, number in model["vocab"].items() if name not in SPECIAL}
    (folder / "vocab.json").write_text(json.dumps(vocab))
    merges = [" ".join(pair) if isinstance(pair, list) else pair for pair in model["merges"]]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n")
    return len(vocab)


@pytest.mark.parametrize("named_by", ["added_tokens.json", "tokenizer_config.json"])
def test_both_layouts_agree(backend: Any, tmp_path: Path, named_by: str) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    Tokenizer(backend).save(one)
    write_two_files(backend, two)
    added = {name: backend.token_to_id(name) for name in SPECIAL}
    content: dict[str, Any] = added
    if named_by == "tokenizer_config.json":
        content = {"added_tokens_decoder": {str(v): {"content": k} for k, v in added.items()}}
    (two / named_by).write_text(json.dumps(content))
    first, second = Tokenizer.from_folder(one), Tokenizer.from_folder(two)
    assert first.size == second.size == 300
    for text in TEXTS:
        assert first.encode(text) == second.encode(text), text
        assert first.decode(first.encode(text), skip_special=False) == text
    assert first.special_ids(TokenNames()) == second.special_ids(TokenNames())


def test_two_files_alone_get_qwen2_special_tokens(backend: Any, tmp_path: Path) -> None:
    ordinary = write_two_files(backend, tmp_path)
    tokenizer = Tokenizer.from_folder(tmp_path)
    special = tokenizer.special_ids(TokenNames())
    # The published order: with 151643 ordinary tokens these are 151644, 151645, 151652, 151653.
    assert special.bos - ordinary == 1
    assert special.eos - ordinary == 2
    assert special.start_of_image - ordinary == 9
    assert special.end_of_image - ordinary == 10
    assert tokenizer.size == ordinary + len(QWEN2_SPECIAL)


def test_wrong_special_id_is_refused(backend: Any, tmp_path: Path) -> None:
    write_two_files(backend, tmp_path)
    (tmp_path / "added_tokens.json").write_text(json.dumps({"<|im_start|>": 9999}))
    with pytest.raises(ValueError, match=r"gets id .* its file says 9999"):
        Tokenizer.from_folder(tmp_path)


def test_qwen2_split() -> None:
    """Where the published tokenizer cuts text ahead of its merges."""
    backend = train_tokenizer(300)
    pieces = [piece for piece, _ in backend.pre_tokenizer.pre_tokenize_str("It's 42  red\n\nx!")]
    assert pieces == ["It", "'s", "Ġ", "4", "2", "Ġ", "Ġred", "ĊĊ", "x", "!"]


def test_prompts(backend: Any) -> None:
    tokenizer = Tokenizer(backend)
    prompts = prompt_ids(tokenizer, TokenNames())
    special = prompts.special
    assert prompts.reconstruct[0] == special.bos
    assert tokenizer.decode(prompts.reconstruct[1:]) == "Reconstruct the 3D scene."
    assert tokenizer.decode(prompts.system, skip_special=False) == (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
    )
    question = prompts.question(tokenizer.encode("How far?"))
    assert tokenizer.decode(question, skip_special=False) == (
        "How far?<|im_end|>\n<|im_start|>assistant"
    )
    assert tokenizer.decode([special.start_of_answer]) == "\n"


def test_missing_special_token_is_named(backend: Any) -> None:
    with pytest.raises(ValueError, match=r"no single token '<\|nobody\|>'; name the special"):
        Tokenizer(backend).special_ids(TokenNames(eos="<|nobody|>"))


@pytest.mark.parametrize(
    "name", ["vocab.json", "merges.txt", "added_tokens.json", "tokenizer_config.json"]
)
def test_files_that_only_look_like_some(backend: Any, tmp_path: Path, name: str) -> None:
    write_two_files(backend, tmp_path)
    path = tmp_path / name
    path.unlink(missing_ok=True)
    path.symlink_to("gone")
    with pytest.raises(FileNotFoundError, match=rf"{name} is a link to gone, which is not there"):
        Tokenizer.from_folder(tmp_path)
    path.unlink()
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\n")
    with pytest.raises(ValueError, match=rf"{name} is a pointer of git-lfs"):
        Tokenizer.from_folder(tmp_path)


def test_broken_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"tokenizer\.json, or vocab\.json and merges"):
        Tokenizer.from_folder(tmp_path)
    (tmp_path / "vocab.json").write_text("{")
    (tmp_path / "merges.txt").write_text("")
    with pytest.raises(ValueError, match="no valid byte-level BPE"):
        Tokenizer.from_folder(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match=r"tokenizer\.json is no valid tokenizer"):
        Tokenizer.from_folder(tmp_path)
