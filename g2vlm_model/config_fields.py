# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Reads config JSONs strictly: every key is known, of the right type, and named when it is not.

The published files come from a library that writes many fields without meaning for this
model (generation defaults, training settings). They are listed here by name, so that a typing
error in a field that matters is still an error.
"""

from __future__ import annotations

import contextlib
import dataclasses
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from .interface.documents import parse_json
from .interface.words import plain
from .model_folder import require_file

__all__ = ["from_published", "from_strict", "read_json"]

T = TypeVar("T")

# Written by the library into every config file: no influence on the network.
_LIBRARY_FIELDS = frozenset(
    """
    _attn_implementation _attn_implementation_autoset _attn_implementation_internal
    _commit_hash _name_or_path add_cross_attention architectures attn_implementation auto_map
    bad_words_ids begin_suppress_tokens bos_token_id chunk_size_feed_forward
    cross_attention_hidden_size decoder_start_token_id diversity_penalty do_sample dtype
    early_stopping encoder_no_repeat_ngram_size eos_token_id exponential_decay_length_penalty
    finetuning_task forced_bos_token_id forced_eos_token_id id2label initializer_range
    is_decoder is_encoder_decoder label2id length_penalty max_length min_length model_type
    no_repeat_ngram_size num_beam_groups num_beams num_labels num_return_sequences
    output_attentions output_hidden_states output_scores pad_token_id prefix problem_type
    pruned_heads remove_invalid_values repetition_penalty return_dict return_dict_in_generate
    sep_token_id suppress_tokens task_specific_params temperature tf_legacy_loss
    tie_encoder_decoder tie_word_embeddings tokenizer_class top_k top_p torch_dtype
    torchscript transformers_version typical_p use_bfloat16
    """.split()  # noqa: SIM905
)

_TEXT_FIELDS = frozenset(
    """
    attention_dropout freeze_und image_token_id is_causal layer_module layer_types
    max_position_embeddings max_window_layers qk_norm rope_scaling sliding_window use_cache
    video_token_id vision_config vision_end_token_id vision_start_token_id vision_token_id
    """.split()  # noqa: SIM905
)
_VIT_FIELDS = frozenset("in_chans spatial_patch_size vit_max_num_patch_per_side".split())  # noqa: SIM905
_DINO_FIELDS = frozenset(
    """
    apply_layernorm attention_probs_dropout_prob drop_path_rate hidden_dropout_prob
    interpolate_antialias interpolate_offset layerscale_value out_features out_indices
    reshape_hidden_states stage_names use_mask_token
    """.split()  # noqa: SIM905
)
_IGNORED = {"text": _TEXT_FIELDS, "vit": _VIT_FIELDS, "dino": _DINO_FIELDS}

# Fields with one allowed value: any other one would be a different network.
_FIXED: dict[str, dict[str, Any]] = {
    "text": {"hidden_act": "silu", "use_sliding_window": False},
    "vit": {"hidden_act": "quick_gelu"},
    "dino": {"hidden_act": "gelu", "use_swiglu_ffn": False},
}

# What the published classes assume where their file is silent; every other field is required.
_ABSENT: dict[str, dict[str, Any]] = {
    "text": {"rms_norm_eps": 1e-5, "rope_theta": 1e6},
    "vit": {
        "patch_size": 14,
        "in_channels": 3,
        "mlp_ratio": 4,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
    },
    "dino": {
        "patch_size": 16,
        "image_size": 224,
        "num_channels": 3,
        "num_register_tokens": 4,
        "layer_norm_eps": 1e-6,
        "mlp_ratio": 4,
        "qkv_bias": True,
    },
}


def read_json(path: Path) -> dict[str, Any]:
    """Read one JSON object.

    Raises:
        FileNotFoundError: No such file.
        ValueError: Not valid JSON, not an object, or a pointer in the place of the file.
    """
    require_file(
        path,
        "a model folder holds text_config.json, vit_config.json, dino_config.json, tokenizer "
        "files and model.safetensors",
    )
    try:
        content = parse_json(path.read_bytes())
    except ValueError as error:
        raise _refused(f"{path} is not valid JSON: {error}") from None
    if not isinstance(content, dict):
        raise _refused(f"{path} holds a {type(content).__name__}, expected a JSON object")
    return content


def from_published(part: type[T], name: str, path: Path) -> T:
    """Fill a config from one published file.

    Args:
        part: Dataclass whose fields carry the published names.
        name: "text", "vit" or "dino": which table of known fields holds.
        path: The JSON file.

    Raises:
        FileNotFoundError: No such file.
        ValueError: Unknown, missing or ill-typed key, or a value that asks for another network.
    """
    content = read_json(path)
    for key, expected in _FIXED[name].items():
        got = content.pop(key, expected)
        if got != expected:
            raise _refused(f"{path}: {key} is {got!r}, only {expected!r} is implemented")
    if name == "text":
        content["mrope_section"] = _mrope_section(content.pop("rope_scaling", None), path)
    wanted = {f.name for f in dataclasses.fields(part)}  # type: ignore[arg-type]
    kept = {key: value for key, value in content.items() if key in wanted}
    unknown = sorted(set(content) - wanted - _LIBRARY_FIELDS - _IGNORED[name])
    if unknown:
        raise _refused(
            f"{path}: unknown key {', '.join(unknown)}; correct or remove it "
            f"(keys with a meaning: {', '.join(sorted(wanted))})"
        )
    for key, value in _ABSENT[name].items():
        kept.setdefault(key, value)
    missing = sorted(wanted - set(kept))
    if missing:
        raise _refused(f"{path}: missing key {', '.join(missing)}")
    return from_strict(part, kept, path)


def from_strict(
    part: type[T],
    content: Any,
    path: Path,
    *,
    prefix: str = "",
    given: dict[str, Any] | None = None,
) -> T:
    """Fill a dataclass from a JSON object; every key must be one of its fields.

    Args:
        part: The dataclass.
        content: The JSON object; absent fields keep their defaults.
        path: Named in errors.
        prefix: Put before key names in errors.
        given: Fields whose values are ready; they may not stand in `content`.

    Raises:
        ValueError: Unknown, missing or ill-typed key, or a value that the dataclass refuses.
    """
    if not isinstance(content, dict):
        raise _refused(f"{path}: {prefix.rstrip('.')} is {content!r}, expected an object")
    given = given or {}
    hints = typing.get_type_hints(part)
    known = {f.name for f in dataclasses.fields(part)} - set(given)  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for key, value in content.items():
        if key not in known:
            raise _refused(
                f"{path}: unknown key {prefix}{key}; known are {', '.join(sorted(known))}"
            )
        values[key] = _converted(value, hints[key], path, prefix + key)
    needed = (f for f in dataclasses.fields(part) if f.name in known)  # type: ignore[arg-type]
    absent = [f.name for f in needed if f.name not in values and _is_required(f)]
    if absent:
        raise _refused(f"{path}: missing key {', '.join(prefix + name for name in absent)}")
    try:
        return part(**values, **given)
    except ValueError as error:
        raise _refused(f"{path}: {error}") from None


def _mrope_section(scaling: Any, path: Path) -> Any:
    """Return the rotary sections; the published ones where the file has none."""
    if not isinstance(scaling, dict):
        raise _refused(
            f"{path}: rope_scaling is {scaling!r}, expected an object such as "
            '{"type": "mrope", "mrope_section": [16, 24, 24]}'
        )
    return scaling.get("mrope_section", [16, 24, 24])


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is field.default_factory is dataclasses.MISSING


def _converted(value: Any, hint: Any, path: Path, name: str) -> Any:
    """Return a JSON value as its field's type; never a silent change of meaning."""
    options = typing.get_args(hint)
    if isinstance(hint, types.UnionType):
        if value is None and type(None) in options:
            return None
        *others, hint = (option for option in options if option is not type(None))
        for other in others:
            with contextlib.suppress(ValueError):
                return _converted(value, other, path, name)
        options = typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        return from_strict(typing.cast("type[Any]", hint), value, path, prefix=f"{name}.")
    where, origin = f"{path}: {name}", typing.get_origin(hint)
    if origin is tuple:
        if not isinstance(value, list):
            raise _refused(f"{where} is {value!r}, expected a list")
        return tuple(_converted(entry, options[0], path, name) for entry in value)
    if origin is Mapping:
        if not isinstance(value, dict):
            raise _refused(f"{where} is {value!r}, expected an object")
        return {
            key: _converted(one, options[1], path, f"{name}.{key}") for key, one in value.items()
        }
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is object or (hint is float and is_number):
        return value
    if hint is int and is_number and float(value).is_integer():
        return int(value)
    if hint in (bool, str) and isinstance(value, hint):
        return value
    raise _refused(f"{where} is {value!r}, expected {getattr(hint, '__name__', hint)}")


def _refused(text: str) -> ValueError:
    """An error whose words hold keys and values of a file: bounded, and fit for a terminal."""
    return ValueError(plain(text))
