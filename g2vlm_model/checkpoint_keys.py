"""Tensor names of published checkpoints beside ours: the one place where they meet.

The published words for the two experts (none for the semantic one, `moe_geo` for the geometric
one) appear here and nowhere else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["KEY_TABLE", "published_names"]

_DECODERS = (
    ("heads.point_decoder", "point_decoder"),
    ("heads.camera_decoder", "camera_decoder"),
    ("heads.global_decoder", "global_points_decoder"),
    ("heads.confidence_decoder", "conf_decoder"),
)
_EXPERTS = (("semantic", ""), ("geometric", "_moe_geo"))

# Ours -> published. {i} is a number, the same in both; {p} is "weight" or "bias".
KEY_TABLE: tuple[tuple[str, str], ...] = (
    ("trunk.embed_tokens.weight", "language_model.model.embed_tokens.weight"),
    ("trunk.lm_head.weight", "language_model.lm_head.weight"),
    ("trunk.semantic_norm.weight", "language_model.model.norm.weight"),
    ("trunk.geometric_norm.weight", "language_model.model.norm_moe_geo.weight"),
    *(
        (f"trunk.layers.{{i}}.{expert}.{ours}", f"language_model.model.layers.{{i}}.{published}")
        for expert, s in _EXPERTS
        for ours, published in (
            ("attention_norm.weight", f"input_layernorm{s}.weight"),
            ("q_proj.{p}", f"self_attn.q_proj{s}.{{p}}"),
            ("k_proj.{p}", f"self_attn.k_proj{s}.{{p}}"),
            ("v_proj.{p}", f"self_attn.v_proj{s}.{{p}}"),
            ("q_norm.weight", f"self_attn.q_norm{s}.weight"),
            ("k_norm.weight", f"self_attn.k_norm{s}.weight"),
            ("o_proj.weight", f"self_attn.o_proj{s}.weight"),
            ("mlp_norm.weight", f"post_attention_layernorm{s}.weight"),
            ("gate_proj.weight", f"mlp{s}.gate_proj.weight"),
            ("up_proj.weight", f"mlp{s}.up_proj.weight"),
            ("down_proj.weight", f"mlp{s}.down_proj.weight"),
        )
    ),
    # Layer scales carry no expert in their published names; only the geometric expert has them.
    (
        "trunk.layers.{i}.geometric.attention_scale",
        "language_model.model.layers.{i}.ls1.gamma",
    ),
    ("trunk.layers.{i}.geometric.mlp_scale", "language_model.model.layers.{i}.ls2.gamma"),
    ("dino.cls_token", "dino_model.embeddings.cls_token"),
    ("dino.mask_token", "dino_model.embeddings.mask_token"),
    ("dino.register_tokens", "dino_model.embeddings.register_tokens"),
    ("dino.position_embeddings", "dino_model.embeddings.position_embeddings"),
    (
        "dino.patch_embed.projection.{p}",
        "dino_model.embeddings.patch_embeddings.projection.{p}",
    ),
    ("dino.patch_embed.stem.{i}.{p}", "dino_model.embeddings.patch_embeddings.stem.{i}.{p}"),
    ("dino.norm.{p}", "dino_model.layernorm.{p}"),
    *(
        (f"dino.blocks.{{i}}.{ours}", f"dino_model.encoder.layer.{{i}}.{published}")
        for ours, published in (
            ("norm1.{p}", "norm1.{p}"),
            ("norm2.{p}", "norm2.{p}"),
            ("query.{p}", "attention.attention.query.{p}"),
            ("key.{p}", "attention.attention.key.{p}"),
            ("value.{p}", "attention.attention.value.{p}"),
            ("output.{p}", "attention.output.dense.{p}"),
            ("scale1", "layer_scale1.lambda1"),
            ("scale2", "layer_scale2.lambda1"),
            ("mlp.fc1.{p}", "mlp.fc1.{p}"),
            ("mlp.fc2.{p}", "mlp.fc2.{p}"),
        )
    ),
    ("dino_projection.{p}", "dino2llm.{p}"),
    ("vit.patch_embed.weight", "vit_model.patch_embed.proj.weight"),
    *(
        (f"vit.blocks.{{i}}.{ours}", f"vit_model.blocks.{{i}}.{published}")
        for ours, published in (
            ("norm1.{p}", "norm1.{p}"),
            ("norm2.{p}", "norm2.{p}"),
            ("qkv.{p}", "attn.qkv.{p}"),
            ("output.{p}", "attn.proj.{p}"),
            ("mlp.fc1.{p}", "mlp.fc1.{p}"),
            ("mlp.fc2.{p}", "mlp.fc2.{p}"),
        )
    ),
    ("vit.merger.norm.{p}", "vit_model.merger.ln_q.{p}"),
    ("vit.merger.fc1.{p}", "vit_model.merger.mlp.0.{p}"),
    ("vit.merger.fc2.{p}", "vit_model.merger.mlp.2.{p}"),
    *(
        (f"{decoder}.{ours}", f"{published_decoder}.{published}")
        for decoder, published_decoder in _DECODERS
        for ours, published in (
            ("blocks.{i}.norm1.{p}", "blocks.{i}.norm1.{p}"),
            ("blocks.{i}.norm2.{p}", "blocks.{i}.norm2.{p}"),
            ("blocks.{i}.norm3.{p}", "blocks.{i}.norm3.{p}"),
            ("blocks.{i}.context_norm.{p}", "blocks.{i}.norm_y.{p}"),
            ("blocks.{i}.attention.qkv.{p}", "blocks.{i}.attn.qkv.{p}"),
            ("blocks.{i}.attention.output.{p}", "blocks.{i}.attn.proj.{p}"),
            ("blocks.{i}.cross_attention.query.{p}", "blocks.{i}.cross_attn.q_proj.{p}"),
            ("blocks.{i}.cross_attention.key.{p}", "blocks.{i}.cross_attn.k_proj.{p}"),
            ("blocks.{i}.cross_attention.value.{p}", "blocks.{i}.cross_attn.v_proj.{p}"),
            ("blocks.{i}.cross_attention.output.{p}", "blocks.{i}.cross_attn.proj.{p}"),
            ("blocks.{i}.mlp.fc1.{p}", "blocks.{i}.mlp.fc1.{p}"),
            ("blocks.{i}.mlp.fc2.{p}", "blocks.{i}.mlp.fc2.{p}"),
            ("linear_out.{p}", "linear_out.{p}"),
        )
    ),
    # Options that the published model lacks keep their names.
    ("match.norm.{p}", "match.norm.{p}"),
    ("match.hidden.{p}", "match.hidden.{p}"),
    ("match.describe.{p}", "match.describe.{p}"),
    ("match.read.{p}", "match.read.{p}"),
    ("match.early.{p}", "match.early.{p}"),
    ("match.late.{p}", "match.late.{p}"),
    *(
        (f"fusion.{part}.{layer}.{{p}}", f"fusion.{part}.{layer}.{{p}}")
        for part in ("image", "camera", "place", "summary")
        for layer in ("fc1", "fc2")
    ),
    ("heads.point_refine.detail.{p}", "point_refine.detail.{p}"),
    ("heads.point_refine.enter.{p}", "point_refine.enter.{p}"),
    ("heads.point_refine.widen.{p}", "point_refine.widen.{p}"),
    ("heads.point_refine.leave.{p}", "point_refine.leave.{p}"),
    ("fusion.seek_words.{p}", "fusion.seek_words.{p}"),
    ("fusion.seek_tokens.{p}", "fusion.seek_tokens.{p}"),
    ("heads.point_head.{p}", "point_head.proj.{p}"),
    ("heads.global_head.{p}", "global_point_head.proj.{p}"),
    ("heads.confidence_head.{p}", "conf_head.proj.{p}"),
    ("heads.camera_head.residuals.{i}.fc1.{p}", "camera_head.res_conv.{i}.res_conv1.{p}"),
    ("heads.camera_head.residuals.{i}.fc2.{p}", "camera_head.res_conv.{i}.res_conv2.{p}"),
    ("heads.camera_head.residuals.{i}.fc3.{p}", "camera_head.res_conv.{i}.res_conv3.{p}"),
    ("heads.camera_head.fc1.{p}", "camera_head.more_mlps.0.{p}"),
    ("heads.camera_head.fc2.{p}", "camera_head.more_mlps.2.{p}"),
    ("heads.camera_head.translation.{p}", "camera_head.fc_t.{p}"),
    ("heads.camera_head.rotation.{p}", "camera_head.fc_rot.{p}"),
)


def published_names(names: Iterable[str]) -> dict[str, str]:
    """Map published tensor names to ours.

    Args:
        names: Our names, as `G2VLM.state_dict` has them.

    Returns:
        Published name -> our name, in the order of `names`.

    Raises:
        KeyError: A name without a row in the table (a new part of the model).
    """
    number, parameter = r"(?P<i>\d+)", r"(?P<p>weight|bias)"
    rows = [
        (re.compile(re.escape(ours).replace(r"\{i\}", number).replace(r"\{p\}", parameter)), name)
        for ours, name in KEY_TABLE
    ]
    mapped: dict[str, str] = {}
    for ours in names:
        for pattern, template in rows:
            match = pattern.fullmatch(ours)
            if match is not None:
                mapped[template.format(**match.groupdict())] = ours
                break
        else:
            raise KeyError(f"{ours} has no row in KEY_TABLE")
    return mapped
