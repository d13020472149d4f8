# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The semantic expert as modules with tensors in and out: what `semantic_to_onnx` exports.

Keys and values that questions stand behind come in as inputs. Those of a scene are one tensor
per layer that no step copies; those of a question and its answer are one small tensor that
grows. Attention scores the two parts one by one and joins the scores only. One graph serves
words and pictures, many tokens and one: the weights exist once.

Shape letters: T tokens of a step, S tokens of a scene, O tokens of a question and its answer
so far, E layers, G key/value heads, A query heads, C head width, D width, V vocabulary, R rows
of a picture before merging, M tokens of a picture, N frames, H W pixels, P patches, K
references.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from g2vlm_model.extras.fusion import FusedImages, GeometryFusion, Places, ReferenceSlots
from g2vlm_model.extras.reading import GeometryReading
from g2vlm_model.extras.references import PLACE_SLOTS
from g2vlm_model.model import G2VLM
from g2vlm_model.preprocess import semantic_merged_hw

__all__ = ["Expert", "Fusion", "Pictures", "References", "Words"]


class Words(nn.Module):
    """Token ids to embeddings."""

    def __init__(self, model: G2VLM) -> None:
        super().__init__()
        self.table = model.trunk.embed_tokens

    def forward(self, ids_T: Tensor) -> Tensor:
        """Map (T,) int64 to (T, D) float32."""
        embeddings: Tensor = self.table(ids_T)
        return embeddings.float()


class Pictures(nn.Module):
    """One picture to semantic tokens; its size is fixed by the model."""

    def __init__(self, model: G2VLM) -> None:
        super().__init__()
        self.vit = model.vit
        merge = model.config.vit.spatial_merge_size
        rows, columns = semantic_merged_hw(model.config)
        self.grid_hw = (rows * merge, columns * merge)

    def forward(self, rows_RC: Tensor) -> Tensor:
        """Map float32 (R, C) of `preprocess.semantic_patches` to (M, D) float32."""
        tokens_1MD: Tensor = self.vit(rows_RC[None], self.grid_hw)
        return tokens_1MD[0].float()


class PastKeys:
    """An `AttentionCache` over given keys and values, and the attention that reads it.

    Args:
        scene: Keys of every layer, then values, (G, S, C) each.
        own_keys_OEGC, own_values_OEGC: Of a question and its answer so far.
        sees_TO: bool, True where a token sees one of the question's tokens or of its own step,
            (T, O + T).
    """

    def __init__(
        self,
        scene: tuple[Tensor, ...],
        own_keys_OEGC: Tensor,
        own_values_OEGC: Tensor,
        sees_TO: Tensor,
    ) -> None:
        layers = len(scene) // 2
        self.length = 0
        self.position = 0
        self.new_keys: list[Tensor] = []
        self.new_values: list[Tensor] = []
        self._scene = list(zip(scene[:layers], scene[layers:], strict=True))
        self._own = (own_keys_OEGC, own_values_OEGC)
        self._sees_TO = sees_TO
        self._layer = 0

    def append(self, layer: int, k_BGLC: Tensor, v_BGLC: Tensor) -> tuple[Tensor, Tensor]:
        """Keep a step's keys and values; return them behind the question's own (1, G, O + T, C)."""
        self._layer = layer
        self.new_keys.append(k_BGLC[0].transpose(0, 1))
        self.new_values.append(v_BGLC[0].transpose(0, 1))
        own_k, own_v = (own_OEGC[:, layer].transpose(0, 1)[None] for own_OEGC in self._own)
        return torch.cat((own_k, k_BGLC), dim=2), torch.cat((own_v, v_BGLC), dim=2)

    def advance(self, tokens: int, position: int) -> None:
        """End a pass: nothing to do, the caller counts."""

    def attend(self, q_BLAC: Tensor, k_BGKC: Tensor, v_BGKC: Tensor) -> Tensor:
        """Attend to the scene and to what `append` returned; (1, T, A * C)."""
        scene_k_GSC, scene_v_GSC = self._scene[self._layer]
        near_k_GKC, near_v_GKC = k_BGKC[0], v_BGKC[0]
        heads, tokens, width = scene_k_GSC.shape[0], q_BLAC.shape[1], q_BLAC.shape[3]
        groups = q_BLAC.shape[2] // heads
        q_GQC = q_BLAC[0].unflatten(1, (heads, groups)).permute(1, 2, 0, 3).flatten(1, 2)
        q_GQC = q_GQC * width**-0.5
        far_GQS = q_GQC @ scene_k_GSC.transpose(1, 2)
        near_GQK = q_GQC @ near_k_GKC.transpose(1, 2)
        near_GRTK = near_GQK.unflatten(1, (groups, tokens))
        near_GRTK = near_GRTK.masked_fill(~self._sees_TO, float("-inf"))
        scores = torch.cat((far_GQS, near_GRTK.flatten(1, 2)), dim=-1).float()
        weights = scores.softmax(dim=-1).to(v_BGKC.dtype)
        split = (far_GQS.shape[2], near_GQK.shape[2])
        far_GQS, near_GQK = weights.split(split, dim=2)
        out_GQC = far_GQS @ scene_v_GSC + near_GQK @ near_v_GKC
        out_TGRC = out_GQC.unflatten(1, (groups, tokens)).permute(2, 0, 1, 3)
        out_1TE: Tensor = out_TGRC.flatten(1)[None]
        return out_1TE


