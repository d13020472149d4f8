# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Runs a golden case and records, under the goldens' names, every tensor on the way."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from g2vlm_model import preprocess
from g2vlm_model.cache import KeyValueCache
from g2vlm_model.checkpoint import load_weights, model_on_meta
from g2vlm_model.config import ModelConfig, SpecialIds
from g2vlm_model.generate import Sampler, decode
from g2vlm_model.model import G2VLM
from g2vlm_model.mot import attend_causal
from g2vlm_model.positions import DecodeStep
from g2vlm_model.sequence import FrameBlocks, interleave, text_positions

OWN_CASES = Path(__file__).resolve().parents[1] / "data" / "goldens"
Record = dict[str, Tensor]


KINDS = ("recon", "recon_square", "chat")
SEGMENTS = ("per_image", "compat")


def golden_folders() -> list[Path]:
    """Folders that hold cases: our own, and those named in G2VLM_GOLDENS.

    Raises:
        FileNotFoundError: A named folder does not exist, or holds nothing to compare with.
    """
    named = [Path(text) for text in os.environ.get("G2VLM_GOLDENS", "").split(os.pathsep) if text]
    for folder in named:
        if not folder.is_dir():
            raise FileNotFoundError(f"G2VLM_GOLDENS names {folder}, which is no folder")
        if not any(_is_case(candidate) for candidate in _candidates(folder)):
            raise FileNotFoundError(
                f"G2VLM_GOLDENS names {folder}, which holds no case: expected config.json with "
                "recon.*.safetensors, recon_square.* or chat.*, or preprocess.safetensors, there "
                "or one folder below"
            )
    return [OWN_CASES, *named]


def _candidates(folder: Path) -> list[Path]:
    return [folder, *(item for item in sorted(folder.iterdir()) if item.is_dir())]


def _is_case(folder: Path) -> bool:
    """Whether there is anything to compare with."""
    files = [f"{kind}.{segment}.safetensors" for kind in KINDS for segment in SEGMENTS]
    whole = (folder / "config.json").is_file() and any((folder / file).is_file() for file in files)
    return whole or (folder / "preprocess.safetensors").is_file()


def folders_with(name: str) -> list[Path]:
    """Every case folder that holds a file of this name, once."""
    found: dict[Path, None] = {}
    for folder in golden_folders():
        for candidate in _candidates(folder):
            if (candidate / name).is_file():
                found[candidate.resolve()] = None
    return list(found)


class Case:
    """A case folder: config, weights, pictures."""

    def __init__(self, folder: Path, scratch: Path) -> None:
        self.folder = folder
        self.raw: dict[str, Any] = json.loads((folder / "config.json").read_text())
        self.ids: dict[str, Any] = self.raw["token_ids"]
        self.config = self._config(scratch)
        with np.load(folder / "images.npz") as images:
            self.images = {name: images[name] for name in images}

    def _config(self, scratch: Path) -> ModelConfig:
        for part in ("text", "vit", "dino"):
            path = scratch / f"{part}_config.json"
            path.write_text(json.dumps(self.raw[f"{part}_config"]))
        extra = {
            "heads": self.raw["heads"],
            "dino_width": self.raw["dino_width"],
            "vit_size": self.raw["vit_size"],
            "confidence_head": self.raw.get("train_conf", False),
        }
        (scratch / "g2vlm_config.json").write_text(json.dumps(extra))
        return ModelConfig.from_folder(scratch)

    def model(self, dino_attention: str) -> G2VLM:
        special = SpecialIds(
            bos=self.ids["bos"],
            eos=self.raw.get("chat_eos", self.ids["eos"]),
            start_of_image=self.ids["start_of_image"],
            end_of_image=self.ids["end_of_image"],
            start_of_answer=self.ids["start_token"],
        )
        model = model_on_meta(replace(self.config, dino_attention=dino_attention), special)
        load_weights(model, [self.folder / "model.safetensors"])
        return model.eval()

    def window(self) -> list[np.ndarray[Any, np.dtype[np.uint8]]]:
        count = sum(name.startswith("img") for name in self.images)
        return [self.images[f"img{index}"] for index in range(count)]


