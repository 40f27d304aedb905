"""The vocabulary of a tokenizer.json as GGUF keeps it.

The server tokenises with tokenizer.json itself, so that engines see tokens only: this is for their
readers, which want one, and for grammars, which need the text of each token. How texts are cut
before they merge (`tokenizer.ggml.pre`) matters to neither: a way without a name is lowered too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct

from maas.core.errors import MaasError, invalid
from maas.publish.hf_config import KeptError
from maas.publish.language_tokenizer import BYTE, CONTROL, NORMAL, USER

UNUSED = 5
"""Type of a row without a token. Source: `tokenizer.ggml.token_type` in ggml's `docs/gguf.md`."""
LONGEST_TOKEN = 4096
"""Characters of one token."""


class HfVocabulary(Struct, frozen=True):
    """What GGUF is told.

    Args:
        model: `gpt2` (byte-level BPE) or `llama` (SentencePiece-like).
        pre: how texts are cut, as llama.cpp names it.
        texts: by token id, one for each row of the embedding.
        types: by token id.
        scores: by token id; for `llama` only.
        merges: for `gpt2` only.
    """

    model: str
    pre: str
    texts: list[str]
    types: list[int]
    scores: list[float]
    merges: list[str]


def vocabulary_of(tokenizer: Mapping[str, Any], rows: int) -> HfVocabulary:
    """Reads the vocabulary.

    Args:
        tokenizer: tokenizer.json.
        rows: of the embedding; those past the tokens are filled up.

    Raises:
        KeptError: for a kind of vocabulary that GGUF has no form of.
        MaasError: INVALID_ARGUMENT for a tokenizer that does not go with the model.
    """
    model = tokenizer.get("model")
    if not isinstance(model, dict):
        raise _wrong("it has no model")
    kind = model.get("type", "BPE")
    if kind not in ("BPE", "Unigram"):
        raise KeptError(f"its tokenizer is {str(kind)[:40]}, which GGUF has no form of")
    pieces = kind == "Unigram" or bool(model.get("byte_fallback"))
    texts: list[str] = [""] * rows
    types = [UNUSED] * rows
    for text, token in _plain(model, kind):
        _put(texts, text, token)
        is_byte = pieces and len(text) == 6 and text.startswith("<0x") and text.endswith(">")
        types[token] = BYTE if is_byte else NORMAL
    for text, token, special in added_tokens(tokenizer):
        if token < rows:  # others were added after training, and the model has never seen them
            _put(texts, text, token)
            types[token] = CONTROL if special else USER
    for token in range(rows):
        if types[token] == UNUSED:
            texts[token] = f"[PAD{token}]"
    scores = [float(-token) for token in range(rows)] if pieces else []
    merges = [] if pieces else list(_merges(model))
    return HfVocabulary(
        "llama" if pieces else "gpt2", _pre(tokenizer), texts, types, scores, merges
    )


def added_tokens(tokenizer: Mapping[str, Any]) -> Iterator[tuple[str, int, bool]]:
    """Tokens beside the model's own: text, id, whether it is a control token.

    Raises:
        MaasError: INVALID_ARGUMENT for entries that are none.
    """
    added = tokenizer.get("added_tokens") or []
    if not isinstance(added, list):
        raise _wrong("its added_tokens are no list")
    for each in added:
        if not isinstance(each, dict) or not isinstance(each.get("content"), str):
            raise _wrong("an added token has no text")
        yield each["content"], _id(each.get("id")), bool(each.get("special"))


def _plain(model: Mapping[str, Any], kind: str) -> Iterator[tuple[str, int]]:
    vocabulary = model.get("vocab")
    if kind == "BPE" and isinstance(vocabulary, dict):
        for text, token in vocabulary.items():
            yield text, _id(token)
    elif kind == "Unigram" and isinstance(vocabulary, list):
        for token, pair in enumerate(vocabulary):
            if not isinstance(pair, list) or not pair or not isinstance(pair[0], str):
                raise _wrong("an entry of its vocabulary is no text with a score")
            yield pair[0], token
    else:
        raise _wrong("it has no vocabulary")


def _put(texts: list[str], text: str, token: int) -> None:
    if token >= len(texts):
        raise invalid(
            f"tokenizer.json knows the token {token}, and the model's embedding has {len(texts)} "
            "rows; make them fit (model.resize_token_embeddings(len(tokenizer))) and save both "
            "again"
        )
    if len(text) > LONGEST_TOKEN:
        raise _wrong(f"a token has more than {LONGEST_TOKEN} characters")
    texts[token] = text


def _merges(model: Mapping[str, Any]) -> Iterator[str]:
    merges = model.get("merges")
    if not isinstance(merges, list):
        raise _wrong("it has no merges")
    for merge in merges:
        parts = merge.split(" ") if isinstance(merge, str) else merge
        if not isinstance(parts, list) or len(parts) != 2 or not all(type(p) is str for p in parts):
            raise _wrong("a merge is no pair of texts")
        yield " ".join(parts)


def _pre(tokenizer: Mapping[str, Any]) -> str:
    """The name of the nearest way of cutting; see the module's docstring on why nearest will do."""
    cut = str(tokenizer.get("pre_tokenizer"))
    if "{1,3}" in cut:
        return "llama-bpe"
    if "'Digits'" in cut:
        return "smollm"
    return "qwen2" if r"\\p{N}|" in cut else "gpt-2"


def _id(token: object) -> int:
    if isinstance(token, bool) or not isinstance(token, int) or token < 0:
        raise _wrong(f"{str(token)[:40]!r} is no token's number")
    return token


def _wrong(what: str) -> MaasError:
    return invalid(f"tokenizer.json is none that tokenizers writes: {what}; save it again")
