# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Configs from published files: every key checked, every refusal names key and file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from g2vlm_model import checkpoint_keys
from g2vlm_model.checkpoint import model_on_meta
from g2vlm_model.checkpoint_keys import published_names
from g2vlm_model.config import DinoConfig, ModelConfig, TextConfig, TokenNames

from .tiny import tiny_config

KEYS_FILE = Path(__file__).resolve().parents[1] / "data" / "g2vlm_2b_keys.tsv"
# A gap that the file's "first..last" column cannot say: the odd layers are activations.
INDICES = {
    "camera_head.more_mlps.{i}.weight": (0, 2),
    "camera_head.more_mlps.{i}.bias": (0, 2),
}


def published_2b() -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor of the published model."""
    return {
        pattern.replace("{i}", str(number)): shape
        for pattern, shape, numbers in published_patterns()
        for number in numbers
    }


def published_patterns() -> Iterator[tuple[str, tuple[int, ...], tuple[int | None, ...]]]:
    """Names with {i} for a number, their shape, and the numbers; None where there is none."""
    for line in KEYS_FILE.read_text().splitlines()[1:]:
        pattern, shape, count, indices = [*line.split("\t"), ""][:4]
        numbers: tuple[int | None, ...] = (None,)
        if "{i}" in pattern:
            first, last = (int(text) for text in indices.split(".."))
            numbers = INDICES.get(pattern, tuple(range(first, last + 1)))
        assert len(numbers) == int(count), line
        yield pattern, tuple(json.loads(shape)), numbers


def test_2b_has_the_published_tensors() -> None:
    model = model_on_meta(ModelConfig.g2vlm_2b())
    parameters = dict(model.named_parameters())
    got = {
        published: tuple(parameters[ours].shape)
        for published, ours in published_names(parameters).items()
    }
    want = published_2b()
    assert len(want) == 1947
    assert got == want
    assert not list(model.named_buffers())


def test_published_names_stand_spelled_out() -> None:
    """Whoever searches the sources for a published name finds its row."""
    source = Path(checkpoint_keys.__file__).read_text(encoding="utf-8")

    def written(name: str) -> bool:
        either = re.sub(r"\.(weight|bias)$", ".{p}", name)
        return f'"{name}"' in source or f'"{either}"' in source

    unwritten = [
        pattern
        for pattern, _, numbers in published_patterns()
        if not written(pattern)
        and not all(written(pattern.replace("{i}", str(number))) for number in numbers)
    ]
    assert not unwritten
    for side in zip(*checkpoint_keys.KEY_TABLE, strict=True):
        assert len(set(side)) == len(side), "one row for each name, either way"


def test_experts_have_our_names_only() -> None:
    names = [name for name, _ in model_on_meta(ModelConfig.g2vlm_2b()).named_parameters()]
    assert not [name for name in names if "moe" in name or "und" in name]


def write(folder: Path, **changes: dict[str, Any]) -> None:
    """Write a tiny model's config files, with changes per file; None removes a key."""
    tiny_config().to_folder(folder)
    for name, change in changes.items():
        path = folder / f"{name}_config.json"
        content = json.loads(path.read_text())
        content.update(change)
        path.write_text(json.dumps({key: v for key, v in content.items() if v is not None}))


def test_folder_round_trip(tmp_path: Path) -> None:
    config = tiny_config(
        dino_attention="compat",
        geometry_attention="mixed",
        tokens=TokenNames(bos="<a>"),
        mark_style="text",
        conv_stem=8,
        ray_prior_fov_deg=65.0,
    )
    config.to_folder(tmp_path)
    assert ModelConfig.from_folder(tmp_path) == config


