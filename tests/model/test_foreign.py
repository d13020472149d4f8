# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What is loaded from outside does not end the process."""

from __future__ import annotations

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
