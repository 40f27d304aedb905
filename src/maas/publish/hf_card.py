"""The card of a Hugging Face model: what begins a text, what ends an answer, what is hidden."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from maas.core.errors import invalid
from maas.publish.hf_folder import HfFolder
from maas.publish.hf_vocabulary import added_tokens
from maas.publish.language_card import end_tokens_of, tool_format_of
from maas.runtimes.language.card import LanguageCard

MOST_TOKENS = 2_000_000


class Specials(Struct, frozen=True):
    """Tokens with a meaning.

    Args:
        bos: what a text begins with, or None.
        add_bos: whether a plain text is given it.
        bos_text: as templates write it.
        eos_text: what they write for the end.
        ends: any of them ends an answer.
        controls: that are no text.
    """

    bos: int | None
    add_bos: bool
    bos_text: str
    eos_text: str
    ends: tuple[int, ...]
    controls: tuple[int, ...]


def specials_of(source: HfFolder, rows: int) -> Specials:
    """Reads them from wherever the folder says them.

    Args:
        source: the folder.
        rows: tokens that the model has.

    Raises:
        MaasError: INVALID_ARGUMENT where nothing says what ends an answer, or tokenizer.json is
            none.
    """
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(source.folder / "tokenizer.json"))
    except Exception as error:  # noqa: BLE001  # the library raises this very class
        raise invalid(f"tokenizer.json is no tokenizer: {str(error)[:300]}") from None
    added = [each for each in added_tokens(source.tokenizer) if each[1] < rows]
    texts = [""] * rows
    for text, token, _ in added:
        texts[token] = text
    bos_text, eos_text = (_text(source, f"{name}_token") for name in ("bos", "eos"))
    bos = tokenizer.token_to_id(bos_text) if bos_text else _number(source, "bos_token_id")
    named = [tokenizer.token_to_id(eos_text) if eos_text else None]
    for said in (source.generation, source.config):
        value = said.get("eos_token_id")
        named += value if isinstance(value, list) else [value]
    known = [token for token in named if isinstance(token, int) and 0 <= token < rows]
    ends = end_tokens_of(texts, {token for _, token, _ in added}, *known)
    if not ends:
        raise invalid(
            "the folder names no token that ends an answer; set eos_token_id in config.json and "
            "eos_token in tokenizer_config.json"
        )
    return Specials(
        bos=bos if bos is not None and bos < rows else None,
        add_bos=bos is not None and _adds_bos(source, tokenizer.encode("a").ids, bos),
        bos_text=bos_text,
        eos_text=eos_text,
        ends=tuple(dict.fromkeys((*known[:1], *ends))),
        controls=tuple(sorted({token for _, token, special in added if special})),
    )


def card_of(
    source: HfFolder, specials: Specials, rows: int, quantization: str, context_tokens: int
) -> LanguageCard:
    """Makes the card.

    Args:
        source: the folder.
        specials: its tokens with a meaning.
        rows: tokens that the model has.
        quantization: how its weights are kept, such as `Q8_0`.
        context_tokens: that it will have.
    """
    return LanguageCard(
        architecture=source.model_type,
        parameters=source.parameters,
        quantization=quantization,
        context_tokens=context_tokens,
        vocabulary=rows,
        end_tokens=specials.ends,
        bos_token=specials.bos,
        add_bos=specials.add_bos,
        chat_template=source.template,
        bos_text=specials.bos_text,
        eos_text=specials.eos_text,
        tool_format=tool_format_of(source.template),
        control_tokens=specials.controls,
    )


def put_tokenizer(source: HfFolder, folder: Path) -> None:
    """Copies tokenizer.json into the artifact's folder."""
    (folder / "tokenizer.json").write_bytes((source.folder / "tokenizer.json").read_bytes())


def _adds_bos(source: HfFolder, begun: list[int], bos: int) -> bool:
    """Whether a plain text begins with it: as the folder says, else as the tokenizer does."""
    said = source.tokenizer_config.get("add_bos_token")
    return said if isinstance(said, bool) else begun[:1] == [bos]


def _text(source: HfFolder, name: str) -> str:
    """A special token's text, which may be an object with the flags of an added token."""
    said = source.tokenizer_config.get(name)
    if isinstance(said, dict):
        said = said.get("content")
    return said if isinstance(said, str) else ""


def _number(source: HfFolder, name: str) -> int | None:
    value = source.config.get(name)
    return value if type(value) is int and 0 <= value < MOST_TOKENS else None