def test_published_files_alone_give_published_options(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "g2vlm_config.json").unlink()
    config = tiny_config()
    published = ModelConfig()
    with pytest.raises(ValueError, match=r"hidden_size 32 over heads\.num_heads 16"):
        ModelConfig.from_folder(tmp_path)  # 16 heads do not fit so small a model
    write(tmp_path, text={"hidden_size": 64, "rope_scaling": None}, vit={"hidden_size": 64})
    (tmp_path / "g2vlm_config.json").unlink()
    with pytest.raises(ValueError, match="rope_scaling is None"):
        ModelConfig.from_folder(tmp_path)
    scaling = {"type": "mrope", "mrope_section": [2, 4, 2]}
    write(tmp_path, text={"hidden_size": 64, "rope_scaling": scaling}, vit={"hidden_size": 64})
    (tmp_path / "g2vlm_config.json").unlink()
    got = ModelConfig.from_folder(tmp_path)
    assert (got.vit.depth, got.dino) == (config.vit.depth, config.dino)
    assert got.heads == published.heads
    assert got == replace(published, text=got.text, vit=got.vit, dino=got.dino)


def test_library_fields_are_known(tmp_path: Path) -> None:
    noise = {"torch_dtype": "bfloat16", "transformers_version": "4.45", "bos_token_id": 151643}
    write(
        tmp_path,
        text={**noise, "max_window_layers": 28, "use_sliding_window": False, "qk_norm": True},
        vit={**noise, "in_chans": 3, "spatial_patch_size": 14, "hidden_act": "quick_gelu"},
        dino={**noise, "layerscale_value": 1.0, "out_features": ["stage24"]},
    )
    assert ModelConfig.from_folder(tmp_path) == tiny_config()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text": {"hidden_sizes": 64}}, r"text_config\.json: unknown key hidden_sizes"),
        ({"vit": {"num_head": 2}}, r"vit_config\.json: unknown key num_head"),
        ({"dino": {"use_swiglu_ffn": True}}, r"dino_config\.json: use_swiglu_ffn is True"),
        ({"text": {"hidden_act": "gelu"}}, r"text_config\.json: hidden_act is 'gelu'"),
        ({"text": {"num_hidden_layers": None}}, r"missing key num_hidden_layers"),
        ({"text": {"hidden_size": "64"}}, r"text_config\.json: hidden_size is '64', expected int"),
        ({"text": {"hidden_size": 33}}, r"hidden_size 33 is no multiple"),
        ({"vit": {"depth": 0}}, r"vit_config\.json: VitConfig\.depth is 0"),
        ({"vit": {"depth": 1.5}}, r"depth is 1\.5, expected int"),
        ({"dino": {"qkv_bias": 1}}, r"qkv_bias is 1, expected bool"),
        ({"g2vlm": {"dino_atention": "compat"}}, r"g2vlm_config\.json: unknown key dino_atention"),
        ({"g2vlm": {"dino_attention": "x"}}, r"dino_attention is 'x', expected one of"),
        ({"g2vlm": {"heads": {"dept": 1}}}, r"g2vlm_config\.json: unknown key heads\.dept"),
        ({"g2vlm": {"heads": 3}}, r"heads is 3, expected an object"),
        ({"vit": {"\x1b[31m": 2}}, r"vit_config\.json: unknown key \\x1b\[31m"),
        ({"vit": {"depth": "x" * 5000}}, r"vit_config\.json: depth is 'xxx"),
        ({"g2vlm": {"dino_width": 500}}, r"dino_width 500 is no multiple of the patch 14"),
        ({"g2vlm": {"ray_prior_fov_deg": 180}}, r"ray_prior_fov_deg is 180"),
        ({"vit": {"hidden_size": 64}}, r"vit hidden_size 64 differs from text hidden_size 32"),
        (
            {"text": {"rope_scaling": {"mrope_section": [1, 1, 1]}}},
            r"mrope_section \[1, 1, 1\] must hold three numbers that sum to half",
        ),
    ],
)
def test_bad_files_are_refused(
    changes: dict[str, dict[str, Any]], message: str, tmp_path: Path
) -> None:
    write(tmp_path, **changes)
    with pytest.raises(ValueError, match=message) as caught:
        ModelConfig.from_folder(tmp_path)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 2200
    assert str(tmp_path) in str(caught.value)


