"""Makes `tokenizer.json` of a GGUF's vocabulary: byte-level BPE and SentencePiece-like ones.

    tokens, types, merges │ scores ─▶ tokenizers.Tokenizer ─▶ tokenizer.json

The same texts give the same tokens as llama.cpp's own reading of the metadata; texts that look like
control tokens, which it may take for these, are the exception.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from msgspec import Struct

from maas.core.errors import MaasError, invalid
from maas.publish.gguf_scan import Value, flag_of, number_of, text_of
from maas.publish.language_pretokenizers import PRE_TOKENIZERS

if TYPE_CHECKING:
    from tokenizers import Tokenizer

NORMAL, UNKNOWN, CONTROL, USER, BYTE = 1, 2, 3, 4, 6
"""Types of tokens. Source: `tokenizer.ggml.token_type` in ggml's `docs/gguf.md`."""
SPECIAL = frozenset({UNKNOWN, CONTROL, USER})
"""Tokens that are recognised before a text is cut."""
SPACE = "\N{LOWER ONE EIGHTH BLOCK}"
LONGEST_TOKEN = 256
"""Characters of a token that is merged by its score."""
MOST_MERGED = 32 << 20
"""Characters of all merges that scores make."""
_ENDS = frozenset(
    {
        *("endoftext", "end_of_text", "eot_id", "eom_id", "im_end", "end", "return", "call"),
        *("eot", "eom", "eos"),
    }
)
_PLAIN_ENDS = frozenset(
    {
        *("<end_of_turn>", "<end_of_utterance>", "<EOT>", "_<EOT>", "[EOT]", "[EOS]", "</s>"),
        *("<eos>", "<｜end▁of▁sentence｜>"),
    }
)
_CURE = "publish the Hugging Face folder that it was made from, with its tokenizer.json"


class Tokens(Struct, frozen=True):
    """A GGUF's vocabulary.

    Args:
        model: `gpt2` (byte-level BPE) or `llama` (SentencePiece-like).
        texts: by token id, each once.
        types: by token id.
        bos: what a text begins with, or None.
        eos: what an answer ends with, or None.
        add_bos: whether a plain text is given a BOS.
    """

    model: str
    texts: tuple[str, ...]
    types: tuple[int, ...]
    bos: int | None
    eos: int | None
    add_bos: bool


def read_tokens(metadata: Mapping[str, Value]) -> Tokens:
    """Reads the vocabulary.

    Raises:
        MaasError: INVALID_ARGUMENT where there is none that is read here, or it contradicts itself.
    """
    model = text_of(metadata, "tokenizer.ggml.model")
    if model not in ("gpt2", "llama"):
        kind = f"is of the kind {model[:40]!r}" if model else "is missing"
        raise invalid(
            f"the GGUF's vocabulary {kind}; gpt2 (byte-level BPE) and llama (SentencePiece) are "
            f"read here: {_CURE}"
        )
    texts = strings_of(metadata, "tokenizer.ggml.tokens")
    if not texts:
        raise invalid(f"the GGUF has no tokens; {_CURE}")
    count = len(texts)
    types = _types(metadata, texts)
    named = [_special(metadata, name, count) for name in ("bos", "eos")]
    default = (
        model == "llama" or PRE_TOKENIZERS.get(_pre(metadata), PRE_TOKENIZERS["default"]).add_bos
    )
    add_bos = flag_of(metadata, "tokenizer.ggml.add_bos_token", default)
    return Tokens(model, texts, types, named[0], named[1], add_bos and named[0] is not None)


def ends_by_text(text: str) -> bool:
    """Whether a token that is no word ends an answer, by how such tokens are commonly called."""
    return text in _PLAIN_ENDS or _is_end_mark(text)


def _is_end_mark(text: str) -> bool:
    return text.startswith("<|") and text.endswith("|>") and text[2:-2] in _ENDS


def strings_of(metadata: Mapping[str, Value], key: str) -> tuple[str, ...]:
    """A list of texts of the metadata; empty where there is none.

    Raises:
        MaasError: INVALID_ARGUMENT where it is something else.
    """
    value = metadata.get(key, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise invalid(f"the GGUF's metadata has no proper {key!r}; expected a list of texts")
    return tuple(value)


def make_tokenizer(metadata: Mapping[str, Value], tokens: Tokens) -> str:
    """Makes the text of `tokenizer.json`.

    Raises:
        MaasError: INVALID_ARGUMENT where the vocabulary cuts texts in a way not known here, or
            contradicts itself.
    """
    _check_unique(tokens)
    make = _byte_level if tokens.model == "gpt2" else _sentence_pieces
    try:
        tokenizer = make(metadata, tokens, {text: at for at, text in enumerate(tokens.texts)})
        _add_specials(tokenizer, metadata, tokens)
    except MaasError:
        raise
    except Exception as error:  # the library knows no narrower one
        raise invalid(f"the GGUF's vocabulary cannot be read ({str(error)[:200]}); {_CURE}") from (
            error
        )
    if tokenizer.get_vocab_size(with_added_tokens=True) != len(tokens.texts):
        raise invalid(f"the GGUF's vocabulary does not add up; {_CURE}")
    return str(tokenizer.to_str())


def _byte_level(
    metadata: Mapping[str, Value], tokens: Tokens, vocabulary: dict[str, int]
) -> Tokenizer:
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    name = _pre(metadata)
    pre = PRE_TOKENIZERS.get(name)
    if pre is None:
        raise invalid(
            f"the GGUF's vocabulary cuts texts as {name[:40]!r} does, which is not known here; "
            f"{_CURE}"
        )
    merges: list[tuple[str, str]] = []
    for merge in strings_of(metadata, "tokenizer.ggml.merges"):
        head, space, right = merge[1:].partition(" ")  # a token has a character at least
        left = merge[:1] + head
        if not space or not {left, right, left + right} <= vocabulary.keys():
            raise invalid(f"the GGUF's merge {merge[:40]!r} is not of its own tokens; {_CURE}")
        merges.append((left, right))
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, ignore_merges=pre.whole))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            *(pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in pre.patterns),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _sentence_pieces(
    metadata: Mapping[str, Value], tokens: Tokens, vocabulary: dict[str, int]
) -> Tokenizer:
    from tokenizers import Tokenizer, decoders, models, normalizers

    unknown = _special(metadata, "unknown", len(tokens.texts))
    prefix = flag_of(metadata, "tokenizer.ggml.add_space_prefix", default=True)
    model = models.BPE(
        vocab=vocabulary,
        merges=_merges(metadata, tokens),
        unk_token=tokens.texts[unknown] if unknown is not None else None,
        fuse_unk=True,
        byte_fallback=BYTE in tokens.types,
    )
    tokenizer = Tokenizer(model)
    steps: list[normalizers.Normalizer] = [normalizers.Replace(" ", SPACE)]
    writing: list[decoders.Decoder] = [
        decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()
    ]  # fmt: skip
    if prefix:
        steps.insert(0, normalizers.Prepend(SPACE))
        writing.append(decoders.Strip(" ", 1, 0))
    tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.decoder = decoders.Sequence(writing)
    return tokenizer


