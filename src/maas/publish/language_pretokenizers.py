"""How vocabularies of GPT-2's kind cut a text before they merge: `tokenizer.ggml.pre` → patterns.

Each name stands for the published pattern of a family's own tokenizer. Patterns are applied one
after another, each to the pieces that the ones before have left; what none matches stays a piece.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from msgspec import Struct

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_SHORT = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
_SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_SIGNS = r" ?[^\s\p{L}\p{N}]+[\r\n]*"
_LETTERS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
LLAMA3 = rf"{_SHORT}|{_LETTERS}|\p{{N}}{{1,3}}|{_SIGNS}|{_SPACES}"
QWEN2 = rf"{_SHORT}|{_LETTERS}|\p{{N}}|{_SIGNS}|{_SPACES}"
QWEN35 = (
    rf"{_SHORT}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}"
    rf"| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{_SPACES}"
)
_UPPER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
_LOWER = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_BEFORE = r"[^\r\n\p{L}\p{N}]?"
TEKKEN = (
    rf"{_BEFORE}{_UPPER}*{_LOWER}+|{_BEFORE}{_UPPER}+{_LOWER}*|\p{{N}}"
    rf"| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_SPACES}"
)
_TAIL = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
GPT4O = (
    rf"{_BEFORE}{_UPPER}*{_LOWER}+{_TAIL}|{_BEFORE}{_UPPER}+{_LOWER}*{_TAIL}|\p{{N}}{{1,3}}"
    rf"| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_SPACES}"
)
_DEEPSEEK3 = (
    r"\p{N}{1,3}",
    r"[一-龥\u3040-ゟ゠-ヿ]+",
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
    rf"| ?[\p{{P}}\p{{S}}]+[\r\n]*|{_SPACES}",
)
_DEEPSEEK_CODER = (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-\ud7ff]+", r"\p{N}")
_DIGITS = (r"\p{N}", GPT2)
_MARKS = r"[\p{P}\$\+<=>\^~\|`]+"
_FALCON = (_MARKS, GPT2, "[0-9][0-9][0-9]")
_DEFAULT = (r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]")


class PreTokenizer(Struct, frozen=True):
    """How a text is cut.

    Args:
        patterns: one after another.
        whole: a piece that is a token is that token, whatever its merges.
        add_bos: whether a text begins with the BOS token where the metadata does not say.
    """

    patterns: tuple[str, ...]
    whole: bool = False
    add_bos: bool = False


def _named() -> Mapping[str, PreTokenizer]:
    found: dict[str, PreTokenizer] = {}
    for names, pre in (
        ("default", PreTokenizer(_DEFAULT)),
        ("gpt-2 mpt olmo jais phi-2 gigachat roberta-bpe", PreTokenizer((GPT2,))),
        (
            "llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2",
            PreTokenizer((LLAMA3,), whole=True, add_bos=True),
        ),
        ("dbrx smaug-bpe chatglm-bpe glm4", PreTokenizer((LLAMA3,))),
        (
            "qwen2 deepseek-r1-qwen megrez stablelm2 hunyuan solar-open kormo",
            PreTokenizer((QWEN2,)),
        ),
        ("qwen35", PreTokenizer((QWEN35,))),
        ("tekken", PreTokenizer((TEKKEN,), whole=True, add_bos=True)),
        ("gpt-4o llama4", PreTokenizer((GPT4O,))),
        ("deepseek-v3 hunyuan-dense", PreTokenizer(_DEEPSEEK3)),
        ("deepseek-coder", PreTokenizer(_DEEPSEEK_CODER)),
        (
            "starcoder refact command-r smollm codeshell exaone minerva-7b",
            PreTokenizer(_DIGITS),
        ),
        ("falcon", PreTokenizer(_FALCON)),
    ):
        found.update(dict.fromkeys(names.split(), pre))
    return MappingProxyType(found)


PRE_TOKENIZERS = _named()