def test_missing_and_broken_files(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "dino_config.json").write_text("{")
    with pytest.raises(ValueError, match=r"dino_config\.json is not valid JSON"):
        ModelConfig.from_folder(tmp_path)
    (tmp_path / "dino_config.json").write_text("[1]")
    with pytest.raises(ValueError, match="holds a list, expected a JSON object"):
        ModelConfig.from_folder(tmp_path)
    (tmp_path / "dino_config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"dino_config\.json is missing"):
        ModelConfig.from_folder(tmp_path)


def test_absent_fields_take_the_published_classes_values(tmp_path: Path) -> None:
    write(tmp_path, text={"rms_norm_eps": None}, dino={"num_register_tokens": None})
    got = ModelConfig.from_folder(tmp_path)
    assert got.text.rms_norm_eps == 1e-5
    assert got.dino.num_register_tokens == 4
    assert TextConfig().rms_norm_eps == 1e-6
    assert DinoConfig().stored_grid == 37


# Fields as the publishing library writes them around the sizes.
TEXT_2B = """
{"architectures": ["Qwen2VLForConditionalGeneration"], "attention_dropout": 0.0,
 "bos_token_id": 151643, "eos_token_id": 151645, "vision_start_token_id": 151652,
 "vision_end_token_id": 151653, "vision_token_id": 151654, "image_token_id": 151655,
 "video_token_id": 151656, "hidden_act": "silu", "hidden_size": 1536,
 "initializer_range": 0.02, "intermediate_size": 8960, "max_position_embeddings": 32768,
 "max_window_layers": 28, "model_type": "qwen2_vl", "num_attention_heads": 12,
 "num_hidden_layers": 28, "num_key_value_heads": 2, "rms_norm_eps": 1e-06,
 "rope_theta": 1000000.0, "sliding_window": 32768, "tie_word_embeddings": true,
 "torch_dtype": "bfloat16", "transformers_version": "4.41.2", "use_cache": true,
 "use_sliding_window": false, "vision_config": {"depth": 32},
 "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]}, "vocab_size": 151936}
"""
VIT_2B = """
{"depth": 32, "embed_dim": 1280, "mlp_ratio": 4, "num_heads": 16, "in_chans": 3,
 "hidden_size": 1536, "patch_size": 14, "spatial_merge_size": 2, "spatial_patch_size": 14,
 "temporal_patch_size": 2, "hidden_act": "quick_gelu", "model_type": "qwen2_vl"}
"""
DINO_2B = """
{"apply_layernorm": true, "architectures": ["Dinov2WithRegistersModel"],
 "attention_probs_dropout_prob": 0.0, "drop_path_rate": 0.0, "hidden_act": "gelu",
 "hidden_dropout_prob": 0.0, "hidden_size": 1024, "image_size": 518,
 "initializer_range": 0.02, "interpolate_antialias": true, "interpolate_offset": 0.0,
 "layer_norm_eps": 1e-06, "layerscale_value": 1.0, "mlp_ratio": 4,
 "model_type": "dinov2_with_registers", "num_attention_heads": 16, "num_channels": 3,
 "num_hidden_layers": 24, "num_register_tokens": 4, "out_features": ["stage24"],
 "out_indices": [24], "patch_size": 14, "qkv_bias": true, "reshape_hidden_states": true,
 "stage_names": ["stem", "stage1"], "torch_dtype": "float32",
 "transformers_version": "4.48.0.dev0", "use_swiglu_ffn": false}
"""


def test_2b_files_with_all_their_library_fields(tmp_path: Path) -> None:
    for name, content in (("text", TEXT_2B), ("vit", VIT_2B), ("dino", DINO_2B)):
        (tmp_path / f"{name}_config.json").write_text(content)
    assert ModelConfig.from_folder(tmp_path) == ModelConfig.g2vlm_2b()
