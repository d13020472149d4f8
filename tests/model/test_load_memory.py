# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Loading takes no memory beside the weights, also where they are converted or rounded."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from g2vlm_model.checkpoint import save_model
from g2vlm_model.config import ModelConfig
from g2vlm_model.model import G2VLM
from g2vlm_model.tokenizer import Tokenizer
from tests.helpers import REPO

from .tiny import tiny_config
from .tiny_tokenizer import train_tokenizer

VOCABULARY = 900_000  # 230 MB in float32, nearly all of it embedding and language head
MEASURE = """
import resource, sys
import tokenizers, torch
from g2vlm_model.checkpoint import load_model

def peak_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

torch.set_num_threads(1)
before = peak_kib()
quantise = sys.argv[2] if sys.argv[2] == "int8" else ""
dtype = torch.float32 if quantise else getattr(torch, sys.argv[2])
model, _ = load_model(sys.argv[1], dtype=dtype, quantise=quantise)
weights = sum(p.numel() * p.element_size() for p in model.parameters())
print(weights, (peak_kib() - before) * 1024)
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("large")
    config: ModelConfig = tiny_config()
    config = replace(config, text=replace(config.text, vocab_size=VOCABULARY))
    tokenizer = Tokenizer(train_tokenizer(280))
    save_model(folder, G2VLM(config, tokenizer.special_ids(config.tokens)), tokenizer)
    return folder


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read the Linux way")
@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_peak_memory_is_the_weights(large: Path, dtype: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(large), dtype],
        cwd=REPO,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    weights, peak = (int(word) for word in done.stdout.split())
    assert weights > VOCABULARY * 32 * 2 * getattr(torch, dtype).itemsize
    # What does not grow with the model (modules, tokenizer, one chunk) gets 16 MB.
    assert peak < 1.15 * weights + 16e6, f"{peak / 1e6:.0f} MB for {weights / 1e6:.0f} MB"
