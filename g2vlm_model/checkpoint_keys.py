# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Tensor names of published checkpoints beside ours: the one place where they meet.

The published words for the two experts (none for the semantic one, `moe_geo` for the geometric
one) appear here and nowhere else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["KEY_TABLE", "published_names"]

# Ours -> published. {i} is a number, the same in both; {p} is "weight" or "bias".
KEY_TABLE: tuple[tuple[str, str], ...] = (
    # The language model: embedding, final norms, head.
    ("trunk.embed_tokens.weight", "language_model.model.embed_tokens.weight"),
    ("trunk.lm_head.weight", "language_model.lm_head.weight"),
    ("trunk.semantic_norm.weight", "language_model.model.norm.weight"),
    ("trunk.geometric_norm.weight", "language_model.model.norm_moe_geo.weight"),
    # Its layers, semantic expert.
    (
        "trunk.layers.{i}.semantic.attention_norm.weight",
        "language_model.model.layers.{i}.input_layernorm.weight",
    ),
    (
        "trunk.layers.{i}.semantic.q_proj.{p}",
        "language_model.model.layers.{i}.self_attn.q_proj.{p}",
    ),
    (
        "trunk.layers.{i}.semantic.k_proj.{p}",
        "language_model.model.layers.{i}.self_attn.k_proj.{p}",
    ),
    (
        "trunk.layers.{i}.semantic.v_proj.{p}",
        "language_model.model.layers.{i}.self_attn.v_proj.{p}",
    ),
    (
        "trunk.layers.{i}.semantic.q_norm.weight",
        "language_model.model.layers.{i}.self_attn.q_norm.weight",
    ),
    (
        "trunk.layers.{i}.semantic.k_norm.weight",
        "language_model.model.layers.{i}.self_attn.k_norm.weight",
    ),
    (
        "trunk.layers.{i}.semantic.o_proj.weight",
        "language_model.model.layers.{i}.self_attn.o_proj.weight",
    ),
    (
        "trunk.layers.{i}.semantic.mlp_norm.weight",
        "language_model.model.layers.{i}.post_attention_layernorm.weight",
    ),
    (
        "trunk.layers.{i}.semantic.gate_proj.weight",
        "language_model.model.layers.{i}.mlp.gate_proj.weight",
    ),
    (
        "trunk.layers.{i}.semantic.up_proj.weight",
        "language_model.model.layers.{i}.mlp.up_proj.weight",
    ),
    (
        "trunk.layers.{i}.semantic.down_proj.weight",
        "language_model.model.layers.{i}.mlp.down_proj.weight",
    ),
    # Its layers, geometric expert. Layer scales carry no expert in their published names.
    (
        "trunk.layers.{i}.geometric.attention_norm.weight",
        "language_model.model.layers.{i}.input_layernorm_moe_geo.weight",
    ),
    (
        "trunk.layers.{i}.geometric.q_proj.{p}",
        "language_model.model.layers.{i}.self_attn.q_proj_moe_geo.{p}",
    ),
    (
        "trunk.layers.{i}.geometric.k_proj.{p}",
        "language_model.model.layers.{i}.self_attn.k_proj_moe_geo.{p}",
    ),
    (
        "trunk.layers.{i}.geometric.v_proj.{p}",
        "language_model.model.layers.{i}.self_attn.v_proj_moe_geo.{p}",
    ),
    (
        "trunk.layers.{i}.geometric.q_norm.weight",
        "language_model.model.layers.{i}.self_attn.q_norm_moe_geo.weight",
    ),
    (
        "trunk.layers.{i}.geometric.k_norm.weight",
        "language_model.model.layers.{i}.self_attn.k_norm_moe_geo.weight",
    ),
    (
        "trunk.layers.{i}.geometric.o_proj.weight",
        "language_model.model.layers.{i}.self_attn.o_proj_moe_geo.weight",
    ),
    (
        "trunk.layers.{i}.geometric.mlp_norm.weight",
        "language_model.model.layers.{i}.post_attention_layernorm_moe_geo.weight",
    ),
    (
        "trunk.layers.{i}.geometric.gate_proj.weight",
        "language_model.model.layers.{i}.mlp_moe_geo.gate_proj.weight",
    ),
    (
        "trunk.layers.{i}.geometric.up_proj.weight",
        "language_model.model.layers.{i}.mlp_moe_geo.up_proj.weight",
    ),
    (
        "trunk.layers.{i}.geometric.down_proj.weight",
        "language_model.model.layers.{i}.mlp_moe_geo.down_proj.weight",
    ),
    ("trunk.layers.{i}.geometric.attention_scale", "language_model.model.layers.{i}.ls1.gamma"),
    ("trunk.layers.{i}.geometric.mlp_scale", "language_model.model.layers.{i}.ls2.gamma"),
    # Geometric encoder (DINOv2).
    ("dino.cls_token", "dino_model.embeddings.cls_token"),
    ("dino.mask_token", "dino_model.embeddings.mask_token"),
    ("dino.register_tokens", "dino_model.embeddings.register_tokens"),
    ("dino.position_embeddings", "dino_model.embeddings.position_embeddings"),
    ("dino.patch_embed.projection.{p}", "dino_model.embeddings.patch_embeddings.projection.{p}"),
    ("dino.norm.{p}", "dino_model.layernorm.{p}"),
    ("dino.blocks.{i}.norm1.{p}", "dino_model.encoder.layer.{i}.norm1.{p}"),
    ("dino.blocks.{i}.norm2.{p}", "dino_model.encoder.layer.{i}.norm2.{p}"),
    ("dino.blocks.{i}.query.{p}", "dino_model.encoder.layer.{i}.attention.attention.query.{p}"),
    ("dino.blocks.{i}.key.{p}", "dino_model.encoder.layer.{i}.attention.attention.key.{p}"),
    ("dino.blocks.{i}.value.{p}", "dino_model.encoder.layer.{i}.attention.attention.value.{p}"),
    ("dino.blocks.{i}.output.{p}", "dino_model.encoder.layer.{i}.attention.output.dense.{p}"),
    ("dino.blocks.{i}.scale1", "dino_model.encoder.layer.{i}.layer_scale1.lambda1"),
    ("dino.blocks.{i}.scale2", "dino_model.encoder.layer.{i}.layer_scale2.lambda1"),
    ("dino.blocks.{i}.mlp.fc1.{p}", "dino_model.encoder.layer.{i}.mlp.fc1.{p}"),
    ("dino.blocks.{i}.mlp.fc2.{p}", "dino_model.encoder.layer.{i}.mlp.fc2.{p}"),
    ("dino_projection.{p}", "dino2llm.{p}"),
    # Semantic encoder (Qwen2-VL).
    ("vit.patch_embed.weight", "vit_model.patch_embed.proj.weight"),
    ("vit.blocks.{i}.norm1.{p}", "vit_model.blocks.{i}.norm1.{p}"),
    ("vit.blocks.{i}.norm2.{p}", "vit_model.blocks.{i}.norm2.{p}"),
    ("vit.blocks.{i}.qkv.{p}", "vit_model.blocks.{i}.attn.qkv.{p}"),
    ("vit.blocks.{i}.output.{p}", "vit_model.blocks.{i}.attn.proj.{p}"),
    ("vit.blocks.{i}.mlp.fc1.{p}", "vit_model.blocks.{i}.mlp.fc1.{p}"),
    ("vit.blocks.{i}.mlp.fc2.{p}", "vit_model.blocks.{i}.mlp.fc2.{p}"),
    ("vit.merger.norm.{p}", "vit_model.merger.ln_q.{p}"),
    ("vit.merger.fc1.{p}", "vit_model.merger.mlp.0.{p}"),
    ("vit.merger.fc2.{p}", "vit_model.merger.mlp.2.{p}"),
    # Decoders of the geometry heads.
    ("heads.point_decoder.blocks.{i}.norm1.{p}", "point_decoder.blocks.{i}.norm1.{p}"),
    ("heads.point_decoder.blocks.{i}.norm2.{p}", "point_decoder.blocks.{i}.norm2.{p}"),
    ("heads.point_decoder.blocks.{i}.norm3.{p}", "point_decoder.blocks.{i}.norm3.{p}"),
    ("heads.point_decoder.blocks.{i}.context_norm.{p}", "point_decoder.blocks.{i}.norm_y.{p}"),
    ("heads.point_decoder.blocks.{i}.attention.qkv.{p}", "point_decoder.blocks.{i}.attn.qkv.{p}"),
    (
        "heads.point_decoder.blocks.{i}.attention.output.{p}",
        "point_decoder.blocks.{i}.attn.proj.{p}",
    ),
    (
        "heads.point_decoder.blocks.{i}.cross_attention.query.{p}",
        "point_decoder.blocks.{i}.cross_attn.q_proj.{p}",
    ),
    (
        "heads.point_decoder.blocks.{i}.cross_attention.key.{p}",
        "point_decoder.blocks.{i}.cross_attn.k_proj.{p}",
    ),
    (
        "heads.point_decoder.blocks.{i}.cross_attention.value.{p}",
        "point_decoder.blocks.{i}.cross_attn.v_proj.{p}",
    ),
    (
        "heads.point_decoder.blocks.{i}.cross_attention.output.{p}",
        "point_decoder.blocks.{i}.cross_attn.proj.{p}",
    ),
    ("heads.point_decoder.blocks.{i}.mlp.fc1.{p}", "point_decoder.blocks.{i}.mlp.fc1.{p}"),
    ("heads.point_decoder.blocks.{i}.mlp.fc2.{p}", "point_decoder.blocks.{i}.mlp.fc2.{p}"),
    ("heads.point_decoder.linear_out.{p}", "point_decoder.linear_out.{p}"),
    ("heads.camera_decoder.blocks.{i}.norm1.{p}", "camera_decoder.blocks.{i}.norm1.{p}"),
    ("heads.camera_decoder.blocks.{i}.norm2.{p}", "camera_decoder.blocks.{i}.norm2.{p}"),
    ("heads.camera_decoder.blocks.{i}.norm3.{p}", "camera_decoder.blocks.{i}.norm3.{p}"),
    ("heads.camera_decoder.blocks.{i}.context_norm.{p}", "camera_decoder.blocks.{i}.norm_y.{p}"),
    ("heads.camera_decoder.blocks.{i}.attention.qkv.{p}", "camera_decoder.blocks.{i}.attn.qkv.{p}"),
    (
        "heads.camera_decoder.blocks.{i}.attention.output.{p}",
        "camera_decoder.blocks.{i}.attn.proj.{p}",
    ),
    (
        "heads.camera_decoder.blocks.{i}.cross_attention.query.{p}",
        "camera_decoder.blocks.{i}.cross_attn.q_proj.{p}",
    ),
    (
        "heads.camera_decoder.blocks.{i}.cross_attention.key.{p}",
        "camera_decoder.blocks.{i}.cross_attn.k_proj.{p}",
    ),
    (
        "heads.camera_decoder.blocks.{i}.cross_attention.value.{p}",
        "camera_decoder.blocks.{i}.cross_attn.v_proj.{p}",
    ),
    (
        "heads.camera_decoder.blocks.{i}.cross_attention.output.{p}",
        "camera_decoder.blocks.{i}.cross_attn.proj.{p}",
    ),
    ("heads.camera_decoder.blocks.{i}.mlp.fc1.{p}", "camera_decoder.blocks.{i}.mlp.fc1.{p}"),
    ("heads.camera_decoder.blocks.{i}.mlp.fc2.{p}", "camera_decoder.blocks.{i}.mlp.fc2.{p}"),
    ("heads.camera_decoder.linear_out.{p}", "camera_decoder.linear_out.{p}"),
    ("heads.global_decoder.blocks.{i}.norm1.{p}", "global_points_decoder.blocks.{i}.norm1.{p}"),
    ("heads.global_decoder.blocks.{i}.norm2.{p}", "global_points_decoder.blocks.{i}.norm2.{p}"),
    ("heads.global_decoder.blocks.{i}.norm3.{p}", "global_points_decoder.blocks.{i}.norm3.{p}"),
    (
        "heads.global_decoder.blocks.{i}.context_norm.{p}",
        "global_points_decoder.blocks.{i}.norm_y.{p}",
    ),
    (
        "heads.global_decoder.blocks.{i}.attention.qkv.{p}",
        "global_points_decoder.blocks.{i}.attn.qkv.{p}",
    ),
    (
        "heads.global_decoder.blocks.{i}.attention.output.{p}",
        "global_points_decoder.blocks.{i}.attn.proj.{p}",
    ),
    (
        "heads.global_decoder.blocks.{i}.cross_attention.query.{p}",
        "global_points_decoder.blocks.{i}.cross_attn.q_proj.{p}",
    ),
    (
        "heads.global_decoder.blocks.{i}.cross_attention.key.{p}",
        "global_points_decoder.blocks.{i}.cross_attn.k_proj.{p}",
    ),
    (
        "heads.global_decoder.blocks.{i}.cross_attention.value.{p}",
        "global_points_decoder.blocks.{i}.cross_attn.v_proj.{p}",
    ),
    (
        "heads.global_decoder.blocks.{i}.cross_attention.output.{p}",
        "global_points_decoder.blocks.{i}.cross_attn.proj.{p}",
    ),
    ("heads.global_decoder.blocks.{i}.mlp.fc1.{p}", "global_points_decoder.blocks.{i}.mlp.fc1.{p}"),
    ("heads.global_decoder.blocks.{i}.mlp.fc2.{p}", "global_points_decoder.blocks.{i}.mlp.fc2.{p}"),
    ("heads.global_decoder.linear_out.{p}", "global_points_decoder.linear_out.{p}"),
    ("heads.confidence_decoder.blocks.{i}.norm1.{p}", "conf_decoder.blocks.{i}.norm1.{p}"),
    ("heads.confidence_decoder.blocks.{i}.norm2.{p}", "conf_decoder.blocks.{i}.norm2.{p}"),
    ("heads.confidence_decoder.blocks.{i}.norm3.{p}", "conf_decoder.blocks.{i}.norm3.{p}"),
    ("heads.confidence_decoder.blocks.{i}.context_norm.{p}", "conf_decoder.blocks.{i}.norm_y.{p}"),
    (
        "heads.confidence_decoder.blocks.{i}.attention.qkv.{p}",
        "conf_decoder.blocks.{i}.attn.qkv.{p}",
    ),
    (
        "heads.confidence_decoder.blocks.{i}.attention.output.{p}",
        "conf_decoder.blocks.{i}.attn.proj.{p}",
    ),
    (
        "heads.confidence_decoder.blocks.{i}.cross_attention.query.{p}",
        "conf_decoder.blocks.{i}.cross_attn.q_proj.{p}",
    ),
    (
        "heads.confidence_decoder.blocks.{i}.cross_attention.key.{p}",
        "conf_decoder.blocks.{i}.cross_attn.k_proj.{p}",
    ),
    (
        "heads.confidence_decoder.blocks.{i}.cross_attention.value.{p}",
        "conf_decoder.blocks.{i}.cross_attn.v_proj.{p}",
    ),
    (
        "heads.confidence_decoder.blocks.{i}.cross_attention.output.{p}",
        "conf_decoder.blocks.{i}.cross_attn.proj.{p}",
    ),
    ("heads.confidence_decoder.blocks.{i}.mlp.fc1.{p}", "conf_decoder.blocks.{i}.mlp.fc1.{p}"),
    ("heads.confidence_decoder.blocks.{i}.mlp.fc2.{p}", "conf_decoder.blocks.{i}.mlp.fc2.{p}"),
    ("heads.confidence_decoder.linear_out.{p}", "conf_decoder.linear_out.{p}"),
    # Geometry heads.
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
    # Options that the published model lacks (`extras/`) keep their names.
    ("dino.patch_embed.stem.{i}.{p}", "dino_model.embeddings.patch_embeddings.stem.{i}.{p}"),
    ("match.norm.{p}", "match.norm.{p}"),
    ("match.hidden.{p}", "match.hidden.{p}"),
    ("match.describe.{p}", "match.describe.{p}"),
    ("match.read.{p}", "match.read.{p}"),
    ("match.early.{p}", "match.early.{p}"),
    ("match.late.{p}", "match.late.{p}"),
    ("fusion.image.fc1.{p}", "fusion.image.fc1.{p}"),
    ("fusion.image.fc2.{p}", "fusion.image.fc2.{p}"),
    ("fusion.camera.fc1.{p}", "fusion.camera.fc1.{p}"),
    ("fusion.camera.fc2.{p}", "fusion.camera.fc2.{p}"),
    ("fusion.place.fc1.{p}", "fusion.place.fc1.{p}"),
    ("fusion.place.fc2.{p}", "fusion.place.fc2.{p}"),
    ("fusion.summary.fc1.{p}", "fusion.summary.fc1.{p}"),
    ("fusion.summary.fc2.{p}", "fusion.summary.fc2.{p}"),
    ("heads.invalid_head.{p}", "invalid_head.{p}"),
    ("heads.point_refine.detail.{p}", "point_refine.detail.{p}"),
    ("heads.point_refine.enter.{p}", "point_refine.enter.{p}"),
    ("heads.point_refine.widen.{p}", "point_refine.widen.{p}"),
    ("heads.point_refine.leave.{p}", "point_refine.leave.{p}"),
    ("fusion.seek_words.{p}", "fusion.seek_words.{p}"),
    ("fusion.seek_tokens.{p}", "fusion.seek_tokens.{p}"),
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
