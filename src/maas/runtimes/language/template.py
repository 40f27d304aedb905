"""Chat templates: a conversation to the text that the model was taught to continue.

A template comes with a model and can come from anyone. It is a program, so it runs in a sandbox
(`template_sandbox`) that watches every step of it (`template_tree`) and stops it when its time or
its room is used up (`template_meter`). It renders on the thread that asks.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from maas.core.errors import MaasError, invalid

SOURCE_LIMIT = 256 << 10
"""Characters of a template."""
LONGEST_MESSAGE = 500
"""Characters kept of what a template says when it refuses a conversation, or of what went wrong."""

_REASONING = ("reasoning_content", "thinking", "reasoning")
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


class ChatTemplate:
    """A template, compiled once. Threads may share it.

    Args:
        text: its source, as Hugging Face's `chat_template`.
        now: the time that it can ask for.

    Raises:
        MaasError: INVALID_ARGUMENT for one that is too long, or is no template.
    """

    def __init__(self, text: str, *, now: Callable[[], datetime] = datetime.now):
        from jinja2.exceptions import TemplateSyntaxError

        from maas.runtimes.language.template_filters import install
        from maas.runtimes.language.template_sandbox import TemplateEnvironment
        from maas.runtimes.language.template_tree import GenerationTag, watched

        if len(text) > SOURCE_LIMIT:
            raise invalid(
                f"the chat template has {len(text)} characters; expected at most {SOURCE_LIMIT}"
            )
        self._environment = TemplateEnvironment([GenerationTag])
        install(self._environment, now)
        try:
            tree = watched(self._environment, self._environment.parse(text))
            code = self._environment.compile(tree)
            self._template = self._environment.template_class.from_code(
                self._environment, code, self._environment.make_globals(None)
            )
        except TemplateSyntaxError as error:
            raise invalid(
                f"the chat template cannot be read: line {error.lineno}: {_short(error.message)}"
            ) from None
        except RecursionError:
            raise invalid("the chat template is nested too deeply") from None
        except Exception as error:  # noqa: BLE001  # Python's compiler, too, has limits
            raise invalid(f"the chat template cannot be read: {_short(error)}") from None

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None,
        variables: Mapping[str, Any],
        *,
        seconds: float,
        most: int,
    ) -> str:
        """Makes the text.

        Args:
            messages: of JSON's types; what is None is left out, as transformers does it.
            tools: the same, or None.
            variables: what else the template can read.
            seconds: how long it may take.
            most: bytes of the text.

        Raises:
            MaasError: INVALID_ARGUMENT where the template refuses the conversation, fails, takes
                too long or makes too much.
        """
        from maas.runtimes.language.template_filters import RefusedError
        from maas.runtimes.language.template_meter import Meter

        environment = self._environment
        environment.meter = meter = Meter(seconds, most, time.monotonic, environment.undefined)
        given = {
            "documents": None,
            **variables,
            "messages": [_message(message) for message in messages],
            "tools": tools,
        }
        meter.weigh(given.values())
        pieces, size = [], 0
        try:
            for piece in self._template.generate(given):
                pieces.append(piece)
                size += len(piece.encode())
                if size > most:
                    raise invalid(f"the chat template makes a text longer than {most} bytes")
        except MaasError:
            raise
        except RefusedError as error:
            reason = _short(error.message or "it gives no reason")
            raise invalid(f"the chat template refuses the conversation: {reason}") from None
        except RecursionError:
            raise invalid("the chat template calls itself too often") from None
        except Exception as error:  # noqa: BLE001  # a program can fail in every way
            raise invalid(f"the chat template failed: {_short(error)}") from None
        return "".join(pieces)


def _message(message: Mapping[str, Any]) -> dict[str, Any]:
    """A message as transformers hands it on: without Nones, its reasoning under each known name."""
    kept = {name: value for name, value in message.items() if value is not None}
    reasoning = next((kept[name] for name in _REASONING if name in kept), None)
    if reasoning is None:
        return kept
    return {"thinking": reasoning, **kept, "reasoning_content": reasoning}


def _short(error: object) -> str:
    """An error's words without addresses, on one line."""
    words = " ".join(str(error).split()) or type(error).__name__
    return _ADDRESS.sub("", words)[:LONGEST_MESSAGE]
