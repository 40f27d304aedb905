"""Which engine serves a language model: all that can are tried, and the fastest that agrees wins.

    each engine ─▶ load ─▶ write ─▶ close        the trials ─▶ compare ─▶ choose

Prompts go in and tokens come out through the same port as where it will serve. The engine that
reads the format by itself (llama.cpp a GGUF) is the one that the others must agree with.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence

import msgspec
from msgspec import Struct

from maas.core.errors import ErrorKind, MaasError, invalid
from maas.core.generation import Feature, GenerativeSpec
from maas.core.ports import Artifact, Device, GenerationBounds, Generative, Runtime
from maas.core.records import EngineTiming, Parity
from maas.core.signature import DEFAULT_SIGNATURE, text_signature
from maas.publish.choose import MARGIN, speed_of
from maas.publish.language_memory import MemoryPlan
from maas.publish.language_trial import CALLERS, Agreement, Trial, Written, compare_answers, try_out
from maas.publish.messages import Emit
from maas.runtimes.language.engine import LanguageModel
from maas.runtimes.wording import one_sentence

TRIAL_CONTEXT = 512
LEAST_KV = 64 << 20
MOST_DIFFERING = 0.34
"""Part of the answers that may differ by more than rounding does before an engine is wrong:
engines multiply small numbers in their own ways, and weights of 4 bits leave much to them."""

SIGNATURES = {DEFAULT_SIGNATURE: text_signature()}
"""The one that every language model has: texts in, and what it writes to each of them out."""


class Candidates(Struct, frozen=True):
    """What may serve a model.

    Args:
        artifact: the files, with the card and the tokenizer.
        engines: names of runtimes, the one whose answers count first.
        refusals: why others cannot, by name.
        plan: the memory that it takes.
        vocabulary: how many tokens it has.
        asked: the engine asked for, or empty.
        chat: whether the model has a chat template that works.
    """

    artifact: Artifact
    engines: tuple[str, ...]
    refusals: Mapping[str, str]
    plan: MemoryPlan
    vocabulary: int
    asked: str = ""
    chat: bool = False


class Chosen(Struct, frozen=True):
    """Which engine serves.

    Args:
        engine: its name.
        reason: why, one clause.
        timings: of all that were tried, the chosen one first.
        parity: how two engines compare; None where there was one.
        lacks: what the chosen one cannot do.
        warnings: what a careful publisher would want to know.
    """

    engine: str
    reason: str
    timings: tuple[EngineTiming, ...]
    parity: Parity | None
    lacks: frozenset[Feature]
    warnings: tuple[str, ...] = ()


class Tried(Struct, frozen=True):
    """An engine that wrote, and what it cannot do."""

    trial: Trial
    lacks: frozenset[Feature]


def choose_engine(candidates: Candidates, runtimes: Callable[[str], Runtime], emit: Emit) -> Chosen:
    """Tries every engine and chooses one.

    Args:
        candidates: what to try.
        runtimes: gives a runtime by name.
        emit: hears of progress.

    Raises:
        MaasError: INVALID_ARGUMENT where none can serve it, or not the one that was asked for.
    """
    refusals = dict(candidates.refusals)
    tried: dict[str, Tried] = {}
    for at, name in enumerate(candidates.engines):
        emit("time", f"having {name} write", 0.6 + 0.3 * at / len(candidates.engines))
        try:
            tried[name] = _try(name, runtimes(name), candidates)
        except MaasError as error:
            if error.kind is ErrorKind.RESOURCE_EXHAUSTED:
                raise
            refusals[name] = error.message
        except (RuntimeError, ValueError) as error:  # what native libraries raise
            refusals[name] = one_sentence(error, 160)
    if candidates.asked and candidates.asked not in tried:
        why = refusals.get(candidates.asked, "it is not among those for this format")
        raise invalid(
            f"engine {candidates.asked!r} cannot serve this model: {why}; leave --engine out"
        )
    if not tried:
        raise invalid(f"no engine can serve this model: {_listed(refusals)}")
    return pick(tried, refusals, candidates.asked)


def _try(name: str, runtime: Runtime, candidates: Candidates) -> Tried:
    """Loads, has it write, closes.

    Raises:
        MaasError: the engine's own.
    """
    context = min(candidates.plan.context_tokens, TRIAL_CONTEXT)
    spec = GenerativeSpec(context, candidates.vocabulary)
    artifact = msgspec.structs.replace(candidates.artifact, generative=spec)
    bounds = GenerationBounds(
        threads=len(os.sched_getaffinity(0)),
        # Engines keep blocks of tokens, and a little beyond each answer.
        kv_bytes=max(LEAST_KV, 2 * CALLERS * context * candidates.plan.kv_token),
        sequences=CALLERS,
        waiting=2 * CALLERS,
        yielding=False,  # what is measured is how fast it is, not what else runs
    )
    model = runtime.load(artifact, Device(threads=bounds.threads, generation=bounds))
    if not isinstance(model, Generative):
        model.close()
        raise invalid(f"{name} serves no language models")
    model.on_failure = lambda: None  # it says so itself, and others may serve
    lacks = model.lacks if isinstance(model, LanguageModel) else frozenset()
    try:
        trial = try_out(name, model, candidates.vocabulary, context, chat=candidates.chat)
        return Tried(trial, lacks)
    finally:
        model.close()


def pick(tried: Mapping[str, Tried], refusals: Mapping[str, str], asked: str) -> Chosen:
    """Chooses among engines that have written.

    Args:
        tried: in order; the first one's answers count.
        refusals: why others cannot serve, by name.
        asked: the one asked for, which is among those tried; or empty.

    Raises:
        MaasError: INVALID_ARGUMENT where the one asked for writes something else.
    """
    reference = next(iter(tried))
    answers = tried[reference].trial.answers
    agreements = {
        name: compare_answers(answers, one.trial.answers)
        for name, one in tried.items()
        if name != reference
    }
    wrong = {
        name: reason
        for name, agreement in agreements.items()
        if (reason := _complaint(agreement, answers, reference))
    }
    if asked in wrong:
        raise invalid(f"engine {asked!r} cannot serve this model: {wrong[asked]}")
    fitting = [name for name in tried if name not in wrong]
    engine = asked or _fastest({name: tried[name].trial.timing for name in fitting})
    timings = [
        _noted(one.trial.timing, tried[engine].trial.timing, wrong.get(name, ""), asked)
        for name, one in tried.items()
    ]
    refused = [EngineTiming(name, 0, 0, 0, True, reason) for name, reason in refusals.items()]
    timings.sort(key=lambda timing: timing.engine != engine)
    compared = agreements.get(engine) or next(
        (agreements[name] for name in agreements if name not in wrong), None
    )
    other = (
        reference if engine != reference else next((n for n in agreements if n not in wrong), "")
    )
    return Chosen(
        engine=engine,
        reason=_reason(engine, [t for t in timings if t.agrees], asked, refusals, wrong),
        timings=(*timings, *refused),
        parity=_parity(compared, len(answers), engine, other) if compared and other else None,
        lacks=tried[engine].lacks,
        warnings=tuple(f"{name} was left out: {reason}" for name, reason in wrong.items()),
    )


def _fastest(timings: Mapping[str, EngineTiming]) -> str:
    """The fastest, unless it is hardly faster than the first one: that does the most."""
    first = next(iter(timings))
    fastest = min(timings, key=lambda name: speed_of(timings[name]))
    return fastest if speed_of(timings[first]) >= MARGIN * speed_of(timings[fastest]) else first


def _complaint(agreement: Agreement, answers: Sequence[Written], reference: str) -> str:
    """Why an engine's answers are not those of the first; empty where they are."""
    if agreement.differing <= MOST_DIFFERING * len(answers):
        return ""
    return (
        f"it writes something else than {reference} in {agreement.differing} of {len(answers)} "
        "answers, by more than rounding does"
    )