class Recorder:
    """Records what passes through a model, under the names of the goldens' README."""

    def __init__(self, model: G2VLM, case: Case) -> None:
        self.model, self.case = model, case
        self.record: Record = {}
        self.cache = KeyValueCache(model.config, 1)
        self._seen: dict[str, Any] = {}
        self._positions: list[Tensor] = []

    def reconstruct(self, pictures: list[Any]) -> Record:
        ids = [self.case.ids["bos"], *self.case.ids["recon_prompt"]]
        with self._watching(), torch.inference_mode():
            self._text("text", ids)
            self._frames(pictures, heads=True)
        return self.record

    def chat(self, pictures: list[Any], max_length: int) -> Record:
        with self._watching(), torch.inference_mode():
            self._text("sys", self.case.ids["system"])
            self._frames(pictures, heads=False)
            self._semantic(pictures)
            self._text("prompt", self.case.ids["user_prompt_plus_tail"])
            self._keep_cache()
            self._decode(max_length)
        return self.record

    @contextmanager
    def _watching(self) -> Iterator[None]:
        model, record = self.model, self.record
        layers = model.trunk.layers
        undo: list[Callable[[], None]] = []

        def wrap(owner: Any, name: str, watch: Callable[[tuple[Any, ...], Any], None]) -> None:
            original = getattr(owner, name)

            def wrapped(*args: Any) -> Any:
                out = original(*args)
                watch(args, out)
                return out

            setattr(owner, name, wrapped)
            undo.append(lambda: delattr(owner, name))

        def keep(name: str) -> Callable[[tuple[Any, ...], Any], None]:
            return lambda args, out: self._seen.__setitem__(name, (args, out))

        def put(name: str, rank: int) -> Callable[[tuple[Any, ...], Any], None]:
            return lambda args, out: record.__setitem__(name, out.reshape(out.shape[-rank:]))

        wrap(model.rope, "rotation", lambda args, out: self._positions.append(args[0]))
        wrap(model.rope, "text", lambda args, out: self._positions.append(text_positions(*args)))
        for kind in ("forward", "forward_frames"):
            wrap(layers[0], kind, keep(f"first.{kind}"))
            wrap(layers[-1], kind, keep(f"last.{kind}"))
        wrap(model.dino, "embed", put("dino/embeddings", 3))
        wrap(model.dino.blocks[0], "forward", keep("dino_block"))
        wrap(model.dino, "forward", put("dino/tokens", 3))
        for decoder in ("point", "camera", "global", "confidence"):
            module = getattr(model.heads, f"{decoder}_decoder")
            published = {"global": "global_points", "confidence": "conf"}.get(decoder, decoder)
            if module is not None:
                wrap(module, "forward", put(f"heads/{published}_decoder", 3))
        try:
            yield
        finally:
            for step in reversed(undo):
                step()

    def _text(self, name: str, ids: list[int]) -> None:
        self._positions.clear()
        ids_BT = torch.tensor([ids])
        self.cache.reserve(len(ids))
        hidden = self.model.prefill_text(ids_BT, self.cache)
        (args, first), (_, last) = self._seen["first.forward"], self._seen["last.forward"]
        self.record |= {
            f"{name}/text_ids": ids_BT[0],
            f"{name}/position_ids": self._positions[-1],
            f"{name}/in_embeds": args[0][0],
            f"{name}/layer0": first[0],
            f"{name}/layer_last": last[0],
            f"{name}/normed": hidden[0],
            f"{name}/is_causal": torch.tensor(int(args[3] is attend_causal)),
            f"{name}/mode_geo": torch.tensor(0),
        }

    def _frames(self, pictures: list[Any], *, heads: bool) -> None:
        model, record = self.model, self.record
        self._positions.clear()
        pixels = preprocess.geometric_pixels(model.config, pictures)
        size = (pixels.shape[-2], pixels.shape[-1])
        grid = (size[0] // model.config.patch_size, size[1] // model.config.patch_size)
        resized = np.stack([preprocess.resize_geometric(picture, size) for picture in pictures])
        blocks = FrameBlocks(len(pictures), *grid)
        self.cache.reserve(blocks.tokens)
        tokens = model.encode_geometry(pixels[None])
        hidden = model.geometry_pass(tokens, grid, cache=self.cache).hidden_BNPD

        def in_order(marks: Tensor, patches: Tensor) -> Tensor:
            marks, patches = marks[0], patches.reshape(-1, patches.shape[-1])
            by_frame = (blocks.frames, -1)
            return interleave(marks.unflatten(0, by_frame), patches.unflatten(0, by_frame), 1)

        (args, first) = self._seen["first.forward_frames"]
        last = self._seen["last.forward_frames"][1]
        marks_3L, patches_3L = self._positions
        by_frame = (blocks.frames, -1)
        positions = interleave(
            marks_3L.unflatten(1, by_frame), patches_3L.unflatten(1, by_frame), 2
        )
        is_patch = interleave(
            torch.zeros(blocks.frames, 2), torch.ones(blocks.frames, blocks.patches), 1
        )
        record |= {
            "dino/original_images": torch.from_numpy(resized).permute(0, 3, 1, 2) / 255,
            "dino/pixel_values": pixels,
            "dino/enc_layer0": self._seen["dino_block"][1].flatten(0, 2),
            "dino/llm_in": tokens.flatten(0, 2),
            "dino/position_ids": positions,
            "dino/geo_token_indexes": is_patch.nonzero()[:, 0],
            "dino/text_token_indexes": (1 - is_patch).nonzero()[:, 0],
            "dino/in_embeds": in_order(args[0], args[1]),
            "dino/layer0": in_order(*first),
            "dino/layer_last": in_order(*last),
            "dino/normed": in_order(model.trunk.semantic_norm(last[0]), hidden),
            "dino/is_causal": torch.tensor(0),
            "dino/mode_geo": torch.tensor(1),
        }
        if heads:
            self._heads(hidden, grid)

    def _heads(self, hidden: Tensor, grid: tuple[int, int]) -> None:
        out = self.model.decode_geometry(hidden, grid, with_global=True)
        assert out.global_points_BNHW3 is not None
        self.record |= {
            "heads/rot9": out.rotation9_BN9[0],
            "out/local_points": out.local_points_BNHW3,
            "out/points": out.world_points_BNHW3,
            "out/global_points": out.global_points_BNHW3,
            "out/camera_poses": out.T_world_cam_BN44,
        }
        if out.confidence_logits_BNHW1 is not None:
            self.record["out/conf"] = out.confidence_logits_BNHW1

    def _semantic(self, pictures: list[Any]) -> None:
        model = self.model
        self._positions.clear()
        rows = preprocess.semantic_rows(model.config, pictures)
        blocks = FrameBlocks(len(pictures), *rows.merged_hw)
        self.cache.reserve(blocks.tokens)
        tokens = model.encode_semantic(rows.rows_NRC[None], rows.grid_hw)
        hidden = model.prefill_images(tokens, rows.merged_hw, self.cache)
        (args, first), (_, last) = self._seen["first.forward"], self._seen["last.forward"]
        by_frame = (blocks.frames, -1)
        marks_3L, patches_3L = self._positions
        positions = interleave(
            marks_3L.unflatten(1, by_frame), patches_3L.unflatten(1, by_frame), 2
        )
        for index in range(blocks.frames):
            part = slice(index * blocks.block, (index + 1) * blocks.block)
            self.record |= {
                f"vit{index}/pixel_values": rows.rows_NRC[index],
                f"vit{index}/grid_thw": torch.tensor([[1, *rows.grid_hw]]),
                f"vit{index}/vit_tokens": tokens[0, index],
                f"vit{index}/position_ids": positions[:, part],
                f"vit{index}/in_embeds": args[0][0, part],
                f"vit{index}/layer0": first[0, part],
                f"vit{index}/layer_last": last[0, part],
                f"vit{index}/normed": hidden[0, part],
                f"vit{index}/is_causal": torch.tensor(int(args[3] is attend_causal)),
                f"vit{index}/mode_geo": torch.tensor(0),
            }

    def _keep_cache(self) -> None:
        length = self.cache.length
        self.record |= {
            "prefill/k_cache_layer0": self.cache.keys[0, 0, :, :length].transpose(0, 1).clone(),
            "prefill/v_cache_layer0": self.cache.values[0, 0, :, :length].transpose(0, 1).clone(),
            "prefill/k_cache_last": self.cache.keys[-1, 0, :, :length].transpose(0, 1).clone(),
            "prefill/start_token": torch.tensor([self.model.special_ids.start_of_answer]),
        }

    def _decode(self, max_length: int) -> None:
        model, record = self.model, self.record
        self._positions.clear()
        self.cache.reserve(max_length)
        steps: list[DecodeStep] = []
        for step in decode(model, self.cache, Sampler()):
            if not steps:
                (args, first) = self._seen["first.forward"]
                last = self._seen["last.forward"][1]
                record |= {
                    "step0/position_ids": self._positions[-1],
                    "step0/in_embeds": args[0][0],
                    "step0/layer0": first[0],
                    "step0/layer_last": last[0],
                    "step0/normed": model.trunk.semantic_norm(last[0]),
                    "step0/is_causal": torch.tensor(int(args[3] is attend_causal)),
                    "step0/mode_geo": torch.tensor(0),
                }
            steps.append(step)
            if step.token == model.special_ids.eos or len(steps) == max_length:
                break
        tokens = [step.token for step in steps]
        # The published loop keeps what it feeds: the start token, and neither the end token
        # nor, where the length ends it, the last computed one.
        fed = [model.special_ids.start_of_answer, *tokens[:-1]]
        record |= {
            "chat/logits": torch.stack([step.logits_V for step in steps]),
            "chat/argmax": torch.tensor(tokens),
            "chat/returned_ids": torch.tensor(fed[1:], dtype=torch.int64),
            "chat/generated_with_start": torch.tensor(fed)[:, None],
        }


def expected(folder: Path, name: str) -> Record:
    """Tensors of a golden file."""
    return load_file(str(folder / name))
