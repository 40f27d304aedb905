"""What is asked of a model, as the tokens that it continues."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from maas.core.errors import ErrorKind, MaasError, invalid
from maas.core.generation import ChatPrompt, GenerateRequest, TextPrompt, TokenPrompt
from maas.core.ports import GenerationBounds
from maas.runtimes.language.card import LanguageCard
from maas.runtimes.language.template import ChatTemplate
from maas.runtimes.language.tokens import Vocabulary

Document = TypeVar("Document")

LIKELY_CHARACTERS = 16
"""Characters of a token at most, in most texts."""
LEAST_LOOKED_AT = 64 << 10
"""Characters that are always made tokens of."""


class Prompter:
    """Makes tokens of prompts. Threads may share it.

    Args:
        card: the model's.
        vocabulary: the model's.
        bounds: how long a template may take, and how long a text may be.
        context_tokens: prompt and answer together, at most; what was planned, or the model's own.

    Raises:
        MaasError: INVALID_ARGUMENT for a chat template that cannot be read.
    """

    def __init__(
        self,
        card: LanguageCard,
        vocabulary: Vocabulary,
        bounds: GenerationBounds,
        context_tokens: int,
    ):
        self._card = card
        self._vocabulary = vocabulary
        self._bounds = bounds
        self._context = context_tokens
        self._template = ChatTemplate(card.chat_template) if card.chat_template else None

    def tokens(self, request: GenerateRequest) -> list[int]:
        """Makes the tokens that a request's answers continue; at least one.

        Raises:
            MaasError: CONTEXT_EXCEEDED where they leave no room for an answer, TOO_LARGE for a text
                beyond its bound, INVALID_ARGUMENT for a template that refuses or fails, tokens out
                of range, a prompt of nothing.
        """
        prompt, card = request.prompt, self._card
        if isinstance(prompt, TokenPrompt):
            tokens = self._checked(prompt.tokens)
        elif isinstance(prompt, TextPrompt):
            self._check_size(len(prompt.text.encode(errors="replace")), "the prompt")
            # Callers who render templates themselves write control tokens.
            tokens = self._encoded(prompt.text)
            tokens = self._begun(tokens) if card.add_bos else tokens
        else:
            tokens = self._encoded(self._rendered(prompt))
            tokens = self._begun(tokens) if card.add_bos else tokens
        tokens = tokens or self._nothing()
        if len(tokens) >= self._context:
            raise self._too_long(str(len(tokens)))
        return tokens

    def _encoded(self, text: str) -> list[int]:
        """A text's tokens. Of one that is far too long only the beginning is looked at.

        The beginning may be cut otherwise than in the whole, but not into twice as many tokens.
        """
        head = LIKELY_CHARACTERS * self._context
        if len(text) > max(head, LEAST_LOOKED_AT):
            known = len(self._vocabulary.encode(text[:head], special=True))
            if known > 2 * self._context:
                raise self._too_long(f"more than {known // 2}")
        return self._vocabulary.encode(text, special=True)

    def _too_long(self, count: str) -> MaasError:
        return MaasError(
            ErrorKind.CONTEXT_EXCEEDED,
            f"the prompt has {count} tokens; the context of this model is {self._context}"
            " tokens, the answer's among them; shorten the prompt",
        )

    def _rendered(self, prompt: ChatPrompt) -> str:
        if self._template is None:
            raise invalid(
                "this model has no chat template, so it takes no messages; send a text as the"
                " prompt of a completion"
            )
        size = len(prompt.messages) + len(prompt.tools) + len(prompt.variables)
        self._check_size(size, "the conversation")
        variables: dict[str, Any] = {"add_generation_prompt": True}
        if prompt.variables:
            variables |= _read(prompt.variables, dict[str, Any], "the template's variables")
        if self._card.bos_text:
            variables["bos_token"] = self._card.bos_text
        if self._card.eos_text:
            variables["eos_token"] = self._card.eos_text
        return self._template.render(
            _read(prompt.messages, list[dict[str, Any]], "the messages"),
            _read(prompt.tools, list[dict[str, Any]], "the tools") if prompt.tools else None,
            variables,
            seconds=self._bounds.template_s,
            most=self._bounds.template_bytes,
        )

    def _check_size(self, size: int, what: str) -> None:
        if size > self._bounds.template_bytes:
            raise MaasError(
                ErrorKind.TOO_LARGE,
                f"{what} has {size} bytes; expected at most {self._bounds.template_bytes}",
            )

    def _checked(self, tokens: tuple[int, ...]) -> list[int]:
        if tokens and not (min(tokens) >= 0 and max(tokens) < self._vocabulary.size):
            strange = next(t for t in tokens if not 0 <= t < self._vocabulary.size)
            raise invalid(
                f"the prompt has the token {strange}; expected 0 to {self._vocabulary.size - 1}"
            )
        return list(tokens)

    def _begun(self, tokens: list[int]) -> list[int]:
        """Begins with the BOS; where a template has written it, that is it."""
        bos = self._card.bos_token
        return tokens if bos is None or tokens[:1] == [bos] else [bos, *tokens]

    def _nothing(self) -> list[int]:
        """What an answer to nothing continues: the token between texts, if there is one."""
        if self._card.bos_token is not None:
            return [self._card.bos_token]
        if self._card.end_tokens:
            return [self._card.end_tokens[0]]
        raise invalid("the prompt is empty, and this model has no token to begin with")


def _read(document: bytes, kind: type[Document], what: str) -> Document:
    try:
        return msgspec.json.decode(document, type=kind)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise invalid(f"{what} cannot be read: {error}") from None
