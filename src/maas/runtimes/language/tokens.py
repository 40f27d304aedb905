"""A model's tokens: text to numbers, and a number to the bytes that it writes.

`tokenizers` reads `tokenizer.json`, which is data. It turns text into tokens. The way back is a
table made once at load, since an answer comes one token at a time: a token's bytes are what the
steps of the tokenizer's decoder make of it alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from maas.core.errors import MaasError, invalid
from maas.runtimes.language.card import TOKENIZER, LanguageCard

if TYPE_CHECKING:
    from tokenizers import AddedToken, Tokenizer

Step = Callable[[str | bytes], str | bytes]

_LIMIT_BYTES = 256 << 20
LONGEST_BYTES = 64 << 10
"""Of what a token writes."""
MOST_GROWTH = 64
"""How many times longer a normalizer may make a text."""
PANIC = "PanicException"
"""What Rust code raises where it gives up. It is no `Exception`, and no module has its class."""


class _Added(Struct):
    id: int
    content: str


class _Document(Struct):
    added_tokens: list[_Added] = []
    normalizer: Any = None


class Vocabulary:
    """The tokens of one model. Threads may share it; `encode` lets others run meanwhile.

    Args:
        file: a `tokenizer.json`.
        card: the model's.

    Raises:
        MaasError: INVALID_ARGUMENT for a file that is no tokenizer, or whose way to write text is
            not known here.
    """

    def __init__(self, file: Path, card: LanguageCard):
        self._whole = _open(file)
        added = self._whole.get_added_tokens_decoder()
        self._plain = _without_specials(self._whole, added)
        self.size = card.vocabulary
        """How many tokens the model has; the tokenizer may know fewer."""
        self.controls = frozenset(card.control_tokens)
        """Tokens that steer instead of saying something."""
        self._table = _table(self._whole, added, self.size)
        self.known = self._whole.get_vocab_size()
        """How many the tokenizer has; the model may be unable to take the last of them."""

    def encode(self, text: str, *, special: bool) -> list[int]:
        """Turns a text into tokens. No token is put before it.

        Args:
            text: any.
            special: control tokens that are written in the text are recognised, as a rendered
                template has them. Otherwise they are characters like others.

        Raises:
            MaasError: INVALID_ARGUMENT for a text with half of a surrogate pair, or one that takes
                a token which the model does not have.
        """
        tokenizer = self._whole if special else self._plain
        try:
            tokens: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
        except (UnicodeEncodeError, TypeError):
            raise invalid("the text is not valid Unicode; expected no lone surrogates") from None
        except BaseException as error:
            if type(error).__name__ != PANIC:
                raise
            # Its regular expressions look for a match until they have gone back too often.
            raise invalid("the model's tokenizer cannot cut this text; send another") from None
        if self.known > self.size and tokens and max(tokens) >= self.size:
            raise invalid(f"the text takes a token that the model, with {self.size}, has not")
        return tokens

    def bytes_of(self, token: int) -> bytes:
        """What a token writes; it may end inside a character. Empty for one without a text."""
        return self._table[token]


def _open(file: Path) -> Tokenizer:
    from tokenizers import Tokenizer

    try:
        if file.stat().st_size > _LIMIT_BYTES:
            raise invalid(f"{TOKENIZER} is larger than {_LIMIT_BYTES} bytes")
        document = file.read_bytes()
        tokenizer = Tokenizer.from_buffer(document)
        known = msgspec.json.decode(document, type=_Document)
        _check_growth(known.normalizer)
    except OSError:
        raise invalid(f"this model has no {TOKENIZER} that can be read") from None
    except MaasError:
        raise
    except Exception as error:  # noqa: BLE001  # the library raises this very class
        raise invalid(f"{TOKENIZER} is no tokenizer: {str(error)[:300]}") from None
    if moved := [t.content for t in known.added_tokens if tokenizer.token_to_id(t.content) != t.id]:
        # The library numbers added tokens on from the last one, whatever the file says.
        raise invalid(
            f"{TOKENIZER} gives the added token {moved[0][:50]!r} a number with a gap before it;"
            " expected numbers that follow one another"
        )
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _check_growth(normalizer: Any) -> None:
    """Refuses a normalizer that makes a book of a word: steps that replace multiply.

    Raises:
        MaasError: INVALID_ARGUMENT.
    """
    growth, pending = 1, [normalizer]
    while pending:
        step = pending.pop()
        if isinstance(step, dict):
            pending += step.get("normalizers") or ()
            growth *= max(1, len(str(step.get("content") or "")))
    if growth > MOST_GROWTH:
        raise invalid(
            f"{TOKENIZER} can make a text {str(growth)[:20]} times as long before it is cut;"
            f" expected at most {MOST_GROWTH} times"
        )


def _without_specials(whole: Tokenizer, added: Mapping[int, AddedToken]) -> Tokenizer:
    """The same tokenizer, blind to control tokens in a text. It shares the large tables."""
    from tokenizers import Tokenizer

    plain = Tokenizer(whole.model)
    if whole.normalizer is not None:
        plain.normalizer = whole.normalizer
    if whole.pre_tokenizer is not None:
        plain.pre_tokenizer = whole.pre_tokenizer
    for number in sorted(added):
        plain.add_tokens([added[number]])
    plain.encode_special_tokens = True
    return plain


def _table(tokenizer: Tokenizer, added: Mapping[int, AddedToken], size: int) -> list[bytes]:
    document = json.loads(tokenizer.decoder.__getstate__()) if tokenizer.decoder else None
    steps, verbatim = _steps(document)
    table = [b""] * size
    for text, number in tokenizer.get_vocab(with_added_tokens=True).items():
        if number >= size:
            continue
        token = added.get(number)
        if token is not None and (token.special or verbatim):
            table[number] = token.content.encode()
        else:
            table[number] = _written(text, steps)
        if len(table[number]) > LONGEST_BYTES:
            raise invalid(
                f"the tokenizer writes {len(table[number])} bytes for token {number}; expected at"
                f" most {LONGEST_BYTES}"
            )
    return table


def _written(token: str | bytes, steps: Iterable[Step]) -> bytes:
    for step in steps:
        token = step(token)
    return token if isinstance(token, bytes) else token.encode()


def _steps(document: Any) -> tuple[list[Step], bool]:
    """What a decoder does to a token, and whether it leaves added tokens as they are.

    Steps that look at a text's ends are left out: a token is somewhere in the middle of one.
    """
    parts = _flat(document) if document else []
    kinds = [part["type"] for part in parts]
    if "ByteLevel" in kinds:
        return [partial(_byte_level, _alphabet())], True
    steps: list[Step] = []
    for part, kind in zip(parts, kinds, strict=True):
        if kind == "Replace" and "String" in part["pattern"]:
            steps.append(partial(_replace, part["pattern"]["String"], part["content"]))
        elif kind == "Metaspace":
            steps.append(partial(_replace, part["replacement"], " "))
        elif kind == "BPEDecoder":
            steps.append(partial(_replace, part["suffix"], " "))
        elif kind == "ByteFallback":
            steps.append(_byte_fallback)
        elif kind not in ("Fuse", "Strip"):
            raise invalid(
                f"the tokenizer writes text with {kind!r}, which is not known here; expected"
                " byte-level or SentencePiece-like tokens"
            )
    return steps, False


def _flat(document: Any) -> list[dict[str, Any]]:
    if document["type"] != "Sequence":
        return [document]
    return [part for inner in document["decoders"] for part in _flat(inner)]


def _replace(old: str, new: str, token: str | bytes) -> str | bytes:
    return token.replace(old, new) if isinstance(token, str) else token


def _byte_fallback(token: str | bytes) -> str | bytes:
    """`<0x0A>` is the byte 10."""
    if isinstance(token, str) and len(token) == 6 and token.startswith("<0x") and token[5] == ">":
        try:
            return bytes.fromhex(token[3:5])
        except ValueError:
            return token
    return token


def _byte_level(alphabet: Mapping[int, int], token: str | bytes) -> str | bytes:
    """Every character stands for a byte; a token with any other is a text already."""
    if isinstance(token, str):
        try:
            return bytes(map(alphabet.__getitem__, map(ord, token)))
        except KeyError:
            return token
    return token


def _alphabet() -> dict[int, int]:
    """GPT-2's characters for bytes: printable ones for themselves, the others from 256 on."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others: Iterable[int] = (byte for byte in range(256) if byte not in printable)
    return {byte: byte for byte in printable} | {
        256 + place: byte for place, byte in enumerate(others)
    }
