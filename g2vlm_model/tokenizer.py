# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Text to token ids and back: Qwen2's byte-level BPE, from either of the two file layouts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from .config import CHAT, RECONSTRUCT, SpecialIds, TokenNames
from .config_fields import read_json
from .foreign import foreign
from .interface.documents import parse_json
from .interface.words import plain
from .model_folder import has_file, require_file

__all__ = ["QWEN2_SPLIT", "PromptIds", "Tokenizer", "prompt_ids", "system_ids", "user_ids"]

QWEN2_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""How Qwen2 cuts text ahead of the merges."""

_VOCABULARY, _SPECIAL = "it holds the vocabulary", "it names the special tokens"
# Ids that follow the last entry of a published vocab.json, where no file names them.
QWEN2_SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)


class Tokenizer:
    """Encodes and decodes text.

    Args:
        backend: A `tokenizers.Tokenizer`.
        source: Named in errors.
    """

    def __init__(self, backend: Any, source: str = "tokenizer") -> None:
        self.backend = backend
        self.source = source

    @classmethod
    def from_folder(cls, folder: str | Path) -> Tokenizer:
        """Read `tokenizer.json`, or else `vocab.json` and `merges.txt`.

        Raises:
            FileNotFoundError: Neither layout is there.
            ValueError: A file cannot be read as what its name says.
        """
        from tokenizers import Tokenizer as Backend

        root = Path(folder)
        whole = root / "tokenizer.json"
        if has_file(whole, _VOCABULARY):
            try:
                with foreign(str(whole)):
                    backend = Backend.from_str(whole.read_text(encoding="utf-8"))
                    # Nobody here pads or cuts; a file that says so can panic, or ask for petabytes.
                    backend.no_truncation()
                    backend.no_padding()
                    return cls(backend, str(whole))
            except Exception as error:  # the library raises bare Exception
                raise ValueError(f"{whole} is no valid tokenizer: {plain(str(error))}") from None
        vocab, merges = root / "vocab.json", root / "merges.txt"
        if has_file(vocab, _VOCABULARY) or has_file(merges, _VOCABULARY):
            for path in (vocab, merges):
                require_file(path, _VOCABULARY)
            with foreign(str(vocab)):
                return cls(_qwen2_backend(vocab, merges), str(vocab))
        raise FileNotFoundError(
            f"{root} holds no tokenizer: tokenizer.json, or vocab.json and merges.txt, is needed"
        )

    @property
    def size(self) -> int:
        """Number of ids, special ones included."""
        return int(self.backend.get_vocab_size(with_added_tokens=True))

    def encode(self, text: str) -> list[int]:
        """Return the ids of a piece of text; nothing is put around them.

        Raises:
            ValueError: The vocabulary has no word for it, or the library gives up.
        """
        ids: list[int] = self._encoded(text).ids
        return ids

    @cached_property
    def special(self) -> frozenset[int]:
        """Ids of the special tokens, which words never mean."""
        added = self.backend.get_added_tokens_decoder()
        return frozenset(int(number) for number, token in added.items() if token.special)

    def begins(self, text: str) -> list[int]:
        """Return the index of the first character of each token of `encode(text)`."""
        return [int(begin) for begin, _ in self._encoded(text).offsets]

    def decode(self, ids: Sequence[int], *, skip_special: bool = True) -> str:
        """Return the text of ids; incomplete characters become U+FFFD."""
        with foreign(self.source):
            text: str = self.backend.decode(list(ids), skip_special_tokens=skip_special)
        return text

    def id_of(self, name: str) -> int:
        """Return the one id of a token name or of a text that is a single token.

        Raises:
            ValueError: The vocabulary has no such token.
        """
        found = self.backend.token_to_id(name)
        if found is not None:
            return int(found)
        ids = self.encode(name)
        if len(ids) != 1:
            raise ValueError(
                f"{self.source} has no single token {name!r}; name the special tokens under "
                '"tokens" in g2vlm_config.json'
            )
        return ids[0]

    def special_ids(self, names: TokenNames) -> SpecialIds:
        """Look up the special tokens of a model.

        Raises:
            ValueError: One is missing.
        """
        return SpecialIds(**{field: self.id_of(name) for field, name in vars(names).items()})

    def _encoded(self, text: str) -> Any:
        try:
            with foreign(self.source):
                return self.backend.encode(text, add_special_tokens=False)
        except Exception as error:  # the library raises bare Exception
            raise ValueError(f"{self.source} cannot encode: {plain(str(error))}") from error

    def save(self, folder: str | Path) -> None:
        """Write `tokenizer.json`."""
        self.backend.save(str(Path(folder) / "tokenizer.json"))


def _qwen2_backend(vocab_path: Path, merges_path: Path) -> Any:
    """Build Qwen2's tokenizer from its two files and the special tokens beside them."""
    from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers
    from tokenizers import Tokenizer as Backend

    try:
        vocab = parse_json(vocab_path.read_bytes())
        lines = merges_path.read_text(encoding="utf-8").splitlines()
        if lines and lines[0].startswith("#version"):
            del lines[0]
        merges = [
            (left, right)
            for left, _, right in (line.partition(" ") for line in lines)
            if left and right
        ]
        backend = Backend(models.BPE(vocab=vocab, merges=merges))
    except Exception as error:  # the library raises bare Exception
        raise ValueError(
            f"{vocab_path} and {merges_path} are no valid byte-level BPE: {plain(str(error))}"
        ) from None
    backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN2_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    for name, wanted in _special_tokens(vocab_path.parent, len(vocab)):
        backend.add_special_tokens([AddedToken(name, special=True, normalized=False)])
        got = backend.token_to_id(name)
        if wanted is not None and got != wanted:
            raise ValueError(
                f"{vocab_path.parent}: special token {name} gets id {got}, its file says {wanted}"
            )
    return backend


