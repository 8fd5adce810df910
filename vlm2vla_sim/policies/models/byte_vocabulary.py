"""A tokenizer's vocabulary as bytes: what each token adds to the text that an answer is decoded to.

A grammar decides about text, a model writes tokens. The bytes of a token are taken from the tokenizer's own `decode`,
so that the text a grammar has allowed is the text that is read. What a tokenizer does to a text on its way in (a space
in front, a normalizer) is no property of its tokens, and must not change the text that a grammar forces.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from typing import Any

from vlm2vla_sim.errors import SettingError

_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


class ByteVocabulary:
    """The tokens of a fast tokenizer of transformers as bytes."""

    def __init__(self, tokenizer: Any, *, size: int) -> None:
        """size: the number of the model's logits, which may be smaller or larger than the tokenizer's vocabulary.

        SettingError for a tokenizer whose text is not that of its tokens one after the other.
        """
        self._backend = fast_backend(tokenizer)
        self.special = sorted(token for token in special_tokens(tokenizer) if token < size)
        """Ids of the tokens that are no text."""
        self.tokens = self._bytes(size, tokenizer)
        """What each token adds to an answer, (size,); empty for a token that no text contains."""
        self._encoder = _without_prefix(self._backend)

    def encode(self, text: str) -> list[int]:
        """The tokens of `text` inside an answer: the tokenizer's own, or the longest ones if it changes the text."""
        # transformers sets both in its own tokenizer, at every call that needs them.
        self._encoder.no_padding()
        self._encoder.no_truncation()
        ids = self._encoder.encode(text, add_special_tokens=False).ids
        known = all(token < len(self.tokens) for token in ids)
        if known and b"".join(self.tokens[token] for token in ids) == text.encode():
            return ids
        return self._longest(text.encode())

    def _longest(self, text: bytes) -> list[int]:
        """Greedy tokens of `text`, up to a byte for which there is none."""
        ids: list[int] = []
        while text:
            length = next((k for k in range(min(len(text), 32), 0, -1) if text[:k] in self._by_bytes), 0)
            if not length:
                break
            ids.append(self._by_bytes[text[:length]])
            text = text[length:]
        return ids

    @functools.cached_property
    def _by_bytes(self) -> dict[bytes, int]:
        found: dict[bytes, int] = {}
        for token, written in enumerate(self.tokens):
            found.setdefault(written, token)
        return found

    def _bytes(self, size: int, tokenizer: Any) -> list[bytes]:
        anchor = find_anchor(self._backend)
        if anchor is None:
            model, decoder = type(self._backend.model).__name__, _state(self._backend.decoder).get("type")
            raise SettingError(
                f"The tokenizer of {tokenizer.name_or_path or 'this model'} (model {model}, decoder "
                f"{decoder}) does not write a text by putting its tokens one after the other, so that answers "
                "cannot be constrained to a grammar. Use a model with a BPE or Unigram tokenizer, or constrained=false."
            )
        token, letter = anchor
        known = min(size, self._backend.get_vocab_size(with_added_tokens=True))
        texts = self._backend.decode_batch([[token, other, token] for other in range(known)], skip_special_tokens=True)
        decoder, special = json.dumps(_state(self._backend.decoder)), set(self.special)
        table = [b""] * size
        for other, text in enumerate(texts):
            # Not every id has a token, and a decoder may let a token change its neighbours; such tokens are not used.
            if other in special or not (len(text) > 2 and text[0] == text[-1] == letter):
                continue
            inner = text[1:-1]
            table[other] = inner.encode() if _REPLACEMENT not in inner else self._part_of_character(other, decoder)
        return table

    def _part_of_character(self, token: int, decoder: str) -> bytes:
        """The bytes of a token that is not whole characters. Its name has them."""
        name = self._backend.id_to_token(token) or ""
        if '"ByteFallback"' in decoder and (byte := _BYTE_TOKEN.fullmatch(name)):
            return bytes([int(byte[1], 16)])
        if '"ByteLevel"' in decoder and all(character in _byte_level() for character in name):
            return bytes(_byte_level()[character] for character in name)
        return b""


def fast_backend(tokenizer: Any) -> Any:
    """The `tokenizers.Tokenizer` of a tokenizer of transformers; SettingError for one that is written in Python."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or not hasattr(backend, "to_str"):
        raise SettingError(
            f"The tokenizer {type(tokenizer).__name__} is not a fast one (of the package tokenizers), so that answers "
            "cannot be constrained to a grammar. Use a model whose folder has a tokenizer.json, or "
            "constrained=false."
        )
    return backend


def special_tokens(tokenizer: Any) -> set[int]:
    """Ids of the tokens that `decode` leaves out with `skip_special_tokens`."""
    added = tokenizer.added_tokens_decoder
    return {*tokenizer.all_special_ids, *(token for token, one in added.items() if one.special)}


def find_anchor(backend: Any) -> tuple[int, str] | None:
    """A token and its letter, for a token that is the same letter wherever it is; None if there is none."""
    for letter in "xaeiotnrsXAEIOTNRS":
        token = backend.token_to_id(letter)
        if token is not None and backend.decode([token] * 3, skip_special_tokens=True) == letter * 3:
            return token, letter
    return None


def _state(part: Any) -> dict[str, Any]:
    """A normalizer, pre-tokenizer or decoder as in tokenizer.json; empty for None."""
    return {} if part is None else json.loads(part.__getstate__())


def _without_prefix(backend: Any) -> Any:
    """The tokenizer without the space that it puts before a text; itself if it puts none."""
    if not any(map(_is_prefix, (*_steps(_state(backend.normalizer)), *_steps(_state(backend.pre_tokenizer))))):
        return backend
    description = json.loads(backend.to_str())
    if (description["normalizer"] or {}).get("type") == "Prepend":
        description["normalizer"] = None
    for step in (*_steps(description["normalizer"] or {}), *_steps(description["pre_tokenizer"] or {})):
        if "normalizers" in step:
            step["normalizers"] = [inner for inner in step["normalizers"] if inner["type"] != "Prepend"]
        elif _is_prefix(step):
            step |= {"prepend_scheme": "never"} if step["type"] == "Metaspace" else {"add_prefix_space": False}
    return type(backend).from_str(json.dumps(description))


def _is_prefix(step: dict[str, Any]) -> bool:
    spaced = {"Prepend": True, "Metaspace": step.get("prepend_scheme") != "never"}
    return spaced.get(str(step.get("type")), bool(step.get("add_prefix_space")))


def _steps(part: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A normalizer or pre-tokenizer, and what it consists of."""
    yield part
    for inner in (*part.get("normalizers", ()), *part.get("pretokenizers", ())):
        yield from _steps(inner)


@functools.cache
def _byte_level() -> dict[str, int]:
    """Character -> byte of byte-level BPE: openai/gpt-2@9b63575 src/encoder.py:9."""
    printed = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printed]
    return {chr(byte): byte for byte in printed} | {chr(256 + k): byte for k, byte in enumerate(others)}
