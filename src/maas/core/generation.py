"""The vocabulary of language models: what is asked of one, and what it gives, token by token."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Literal

from msgspec import Struct

FinishReason = Literal["stop", "length"]
"""Why a choice ended: an end token or a stop string, or no more tokens allowed."""


QUANTIZATIONS = ("f16", "q8_0", "q4_0")
"""How publishing can keep the weights of a Hugging Face folder."""


class Feature(StrEnum):
    """What not every engine can do. `GenerativeSpec.lacks` names what one cannot."""

    CHAT = "chat"
    """Messages instead of a text: the model has a chat template."""
    LOGPROBS = "logprobs"
    """The log-probability of each token that was chosen."""
    TOP_LOGPROBS = "top_logprobs"
    """Those of the likeliest other tokens, too."""
    PROMPT_LOGPROBS = "prompt_logprobs"
    """Those of the prompt's tokens."""
    LOGIT_BIAS = "logit_bias"
    MIN_P = "min_p"
    JSON = "json"
    """Grammar-constrained: any JSON object."""
    JSON_SCHEMA = "json_schema"
    """Grammar-constrained: a JSON value of a schema."""
    TOOLS = "tools"
    """The chat template takes tools, and what it makes the model write is understood here."""


class GenerativeSpec(Struct, frozen=True):
    """What publishing found out about a language model. It travels with the plan.

    Args:
        context_tokens: prompt and answer together, at most.
        vocabulary: how many tokens there are.
        tool_format: how the model writes tool calls: `hermes`, `llama3`, `mistral`; empty where it
            has not been taught to, or in a way not known here.
        lacks: what its engine, or its template, cannot do.
        drop_params: leave out what it lacks and say so in a header, instead of refusing.
        served_names: further names by which bodies may ask for it.
    """

    context_tokens: int
    vocabulary: int
    tool_format: str = ""
    lacks: tuple[Feature, ...] = ()
    drop_params: bool = False
    served_names: tuple[str, ...] = ()


class TextPrompt(Struct, frozen=True, array_like=True, tag="text", gc=False):
    """A text to be continued, as it is; control tokens that are written in it are recognised."""

    text: str


class TokenPrompt(Struct, frozen=True, array_like=True, tag="tokens", gc=False):
    """Tokens to be continued."""

    tokens: tuple[int, ...]


class ChatPrompt(Struct, frozen=True, array_like=True, tag="chat", gc=False):
    """A conversation; the model's own template makes a text of it.

    Args:
        messages: a JSON list of objects with `role` and what else the template reads. The contents
            are strings (parts have been joined), the arguments of tool calls objects.
        tools: a JSON list of `{"type": "function", "function": {…}}`, or empty.
        variables: a JSON object of further variables for the template, or empty.
    """

    messages: bytes
    tools: bytes = b""
    variables: bytes = b""


Prompt = TextPrompt | TokenPrompt | ChatPrompt


class Sampling(Struct, frozen=True, array_like=True, gc=False):
    """How tokens are chosen.

    Args:
        max_tokens: of the answer, at most; None for what the context leaves.
        temperature: 0 takes the likeliest token.
        top_p: the smallest set of likeliest tokens whose probabilities add up to this.
        top_k: so many likeliest tokens; 0 for all.
        min_p: tokens at least this likely, relative to the likeliest.
        presence_penalty: taken off the logit of a token that has been written.
        frequency_penalty: the same, for every time that it has.
        repetition_penalty: logits of tokens seen are divided by it (multiplied where negative).
        seed: the same seed gives the same answer; None for another one every time.
        stop: texts before which the answer ends.
        stop_tokens: tokens before which it ends, beside the model's own.
        ignore_end: goes on past the model's own end tokens.
        logit_bias: added to the logits of tokens.
        logprobs: None for none; 0 for those of the chosen tokens; k for the k likeliest, too.
    """

    max_tokens: int | None = None
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    stop_tokens: tuple[int, ...] = ()
    ignore_end: bool = False
    logit_bias: dict[int, float] | None = None
    logprobs: int | None = None


class Grammar(Struct, frozen=True, array_like=True, gc=False):
    """What the answer must be: any JSON object, or JSON of a schema (`schema`: the JSON of it)."""

    schema: str | None = None


class GenerateRequest(Struct, frozen=True, array_like=True, gc=False):
    """What is asked of a language model.

    Args:
        prompt: what to continue or answer.
        sampling: how.
        grammar: what the answer must be, if anything.
        choices: how many answers.
        echo: the first delta of every choice is the prompt; with `sampling.logprobs`, with those.
        special: the text also shows control tokens (tool calls begin with one in some formats);
            never end tokens.
    """

    prompt: Prompt
    sampling: Sampling = Sampling()
    grammar: Grammar | None = None
    choices: int = 1
    echo: bool = False
    special: bool = False


class TokenLogprob(Struct, frozen=True, array_like=True, gc=False):
    """One token and how likely it was.

    Args:
        token: its bytes; it may end inside a character.
        logprob: natural logarithm of its probability; None for a prompt's first token.
        top: the likeliest tokens there, likeliest first.
    """

    token: bytes
    logprob: float | None
    top: tuple[tuple[bytes, float], ...] = ()


class Usage(Struct, frozen=True, array_like=True, gc=False):
    """Tokens of a whole call. `cached_tokens` of the prompt's were known from earlier calls."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0


class Delta(Struct, frozen=True, array_like=True, gc=False):
    """What a step added to one choice.

    Args:
        index: which choice.
        text: whole characters; empty while a character or a possible stop string is incomplete.
        tokens: how many tokens it took, those of earlier deltas not counted.
        logprobs: of those tokens, where they were asked for.
        finish: why the choice ends here; None where it goes on.
        usage: of the call; with the last delta of the last choice.
    """

    index: int
    text: str
    tokens: int = 1
    logprobs: tuple[TokenLogprob, ...] | None = None
    finish: FinishReason | None = None
    usage: Usage | None = None


class GenerationCounts(Struct, frozen=True):
    """How busy a language model is.

    Args:
        running: choices that are being written.
        waiting: choices that wait for a place.
        kv_used: part of the KV cache that is in use, 0 to 1.
        prefix_tokens: of all prompts so far, tokens.
        prefix_hits: how many of them were known.
    """

    running: int
    waiting: int
    kv_used: float
    prefix_tokens: int
    prefix_hits: int


def features_of(request: GenerateRequest) -> Mapping[Feature, str]:
    """What a request needs of its engine, and the field of `Sampling` or the request that asks."""
    sampling, found = request.sampling, {}
    if isinstance(request.prompt, ChatPrompt):
        found[Feature.CHAT] = "prompt"
        if request.prompt.tools:
            found[Feature.TOOLS] = "tools"
    if sampling.logprobs is not None:
        found[Feature.LOGPROBS] = "logprobs"
        if sampling.logprobs > 0:
            found[Feature.TOP_LOGPROBS] = "logprobs"
        if request.echo:
            found[Feature.PROMPT_LOGPROBS] = "echo"
    if sampling.logit_bias:
        found[Feature.LOGIT_BIAS] = "logit_bias"
    if sampling.min_p > 0:
        found[Feature.MIN_P] = "min_p"
    if request.grammar is not None:
        kind = Feature.JSON if request.grammar.schema is None else Feature.JSON_SCHEMA
        found[kind] = "grammar"
    return found