class Expert(nn.Module):
    """Embeddings behind past keys and values to logits and new keys and values."""

    def __init__(self, model: G2VLM) -> None:
        super().__init__()
        self.trunk = model.trunk
        self.rope = model.rope

    def forward(
        self,
        embeddings_TD: Tensor,
        positions_3T: Tensor,
        causal: Tensor,
        own_keys_OEGC: Tensor,
        own_values_OEGC: Tensor,
        *scene: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Append tokens that all take the semantic expert.

        Args:
            embeddings_TD: float32 words, or a picture between its marks.
            positions_3T: int64 rotary positions on the axes t, h, w.
            causal: bool scalar; False lets the tokens see each other, as those of a picture do.
            own_keys_OEGC, own_values_OEGC: Of the question and its answer so far.
            scene: Keys (G, S, C) of every layer, then values, of all that stands before.

        Returns:
            (V,) float32 logits of the token behind the last one; keys and values (T, E, G, C) of
            the tokens, to be appended by the caller.
        """
        tokens, own = embeddings_TD.shape[0], own_keys_OEGC.shape[0]
        last_T1 = own + torch.arange(tokens, device=embeddings_TD.device)[:, None]
        sees_TO = torch.arange(own + tokens, device=embeddings_TD.device) <= last_T1
        past = PastKeys(scene, own_keys_OEGC, own_values_OEGC, sees_TO | ~causal)
        rotation = self.rope.rotation(positions_3T)
        x_1TD = embeddings_TD[None].to(self.trunk.semantic_norm.weight.dtype)
        hidden_1TD = self.trunk.semantic_pass(x_1TD, rotation, past, past.attend)
        logits_V = self.trunk.lm_head(hidden_1TD[0, -1:])[0]
        keys_TEGC = torch.stack(past.new_keys, dim=1)
        values_TEGC = torch.stack(past.new_values, dim=1)
        return logits_V.float(), keys_TEGC, values_TEGC


class Fusion(nn.Module):
    """Frames' semantic tokens with what the geometric pass says of them added."""

    def __init__(self, model: G2VLM) -> None:
        super().__init__()
        assert model.fusion is not None, "geometry_feedback is off"
        self.fusion: GeometryFusion = model.fusion
        self.merged_hw = semantic_merged_hw(model.config)

    def forward(
        self,
        tokens_NMD: Tensor,
        hidden_NRCD: Tensor,
        local_NHW3: Tensor,
        T_first_cam_N44: Tensor,
        log_scale: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Fuse frames; everything is float32.

        Args:
            tokens_NMD: From `Pictures`.
            hidden_NRCD: What the heads read, as rows and columns of patches.
            local_NHW3, T_first_cam_N44, log_scale: As in `GeometryReading`.

        Returns:
            (N, M, D) tokens, (N, D) features of the cameras, (N, M, D) pooled hidden states and
            (N, M, 3) mean points, as in `FusedImages`.
        """
        dtype = self.fusion.image.fc1.weight.dtype
        reading = _reading(hidden_NRCD.to(dtype), local_NHW3, T_first_cam_N44, log_scale)
        images = self.fusion(tokens_NMD[None].to(dtype), self.merged_hw, reading)
        parts = (images.tokens_BNSD, images.cameras_BND, images.hidden_BNSD, images.centres_BNS3)
        tokens, cameras, hidden, centres = (part[0].float() for part in parts)
        return tokens, cameras, hidden, centres


class References(nn.Module):
    """What the words of one question that name something carry, and their summary."""

    def __init__(self, model: G2VLM) -> None:
        super().__init__()
        assert model.fusion is not None, "geometry_feedback is off"
        assert model.fusion.summary is not None, "reference_features is off"
        self.fusion: GeometryFusion = model.fusion
        self.merged_hw = semantic_merged_hw(model.config)

    def forward(
        self,
        tokens_NMD: Tensor,
        cameras_ND: Tensor,
        pooled_NMD: Tensor,
        centres_NM3: Tensor,
        hidden_NRCD: Tensor,
        local_NHW3: Tensor,
        T_first_cam_N44: Tensor,
        log_scale: Tensor,
        kinds_K: Tensor,
        frames_K: Tensor,
        shares_K2: Tensor,
        words_KD: Tensor,
        slots_Q: Tensor,
        filled_Q: Tensor,
        viewers_F: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Compute features; floats are float32, indices int64.

        Args:
            tokens_NMD, cameras_ND, pooled_NMD, centres_NM3: From `Fusion`, of all frames.
            hidden_NRCD, local_NHW3, T_first_cam_N44, log_scale: As in `Fusion`, of all frames.
            kinds_K: 0 a mark, 1 a thing, 2 a frame.
            frames_K: Index of the frame; -1 for a thing in any frame.
            shares_K2: (x, y) of a mark in its picture, 0 up to 1.
            words_KD: Mean embedding of a thing's name.
            slots_Q: Index of the reference in each slot, places ahead of frames; any where empty.
            filled_Q: 1.0 where a slot is used, 0.0 where not.
            viewers_F: Frames of the frame slots; empty ones hold the first place's frame.

        Returns:
            (K, D) features of the references, (D,) the summary, and (K, N, M) how much each image
            token counts for a thing.
        """
        dtype = self.fusion.image.fc1.weight.dtype
        reading = _reading(hidden_NRCD.to(dtype), local_NHW3, T_first_cam_N44, log_scale)
        images = FusedImages(
            tokens_BNSD=tokens_NMD[None].to(dtype),
            cameras_BND=cameras_ND[None].to(dtype),
            hidden_BNSD=pooled_NMD[None].to(dtype),
            centres_BNS3=centres_NM3[None],
            merged_hw=self.merged_hw,
            reading=reading,
        )
        window_K = torch.zeros_like(frames_K)
        places = Places(window_K, frames_K.clamp(min=0), shares_K2)
        place_KD = self.fusion.places(images, places)
        thing_KD, thing_K3, weight_KNM = self.fusion.things(
            images, words_KD.to(dtype), window_K, frames_K
        )
        camera_KD = images.cameras_BND[0, places.frame_M]
        kinds_K1 = kinds_K[:, None]
        other_KD = torch.where(kinds_K1 == 1, thing_KD, camera_KD)
        features_KD = torch.where(kinds_K1 == 0, place_KD, other_KD)
        first_K3 = torch.where(kinds_K1 == 0, places.points(reading)[1], thing_K3.float())
        first_P3 = first_K3[slots_Q[:PLACE_SLOTS]] * filled_Q[:PLACE_SLOTS, None]
        slots = ReferenceSlots(
            window_M=torch.zeros_like(viewers_F[:1]),
            first_MP3=first_P3[None],
            frame_MF=viewers_F[None],
            features_MSD=features_KD[slots_Q][None],
            filled_MS=filled_Q[None].to(dtype),
        )
        summary_D = self.fusion.summaries(reading, slots)[0]
        return features_KD.float(), summary_D.float(), weight_KNM


def _reading(
    hidden_NRCD: Tensor, local_NHW3: Tensor, T_first_cam_N44: Tensor, log_scale: Tensor
) -> GeometryReading:
    """One window's reading, of any frames."""
    # An input that is flattened and unflattened leaves a guard that torch.export cannot prove;
    # something that was computed leaves none. The product is folded away.
    hidden_NPD = hidden_NRCD.flatten(1, 2) * 1.0
    return GeometryReading(
        hidden_BNPD=hidden_NPD[None],
        grid_hw=(hidden_NRCD.shape[1], hidden_NRCD.shape[2]),
        local_BNHW3=local_NHW3[None],
        T_first_cam_BN44=T_first_cam_N44[None],
        log_scale_B=log_scale[None],
    )
