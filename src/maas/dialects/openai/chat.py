"""A chat's body → what is asked of the model."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct
from msgspec.structs import replace

from maas.core.generation import ChatPrompt, Feature, GenerateRequest, Grammar, Sampling
from maas.core.messages import ModelView
from maas.dialects.openai.errors import ParameterError
from maas.dialects.openai.features import fit
from maas.dialects.openai.fields import Fields, read_fields, to_json
from maas.dialects.openai.grammar import read_grammar
from maas.dialects.openai.messages import read_messages
from maas.dialects.openai.options import Options, read_model, read_options
from maas.dialects.openai.sampling import (
    MAX_CHOICES,
    MAX_LOGPROBS,
    MAX_TOKENS,
    check_tokens,
    read_sampling,
)
from maas.dialects.openai.tools import FORMATS, ToolParser, ToolUse, parser_for, read_tools

MAX_VARIABLES = 64
_RESERVED = frozenset(("messages", "tools", "chat_template", "tokenize"))
NAMES = {
    Feature.CHAT: "messages",
    Feature.TOOLS: "tools",
    Feature.LOGPROBS: "logprobs",
    Feature.TOP_LOGPROBS: "top_logprobs",
    Feature.LOGIT_BIAS: "logit_bias",
    Feature.MIN_P: "min_p",
    Feature.JSON: "response_format",
    Feature.JSON_SCHEMA: "response_format",
}
"""What asks for each feature here."""


class ChatBody(Struct, frozen=True):
    """A chat, read, before it is known which model answers it.

    Args:
        model: what its `model` says; None where it says nothing.
        options: how it is answered.
        messages: as `ChatPrompt` has them.
        variables: the same.
        sampling: how tokens are chosen.
        grammar: what the answer must be, if anything.
        choices: how many answers.
        tools: what may or must be called; None where nothing may.
        parallel: whether an answer may call several.
    """

    model: str | None
    options: Options
    messages: bytes
    variables: bytes
    sampling: Sampling
    grammar: Grammar | None
    choices: int
    tools: ToolUse | None
    parallel: bool


class FittedChat(Struct, frozen=True):
    """A chat that its model can answer.

    Args:
        request: what is asked.
        parser: makes what finds calls of tools in an answer's text; None where there are none.
        dropped: the parameters that were left out.
    """

    request: GenerateRequest
    parser: Callable[[], ToolParser] | None
    dropped: tuple[str, ...]


def read_chat(body: bytes) -> ChatBody:
    """Reads a body.

    Raises:
        MaasError: INVALID_ARGUMENT naming the parameter.
    """
    fields = read_fields(body)
    messages = read_messages(fields)
    for kind in fields.list("modalities", 8) or ():
        if kind != "text":
            raise ParameterError("modalities", "modalities holds more than text; leave it out")
    limits = (
        fields.whole("max_completion_tokens", 1, MAX_TOKENS),
        fields.whole("max_tokens", 1, MAX_TOKENS),
    )
    grammar, tools = read_grammar(fields), read_tools(fields)
    if grammar is not None and tools is not None and tools.grammar is None:
        raise ParameterError(
            "response_format",
            "response_format holds the whole answer to JSON, so that no tool could be called; send "
            'it without tools, or with tool_choice "none"',
        )
    sampling = read_sampling(fields, limits[0] or limits[1], _read_logprobs(fields))
    return ChatBody(
        model=read_model(fields),
        options=read_options(fields),
        messages=messages,
        variables=_read_variables(fields),
        sampling=sampling,
        grammar=grammar,
        choices=fields.whole("n", 1, MAX_CHOICES) or 1,
        tools=tools,
        parallel=fields.flag("parallel_tool_calls", True),
    )


def _read_logprobs(fields: Fields) -> int | None:
    top = fields.whole("top_logprobs", 0, MAX_LOGPROBS)
    if fields.flag("logprobs"):
        return top or 0
    if top:
        raise ParameterError("top_logprobs", "top_logprobs goes with logprobs: true alone")
    return None


def _read_variables(fields: Fields) -> bytes:
    """`chat_template_kwargs`, vLLM's: further variables of the template."""
    variables = fields.object("chat_template_kwargs")
    if not variables:
        return b""
    path = "chat_template_kwargs"
    if len(variables) > MAX_VARIABLES:
        raise ParameterError(
            path, f"{path} holds {len(variables)} variables; at most {MAX_VARIABLES} are taken"
        )
    for name in variables:
        if not name.isidentifier() or name in _RESERVED:
            raise ParameterError(path, f"{path} cannot set {name[:40]!r}")
    return to_json(variables, path)


def fit_chat(body: ChatBody, view: ModelView) -> FittedChat:
    """Makes of a chat what its model can do.

    Raises:
        MaasError: INVALID_ARGUMENT naming the parameter.
    """
    check_tokens(body.sampling, view)
    tools = body.tools or ToolUse(b"")
    sampling = body.sampling
    left_out: list[str] = []
    about = view.generative
    assert about is not None
    if tools.grammar is not None and Feature.TOOLS in about.lacks and about.drop_params:
        # A model that is not told of tools cannot be made to call one.
        tools = ToolUse(tools.prompt)
        left_out.append("tool_choice")
    if tools.grammar is not None:
        # What a demanded call holds is no text: cut short it could not be read.
        left_out += ["stop"] if sampling.stop else []
        left_out += ["stop_token_ids"] if sampling.stop_tokens else []
        sampling = replace(sampling, stop=(), stop_tokens=())
    request, dropped = fit(
        GenerateRequest(
            ChatPrompt(body.messages, tools.prompt, body.variables),
            sampling,
            tools.grammar or body.grammar,
            body.choices,
        ),
        view,
        NAMES if tools.grammar is None else {**NAMES, Feature.JSON_SCHEMA: "tool_choice"},
    )
    dropped = tuple(sorted({*dropped, *left_out}))
    if tools.parser is not None and request.grammar is not None:
        return FittedChat(request, tools.parser, dropped)
    way = about.tool_format
    if not tools.prompt or "tools" in dropped or way not in FORMATS:
        return FittedChat(request, None, dropped)
    # Calls begin with a control token in some formats: the text is to show it.
    return FittedChat(replace(request, special=True), parser_for(way), dropped)
