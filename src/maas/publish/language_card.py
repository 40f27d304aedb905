"""Makes the card of a language model: what ends an answer, what is hidden, how it writes tools."""

from __future__ import annotations

from collections.abc import Container, Sequence

from maas.publish.gguf_model import GgufModel
from maas.publish.gguf_scan import Gguf, text_of
from maas.publish.language_tokenizer import CONTROL, SPECIAL, UNKNOWN, Tokens, ends_by_text
from maas.runtimes.language.card import LanguageCard

LONGEST_TEMPLATE = 256 << 10
"""Bytes of a chat template."""
SAMPLE = (
    {"role": "user", "content": "Hello. 你好"},
    {"role": "assistant", "content": "How can I help?"},
    {"role": "user", "content": "What is two and two?"},
)
"""A conversation that every template of a chat model takes."""
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tells the weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "description": "Its name."}},
            "required": ["city"],
        },
    },
}
"""What every template that takes tools takes."""


def tool_format_of(template: str) -> str:
    """How a model writes tool calls, by what its template does: `hermes`, `llama3`, `mistral`.

    Returns:
        The format's name; empty where the template takes no tools, or in a way not known here.
    """
    if "tools" not in template:
        return ""
    if "[TOOL_CALLS]" in template:
        return "mistral"
    if "<tool_call>" in template:
        return "hermes"
    if "<|python_tag|>" in template or ("<|eot_id|>" in template and '"parameters"' in template):
        return "llama3"
    return ""


def end_tokens_of(
    texts: Sequence[str], special: Container[int], *named: int | None
) -> tuple[int, ...]:
    """The tokens that end an answer: those that the model names, and those known by their text.

    Args:
        texts: of all tokens, by id.
        special: ids of the tokens that are no words, control tokens among them.
        named: ids that the model's metadata gives.
    """
    found = {token for token in named if token is not None and 0 <= token < len(texts)}
    found |= {token for token, text in enumerate(texts) if ends_by_text(text) and token in special}
    return tuple(sorted(found))


def card_of_gguf(gguf: Gguf, model: GgufModel, tokens: Tokens, context_tokens: int) -> LanguageCard:
    """Makes the card of a GGUF.

    Args:
        gguf: as scanned.
        model: its figures.
        tokens: its vocabulary.
        context_tokens: that it will have.
    """
    template = text_of(gguf.metadata, "tokenizer.chat_template")
    if len(template.encode()) > LONGEST_TEMPLATE:
        template = ""
    named = [gguf.metadata.get(f"tokenizer.ggml.{name}_token_id") for name in ("eot", "eom")]
    ends = [token for token in named if isinstance(token, int)]
    special = {token for token, type_ in enumerate(tokens.types) if type_ in SPECIAL}
    return LanguageCard(
        architecture=model.architecture,
        parameters=model.parameters,
        quantization=model.quantization,
        context_tokens=context_tokens,
        vocabulary=len(tokens.texts),
        end_tokens=end_tokens_of(tokens.texts, special, tokens.eos, *ends),
        bos_token=tokens.bos,
        add_bos=tokens.add_bos,
        chat_template=template,
        bos_text="" if tokens.bos is None else tokens.texts[tokens.bos],
        eos_text="" if tokens.eos is None else tokens.texts[tokens.eos],
        tool_format=tool_format_of(template),
        control_tokens=tuple(
            token for token, type_ in enumerate(tokens.types) if type_ in (UNKNOWN, CONTROL)
        ),
    )
