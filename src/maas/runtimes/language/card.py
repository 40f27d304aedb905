"""The card of a language model: what the host must know of it beside its weights."""

from __future__ import annotations

from pathlib import Path

import msgspec
from msgspec import Struct

from maas.core.errors import invalid

CARD = "language.json"
"""The card's file in an artifact's folder."""
TOKENIZER = "tokenizer.json"
"""The tokenizer's, in the format of Hugging Face `tokenizers`: data, never code."""

_LIMIT_BYTES = 8 << 20


class LanguageCard(Struct, frozen=True):
    """What publishing found out about a language model.

    Args:
        architecture: as its format names it, such as `qwen2`.
        parameters: how many numbers its weights are.
        quantization: how they are kept, such as `Q4_0`.
        context_tokens: prompt and answer together, at most.
        vocabulary: how many tokens there are.
        end_tokens: any of them ends an answer.
        bos_token: what a text begins with in training, if anything.
        add_bos: whether a plain text is given it.
        chat_template: Jinja; empty where the model has none.
        bos_text: `bos_token` as templates write it.
        eos_text: the end of sequence as templates write it.
        tool_format: how it writes tool calls: `hermes`, `llama3`, `mistral`, or empty.
        control_tokens: their text is shown only where it is asked for.
    """

    architecture: str
    parameters: int
    quantization: str
    context_tokens: int
    vocabulary: int
    end_tokens: tuple[int, ...]
    bos_token: int | None
    add_bos: bool
    chat_template: str = ""
    bos_text: str = ""
    eos_text: str = ""
    tool_format: str = ""
    control_tokens: tuple[int, ...] = ()


def read_card(folder: Path) -> LanguageCard:
    """Reads the card of an artifact.

    Raises:
        MaasError: INVALID_ARGUMENT where there is none, or it cannot be one.
    """
    file = folder / CARD
    try:
        if file.stat().st_size > _LIMIT_BYTES:
            raise invalid(f"{CARD} is larger than {_LIMIT_BYTES} bytes; publish the model again")
        card = msgspec.json.decode(file.read_bytes(), type=LanguageCard)
    except OSError:
        raise invalid(
            f"this folder has no {CARD} that can be read; publish the model again"
        ) from None
    except msgspec.MsgspecError as error:
        raise invalid(f"{CARD} is no card of a language model: {error}") from None
    if card.vocabulary < 1 or card.context_tokens < 1:
        raise invalid(f"{CARD} has no vocabulary or no context; publish the model again")
    named = (*card.end_tokens, *card.control_tokens, *filter(None, (card.bos_token,)))
    if strange := next((token for token in named if not 0 <= token < card.vocabulary), None):
        raise invalid(
            f"{CARD} names the token {strange}, and the vocabulary ends at {card.vocabulary - 1}"
        )
    return card


def write_card(folder: Path, card: LanguageCard) -> None:
    """Writes the card into an artifact's folder."""
    document = msgspec.json.format(msgspec.json.encode(card), indent=2)
    (folder / CARD).write_bytes(document + b"\n")
