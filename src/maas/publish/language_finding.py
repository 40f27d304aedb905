"""From the files of a language model to what publishing found: card, chat, engine, memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import msgspec
from msgspec import Struct

from maas.core.errors import ErrorKind, MaasError
from maas.core.generation import ChatPrompt, Feature, GenerateRequest, GenerativeSpec
from maas.core.ports import Artifact, GenerationBounds, Runtime
from maas.core.records import Parity
from maas.publish.language_card import SAMPLE, TOOL
from maas.publish.language_engines import SIGNATURES, Candidates, choose_engine
from maas.publish.language_memory import MemoryPlan
from maas.publish.messages import Emit, Finding, Job
from maas.publish.versions import read_with
from maas.runtimes.language.card import TOKENIZER, LanguageCard, write_card
from maas.runtimes.language.prompts import Prompter
from maas.runtimes.language.tokens import Vocabulary

DISTRIBUTIONS: Mapping[str, str] = MappingProxyType(
    {"openvino-genai": "openvino-genai", "llamacpp": "xllamacpp", "transformers": "transformers"}
)
"""An engine → the package that it is."""


class LanguageForm(Struct, frozen=True):
    """A language model in the form that will be served, yet to be tried.

    The artifact folder has its `tokenizer.json`; the card is written here.

    Args:
        card: what is known of it; its chat template is yet to be tried.
        format: of the artifact, one of the runtimes'.
        entry: the file or folder in the artifact folder that engines open.
        engines: those to try, the one whose answers count first.
        plan: the memory that it takes.
        reason: why it is served in this form, one clause, or empty.
        opened: what engines open now, relative to the artifact folder, where that is not yet
            `entry`.
        linked: as in `Finding`.
        refusals: why other engines cannot serve it, by name.
        lowered: whether it is another form than the published one.
        written_with: versions that the files tell.
        parity: a proof against the original; it stands instead of that between engines.
        warnings: what a careful publisher would want to know.
    """

    card: LanguageCard
    format: str
    entry: str
    engines: tuple[str, ...]
    plan: MemoryPlan
    reason: str = ""
    opened: str = ""
    linked: Mapping[str, str] = {}
    refusals: Mapping[str, str] = {}
    lowered: bool = False
    written_with: Mapping[str, str] = {}
    parity: Parity | None = None
    warnings: tuple[str, ...] = ()


def find_language(
    job: Job, form: LanguageForm, runtimes: Callable[[str], Runtime], emit: Emit
) -> Finding:
    """Tries the chat template and the engines, and writes down what serves.

    Args:
        job: of the child.
        form: the model.
        runtimes: gives a runtime by name.
        emit: hears of progress.

    Raises:
        MaasError: INVALID_ARGUMENT where no engine can serve it, or not the one asked for.
    """
    folder = Path(job.artifact)
    emit("inspect", "trying the chat template", 0.5)
    card, said = settle_chat(form.card, folder, form.plan.context_tokens)
    write_card(folder, card)
    artifact = Artifact(job.artifact, form.opened or form.entry, form.format, SIGNATURES)
    # One that is asked for is tried alone: another may take this process down with it.
    engines = (job.engine,) if job.engine in form.engines else form.engines
    candidates = Candidates(
        artifact,
        engines,
        form.refusals,
        form.plan,
        card.vocabulary,
        job.engine,
        chat=bool(card.chat_template),
    )
    chosen = choose_engine(candidates, runtimes, emit)
    lacks = set(chosen.lacks)
    if not card.chat_template:
        lacks |= {Feature.CHAT}
    if not card.tool_format:
        lacks |= {Feature.TOOLS}
    reason = f"{form.reason}; {chosen.reason}" if form.reason else chosen.reason
    return Finding(
        engine=chosen.engine,
        format=form.format,
        entry=form.entry,
        signatures=SIGNATURES,
        lowered=form.lowered,
        reason=reason,
        written_with=dict(form.written_with),
        read_with=read_with(
            *(DISTRIBUTIONS.get(name, name) for name in form.engines), "tokenizers"
        ),
        parity=form.parity or chosen.parity,
        batch_note=f"answers are written together, as they come; {form.plan.describe()}",
        timings=chosen.timings,
        warnings=(*form.warnings, *said, *chosen.warnings),
        generative=GenerativeSpec(
            context_tokens=form.plan.context_tokens,
            vocabulary=card.vocabulary,
            tool_format=card.tool_format,
            lacks=tuple(sorted(lacks)),
        ),
        linked=dict(form.linked),
    )


def settle_chat(
    card: LanguageCard, folder: Path, context_tokens: int
) -> tuple[LanguageCard, tuple[str, ...]]:
    """Tries a chat template on a conversation; one that fails is left out, with a warning.

    Args:
        card: the model's.
        folder: with its `tokenizer.json`.
        context_tokens: that it will have.

    Returns:
        The card, and what to warn of.

    Raises:
        MaasError: INVALID_ARGUMENT for a tokenizer that cannot be read.
    """
    if not card.chat_template:
        bare = msgspec.structs.replace(card, tool_format="")
        return bare, ("it has no chat template, so it takes texts and no messages",)
    vocabulary = Vocabulary(folder / TOKENIZER, card)
    reason = _render(card, vocabulary, context_tokens, tools=False)
    if reason:
        bare = msgspec.structs.replace(card, chat_template="", tool_format="")
        return bare, (f"its chat template fails ({reason}), so it takes texts and no messages",)
    if not card.tool_format:
        if "tools" not in card.chat_template:
            return card, ()
        return card, ("it writes tool calls in a way not known here, so tools are refused",)
    reason = _render(card, vocabulary, context_tokens, tools=True)
    if reason:
        without = msgspec.structs.replace(card, tool_format="")
        return without, (f"its chat template fails with tools ({reason}), so these are refused",)
    return card, ()


def _render(card: LanguageCard, vocabulary: Vocabulary, context_tokens: int, *, tools: bool) -> str:
    """Why the template does not render a sample conversation; empty where it does."""
    prompt = ChatPrompt(msgspec.json.encode(SAMPLE), msgspec.json.encode([TOOL]) if tools else b"")
    try:
        prompter = Prompter(card, vocabulary, GenerationBounds(), context_tokens)
        prompter.tokens(GenerateRequest(prompt))
    except MaasError as error:
        return "" if error.kind is ErrorKind.CONTEXT_EXCEEDED else error.message
    return ""
