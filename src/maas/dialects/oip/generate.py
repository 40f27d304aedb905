"""Triton's generate extension: a text in, a text out (its docs/protocol/extension_generate.md).

`text_input` is continued as it is. Parameters stand in `parameters`, or beside it, under the names
that Triton's vLLM and TensorRT-LLM backends give them; others are ignored, as they are there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from msgspec import Struct
from msgspec.structs import replace

from maas.core.errors import MaasError, invalid
from maas.core.generation import Delta, Feature, GenerateRequest, Sampling, TextPrompt
from maas.core.identity import ServableId
from maas.core.messages import ModelView
from maas.dialects.tensorjson.document import read

MAX_TOKENS = 1 << 31
LEAST_TOP_P = 1e-6
"""What a `top_p` of 0 stands for, which leaves the likeliest token alone."""
MAX_STOPS = 16
MAX_STOP = 1024
_SEED_BITS = (1 << 63) - 1


class GenerateBody(Struct, frozen=True):
    """One call.

    Args:
        id: of the request, echoed; None where there is none.
        request: what is asked.
        prompt: goes before the answer; empty where it is left out.
        stream: piece by piece, where the call is one of a stream.
        dropped: the parameters that were left out.
    """

    id: str | None
    request: GenerateRequest
    prompt: str
    stream: bool
    dropped: tuple[str, ...] = ()


def decode_generate(body: bytes, view: ModelView, *, stream: bool) -> GenerateBody:
    """Reads a body.

    Args:
        body: JSON.
        view: the language model.
        stream: whether it came to `/generate_stream`.

    Raises:
        MaasError: INVALID_ARGUMENT naming the member.
    """
    document = read(body)
    members: dict[str, Any] = document.python(document.root)
    text = members.get("text_input")
    if isinstance(text, list) and len(text) == 1:
        text = text[0]
    if not isinstance(text, str):
        raise invalid("text_input is missing or no string; expected the text to continue")
    identity = members.get("id")
    if identity is not None and not isinstance(identity, str):
        raise invalid("id is no string")
    within = members.get("parameters")
    if within is not None and not isinstance(within, dict):
        raise invalid("parameters is no object")
    asked = _Parameters({**members, **(within or {})})
    streamed = asked.flag("stream", stream)
    if streamed and not stream:
        raise invalid("stream is true, and /generate gives one answer; call /generate_stream")
    without = asked.flag("exclude_input_in_output", True)
    if not without and streamed:
        raise invalid("exclude_input_in_output is false, and a stream has the answer alone")
    request = GenerateRequest(TextPrompt(text), _sampling(asked))
    request, dropped = _fit(request, view)
    return GenerateBody(identity, request, "" if without else text, streamed, dropped)


class _Parameters:
    """Parameters by name, of which some have several. A null is the same as nothing."""

    def __init__(self, members: Mapping[str, Any]):
        self._members = members

    def first(self, names: Sequence[str]) -> tuple[str, Any]:
        for name in names:
            value = self._members.get(name)
            if value is not None:
                return name, value
        return names[0], None

    def flag(self, name: str, default: bool) -> bool:
        value = self._members.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise invalid(f"{name} is not true or false")
        return value

    def number(self, low: float, high: float, default: float, *names: str) -> float:
        name, value = self.first(names)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise invalid(f"{name} is not a number")
        if not low <= value <= high:
            raise invalid(f"{name} is not a number from {low:g} to {high:g}")
        return float(value)

    def whole(self, low: int, high: int, *names: str) -> int | None:
        name, value = self.first(names)
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise invalid(f"{name} is not an integer from {low} to {high}")
        return value

    def texts(self, *names: str) -> tuple[str, ...]:
        name, value = self.first(names)
        if value is None or value == "":
            return ()
        found = [value] if isinstance(value, str) else value
        if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
            raise invalid(f"{name} is not a string or a list of strings")
        # TensorRT-LLM's examples send [""] for none.
        found = [one for one in found if one]
        if len(found) > MAX_STOPS or any(len(one) > MAX_STOP for one in found):
            raise invalid(f"{name} holds more than {MAX_STOPS} strings, or one beyond {MAX_STOP}")
        return tuple(found)


def _sampling(asked: _Parameters) -> Sampling:
    seed = asked.whole(-(1 << 63), (1 << 64) - 1, "seed", "random_seed")
    return Sampling(
        max_tokens=asked.whole(1, MAX_TOKENS, "max_tokens", "max_new_tokens"),
        temperature=asked.number(0, 100, 1.0, "temperature"),
        top_p=max(asked.number(0, 1, 1.0, "top_p"), LEAST_TOP_P),
        top_k=max(asked.whole(-1, MAX_TOKENS, "top_k") or 0, 0),
        min_p=asked.number(0, 1, 0.0, "min_p"),
        presence_penalty=asked.number(-2, 2, 0.0, "presence_penalty"),
        frequency_penalty=asked.number(-2, 2, 0.0, "frequency_penalty"),
        repetition_penalty=asked.number(0.01, 100, 1.0, "repetition_penalty"),
        seed=None if seed is None else seed & _SEED_BITS,
        stop=asked.texts("stop", "stop_words"),
        ignore_end=asked.flag("ignore_eos", False),
    )


def _fit(request: GenerateRequest, view: ModelView) -> tuple[GenerateRequest, tuple[str, ...]]:
    """Leaves out what the engine cannot do, where the model is published so."""
    about = view.generative
    assert about is not None
    if request.sampling.min_p == 0 or Feature.MIN_P not in about.lacks:
        return request, ()
    if not about.drop_params:
        raise invalid(
            f"{view.platform}, the engine of {view.servable}, has no min_p; leave it out, or "
            "publish the model with --drop-params"
        )
    return replace(request, sampling=replace(request.sampling, min_p=0.0)), ("min_p",)


class GenerateWriter:
    """Writes what came of a call: as one answer, or as events.

    Args:
        asked: what was asked.
        servable: who answers.
    """

    __slots__ = ("_before", "_silent", "_stream", "_texts")

    def __init__(self, asked: GenerateBody, servable: ServableId):
        members: dict[str, str] = {} if asked.id is None else {"id": asked.id}
        members |= {"model_name": servable.name, "model_version": str(servable.version)}
        self._before = orjson.dumps(members)[:-1] + b',"text_output":'
        self._texts: list[str] = [asked.prompt] if asked.prompt else []
        self._stream = asked.stream
        self._silent = True

    def add(self, ready: Sequence[tuple[int, Delta]]) -> None:
        """Takes what has come for one answer."""
        self._texts += [delta.text for _, delta in ready]

    def body(self) -> bytes:
        """The one answer."""
        return self._written("".join(self._texts))

    def _written(self, text: str) -> bytes:
        return b"%s%s}" % (self._before, orjson.dumps(text))

    def write(self, ready: Sequence[tuple[int, Delta]]) -> bytes:
        """Writes what has come as events; nothing where no text has."""
        if not self._stream:
            self.add(ready)
            return b""
        found = [b"data: %s\n\n" % self._written(delta.text) for _, delta in ready if delta.text]
        if found:
            self._silent = False
        return b"".join(found)

    def end(self) -> bytes:
        """What follows the last event: no mark of the end. A call has an event at the least."""
        return b"data: %s\n\n" % self.body() if self._silent else b""

    def fail(self, error: MaasError) -> bytes:
        """Why nothing more comes."""
        return b"data: %s\n\n" % orjson.dumps({"error": error.message})