def _merges(metadata: Mapping[str, Value], tokens: Tokens) -> list[tuple[str, str]]:
    """What SentencePiece would merge, best first: any two tokens that make a third, by its score.

    Raises:
        MaasError: INVALID_ARGUMENT where the scores are not as many as the tokens.
    """
    scores = metadata.get("tokenizer.ggml.scores")
    if not isinstance(scores, np.ndarray) or len(scores) != len(tokens.texts):
        raise invalid(f"the GGUF's vocabulary has not one score for each token; {_CURE}")
    if scores.dtype.kind != "f" or not np.isfinite(scores).all():
        raise invalid(f"a score is no number in the GGUF's vocabulary; {_CURE}")
    plain = {
        text: at
        for at, (text, type_) in enumerate(zip(tokens.texts, tokens.types, strict=True))
        if type_ != BYTE and type_ not in SPECIAL
    }
    found: list[tuple[float, int, int, tuple[str, str]]] = []
    merged = 0
    for text, at in plain.items():
        if len(text) > LONGEST_TOKEN:
            raise invalid(f"token {at} of the GGUF has {len(text)} characters; {_CURE}")
        for cut in range(1, len(text)):
            left, right = plain.get(text[:cut]), plain.get(text[cut:])
            if left is not None and right is not None:
                found.append((-float(scores[at]), left, right, (text[:cut], text[cut:])))
                merged += len(text)
        if merged > MOST_MERGED:
            raise invalid(f"the GGUF's tokens can be made of others in too many ways; {_CURE}")
    found.sort()
    return [pair for *_, pair in found]


def _add_specials(tokenizer: Tokenizer, metadata: Mapping[str, Value], tokens: Tokens) -> None:
    """Tokens that are recognised before a text is cut: control ones, and those the user added."""
    from tokenizers import AddedToken

    # The Phi-3 family takes the white space behind a control token for a part of it.
    named = text_of(metadata, "general.name").lower()
    strips = text_of(metadata, "general.architecture") == "phi3" or "phi-3" in named
    kept = {tokens.bos, *(i for i, text in enumerate(tokens.texts) if text == "<|endoftext|>")}
    tokenizer.add_tokens(
        [
            AddedToken(
                text,
                special=type_ in (UNKNOWN, CONTROL),
                normalized=False,
                rstrip=strips and type_ == CONTROL and at not in kept,
            )
            for at, (text, type_) in enumerate(zip(tokens.texts, tokens.types, strict=True))
            if type_ in SPECIAL
        ]
    )


def _check_unique(tokens: Tokens) -> None:
    """Refuses a vocabulary in which two tokens are the same, or one is empty.

    Raises:
        MaasError: INVALID_ARGUMENT.
    """
    seen: dict[str, int] = {}
    for at, text in enumerate(tokens.texts):
        if not text or text in seen:
            what = "is empty" if not text else f"is the same as token {seen[text]}"
            raise invalid(f"token {at} of the GGUF {what}; {_CURE}")
        seen[text] = at


def _types(metadata: Mapping[str, Value], texts: Sequence[str]) -> tuple[int, ...]:
    value = metadata.get("tokenizer.ggml.token_type")
    if value is None:
        types = [NORMAL] * len(texts)
    elif isinstance(value, np.ndarray) and value.dtype.kind in "iu" and len(value) == len(texts):
        types = value.tolist()
    else:
        raise invalid(f"the GGUF's vocabulary has not one type for each token; {_CURE}")
    # No word is written like <|im_end|>: where one is said to be, its converter forgot.
    return tuple(
        CONTROL if type_ == NORMAL and _is_end_mark(text) else type_
        for type_, text in zip(types, texts, strict=True)
    )


def _special(metadata: Mapping[str, Value], name: str, count: int) -> int | None:
    key = f"tokenizer.ggml.{name}_token_id"
    if key not in metadata:
        return None
    return number_of(metadata, key, 0, count - 1)


def _pre(metadata: Mapping[str, Value]) -> str:
    return text_of(metadata, "tokenizer.ggml.pre", "default")