def _special_tokens(folder: Path, first_free: int) -> Iterable[tuple[str, int | None]]:
    """Return special tokens and ids: from the folder's files, or else Qwen2's own."""
    config = folder / "tokenizer_config.json"
    if has_file(config, _SPECIAL):
        decoder = read_json(config).get("added_tokens_decoder", {})
        if decoder:
            return sorted(
                ((entry["content"], int(number)) for number, entry in decoder.items()),
                key=lambda pair: pair[1],
            )
    added = folder / "added_tokens.json"
    if has_file(added, _SPECIAL):
        entries = read_json(added)
        return sorted(entries.items(), key=lambda pair: int(pair[1]))
    return [(name, first_free + offset) for offset, name in enumerate(QWEN2_SPECIAL)]


@dataclass(frozen=True)
class PromptIds:
    """Ids of the fixed texts around pictures and questions; each piece is encoded on its own.

    Args:
        reconstruct: Bos and the reconstruction sentence: all text of `reconstruct`.
        system: All text ahead of the pictures of a chat.
        answer: End of the question and begin of the answer.
        special: The special tokens.
    """

    reconstruct: tuple[int, ...]
    system: tuple[int, ...]
    answer: tuple[int, ...]
    special: SpecialIds

    def ahead(self, prompt: str) -> tuple[int, ...]:
        """Return what stands ahead of the frames; `prompt` is CHAT or RECONSTRUCT."""
        return {CHAT: self.system, RECONSTRUCT: self.reconstruct}[prompt]

    def question(self, ids: Sequence[int]) -> tuple[int, ...]:
        """Return what stands between the pictures and the answer."""
        return (*ids, *self.answer)

    def reasoning(self, ids: Sequence[int]) -> tuple[int, ...]:
        """Return what stands between the question and the answer's start; nothing for no words.

        The words are a first paragraph of the answer, which the model reads instead of writing it.
        """
        return (self.special.start_of_answer, *ids) if ids else ()


def system_ids(tokenizer: Tokenizer, names: TokenNames, text: str = "") -> tuple[int, ...]:
    """All text ahead of the pictures of a chat.

    Args:
        tokenizer: Of the model folder.
        names: Its special tokens.
        text: What the model is told to be; "" is the published words.
    """
    told = text or "You are a helpful assistant."
    whole = f"{names.bos}system\n{told}{names.eos}\n{names.bos}user\n"
    return tuple(tokenizer.encode(whole))


def user_ids(tokenizer: Tokenizer, names: TokenNames) -> tuple[int, ...]:
    """What stands between an answer's end and the next question."""
    return tuple(tokenizer.encode(f"\n{names.bos}user\n"))


def prompt_ids(tokenizer: Tokenizer, names: TokenNames) -> PromptIds:
    """Encode the published prompts.

    Args:
        tokenizer: Of the model folder.
        names: Its special tokens.
    """
    special = tokenizer.special_ids(names)
    return PromptIds(
        reconstruct=(special.bos, *tokenizer.encode("Reconstruct the 3D scene.")),
        system=system_ids(tokenizer, names),
        answer=tuple(tokenizer.encode(f"{names.eos}\n{names.bos}assistant")),
        special=special,
    )