def _noted(timing: EngineTiming, chosen: EngineTiming, wrong: str, asked: str) -> EngineTiming:
    """With a clause on why it was not chosen."""
    if timing.engine == chosen.engine:
        return timing
    if wrong:
        return msgspec.structs.replace(timing, agrees=False, note=wrong)
    ratio = speed_of(timing) / speed_of(chosen)
    note = f"{ratio:.1f} times slower" if ratio >= MARGIN else f"not {MARGIN - 1:.0%} faster"
    return msgspec.structs.replace(timing, note=f"{asked} was asked for" if asked else note)


def _reason(
    engine: str,
    timings: Sequence[EngineTiming],
    asked: str,
    refusals: Mapping[str, str],
    wrong: Mapping[str, str],
) -> str:
    if asked:
        return f"{engine} was asked for"
    others = [timing for timing in timings if timing.engine != engine]
    if others:
        chosen = next(timing for timing in timings if timing.engine == engine)
        ratio = speed_of(others[0]) / speed_of(chosen)
        if ratio < 1:
            return f"{engine} is the format's own reader, and none is {MARGIN - 1:.0%} faster"
        return f"{engine} is {ratio:.1f} times as fast as {others[0].engine}, and they agree"
    missing = {**refusals, **wrong}
    why = f"; {_listed(missing)}" if missing else ""
    return f"{engine} can serve it{why}"


def _listed(refusals: Mapping[str, str]) -> str:
    return "; ".join(f"{name}: {reason}" for name, reason in refusals.items()) or "none is there"


def _parity(agreement: Agreement, answers: int, engine: str, other: str) -> Parity:
    return Parity(
        samples=agreement.compared,
        source="model",
        max_abs=agreement.largest,
        max_rel=math.expm1(min(agreement.largest, 10.0)),
        distinct_answers=agreement.distinct,
        agrees=True,
        note=f"tokens that {engine} and {other} wrote alike in {answers} answers; differences are "
        "of the logarithm of a token's probability, and of the probability itself",
    )
