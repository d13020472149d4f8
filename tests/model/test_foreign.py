# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What is loaded from outside does not end the process."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from g2vlm_model.foreign import foreign
from g2vlm_model.runtimes import load_runtime
from g2vlm_model.tokenizer import Tokenizer


class PanicException(BaseException):
    """What a library written in Rust raises where it gives up."""


def test_exits_and_panics_become_errors_and_interrupts_do_not() -> None:
    with pytest.raises(ValueError, match="wanted to end the process"), foreign("it"):
        sys.exit(3)
    with pytest.raises(ValueError, match="it gave up: no"), foreign("it"):
        raise PanicException("no")
    with pytest.raises(KeyboardInterrupt), foreign("it"):
        raise KeyboardInterrupt


def test_a_runtime_that_exits_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "leaves_at_import.py").write_text("raise SystemExit(0)")
    (tmp_path / "leaves_when_called.py").write_text("def make(**given):\n    raise SystemExit(1)\n")
    monkeypatch.syspath_prepend(tmp_path)
    for module in ("leaves_at_import", "leaves_when_called"):
        with pytest.raises(ValueError, match="wanted to end the process"):
            load_runtime(f"{module}:make")


def test_words_of_a_library_about_a_file_are_plain(tmp_path: Path) -> None:
    """It quotes the file: of escapes, too."""
    (tmp_path / "tokenizer.json").write_text('{"version":"\\u001b[31m\\u0000"}')
    with pytest.raises(ValueError, match="no valid tokenizer") as caught:
        Tokenizer.from_folder(tmp_path)
    assert str(caught.value).isprintable()


PANICS = (  # of tokenizers 0.20 to 0.23: a panic, not an exception
    '{"version":"1.0","truncation":null,"padding":null,"added_tokens":[{"id":99999999,'
    '"content":"x","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,'
    '"special":true}],"normalizer":{"type":"Precompiled","precompiled_charsmap":"AAAA"},'
    '"pre_tokenizer":null,"post_processor":null,"decoder":null,"model":{"type":"BPE",'
    '"vocab":{"a":0},"merges":[]}}'
)


@pytest.mark.parametrize("text", [PANICS, "{", "[]", '{"version": 1e999}', "\x00"])
def test_a_bad_tokenizer_is_a_value_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "tokenizer.json").write_text(text)
    with pytest.raises(ValueError, match=r"tokenizer|gave up"):
        Tokenizer.from_folder(tmp_path)


@pytest.mark.parametrize(
    "part",
    [
        # A panic of the library while it encodes, not while it loads.
        {"pre_tokenizer": {"type": "FixedLength", "length": 0}},
        # An exception of no kind of its own.
        {"model": {"type": "WordLevel", "unk_token": "?", "vocab": {"a": 0}}},
    ],
)
def test_a_tokenizer_that_gives_up_later_is_a_value_error(
    tmp_path: Path, part: dict[str, object]
) -> None:
    tokenizer = tokenizer_of(tmp_path, part)
    with pytest.raises(ValueError, match=rf"{tmp_path}.* (gave up|cannot encode)"):
        tokenizer.encode("abab")


@pytest.mark.parametrize(
    "part",
    [
        # A panic too.
        {"truncation": {"direction": "Right", "max_length": 2, "strategy": "LongestFirst",
                        "stride": 5}},
        # No room for 2**60 tokens is had, which ends the process: nothing catches that.
        {"padding": {"strategy": {"Fixed": 2**60}, "direction": "Right",
                     "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0, "pad_token": "a"}},
    ],
)  # fmt: skip
def test_no_prompt_is_cut_or_padded(tmp_path: Path, part: dict[str, object]) -> None:
    assert tokenizer_of(tmp_path, part).encode("abab") == [0, 1, 0, 1]


def tokenizer_of(folder: Path, part: dict[str, object]) -> Tokenizer:
    """A tokenizer of the letters a and b, with a part of its file replaced."""
    model = {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": []}
    content = {"version": "1.0", "truncation": None, "padding": None, "model": model, **part}
    (folder / "tokenizer.json").write_text(json.dumps(content))
    return Tokenizer.from_folder(folder)
