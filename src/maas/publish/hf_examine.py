"""Examines a Hugging Face folder of a causal language model. Runs in the child.

read, scan ─┬─▶ llama, qwen2, qwen3: GGUF ─▶ prove ─▶ engines, each checked ─▶ the fastest
            └─▶ any other: kept as it is, served by transformers
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import msgspec
from msgspec import Struct

from maas.core.errors import invalid
from maas.core.generation import GenerativeSpec
from maas.core.ports import Artifact, Device, GenerationBounds, Generative, Runtime
from maas.publish.gguf_examine import ENTRY, LLAMA_CPP, OPENVINO
from maas.publish.gguf_model import check_model
from maas.publish.gguf_openvino import openvino_trouble
from maas.publish.gguf_scan import scan_gguf
from maas.publish.hf_card import Specials, card_of, put_tokenizer, specials_of
from maas.publish.hf_config import HfShape, KeptError, shape_of
from maas.publish.hf_folder import HfFolder, read_folder, written_with
from maas.publish.hf_kept import TRANSFORMERS, examine_kept
from maas.publish.hf_lower import write_gguf
from maas.publish.hf_prove import Checked, Proof, check_engine, prove_weights
from maas.publish.hf_tensors import Place, check_tensors, places_of
from maas.publish.hf_vocabulary import HfVocabulary, vocabulary_of
from maas.publish.language_engines import SIGNATURES
from maas.publish.language_finding import LanguageForm, find_language
from maas.publish.language_memory import MemoryPlan, plan_memory
from maas.publish.messages import Emit, Finding, Job
from maas.publish.versions import read_with
from maas.runtimes.language.card import TOKENIZER, LanguageCard, write_card
from maas.runtimes.language.tokens import Vocabulary
from maas.runtimes.plugins import runtime_for

GGUF = "gguf"
DEFAULT = "q8_0"
"""How weights are kept where the publisher does not say: writing is bound by memory, so half of
float16's bytes are nearly twice its speed; and eight bits with a scale for each 32 numbers cost
less perplexity than the texts of a proof can tell, which is measured all the same."""
MIB = 1 << 20


class Lowered(Struct, frozen=True):
    """A model in its GGUF form.

    Args:
        quantize: how its weights are kept.
        card: what is known of it.
        plan: the memory that it takes.
        proof: against the published weights.
        trouble: why OpenVINO cannot serve it, one clause; empty where it may be tried.
    """

    quantize: str
    card: LanguageCard
    plan: MemoryPlan
    proof: Proof
    trouble: str


class Source(Struct, frozen=True):
    """A folder that has a GGUF form.

    Args:
        folder: as read.
        shape: the model's figures.
        places: its tensors.
        words: its vocabulary.
        specials: its tokens with a meaning.
    """

    folder: HfFolder
    shape: HfShape
    places: tuple[Place, ...]
    words: HfVocabulary
    specials: Specials


def examine_huggingface(job: Job, emit: Emit) -> Finding:
    """Takes a folder to what will be served.

    Raises:
        MaasError: one sentence that says what is wrong with it.
    """
    emit("scan", "looking through the folder before anything opens it", 0.05)
    folder = read_folder(Path(job.source))
    put_tokenizer(folder, Path(job.artifact))
    try:
        if job.engine == TRANSFORMERS:
            raise KeptError("transformers was asked for")
        source = _source(folder)
        return _examine_lowered(job, source, emit)
    except KeptError as error:
        (Path(job.artifact) / ENTRY).unlink(missing_ok=True)
        return examine_kept(job, folder, str(error), emit)


def _source(folder: HfFolder) -> Source:
    """Holds what the folder says against its tensors.

    Raises:
        KeptError: where it has no GGUF form.
        MaasError: INVALID_ARGUMENT for what cannot be right.
    """
    shape = shape_of(folder.config)
    places = tuple(places_of(shape))
    check_tensors(folder.tensors, places, shape.tied)
    words = vocabulary_of(folder.tokenizer, shape.vocabulary)
    return Source(folder, shape, places, words, specials_of(folder, shape.vocabulary))


def _examine_lowered(job: Job, source: Source, emit: Emit) -> Finding:
    lowered = _lower(job, source, job.quantize or DEFAULT, emit)
    fell = ""
    if not lowered.proof.parity.agrees and not job.quantize:
        fell = (
            f"as {DEFAULT} it would lose too much ({lowered.proof.parity.max_rel:.1%} perplexity)"
        )
        lowered = _lower(job, source, "f16", emit)
    if not lowered.proof.parity.agrees and lowered.quantize == "f16":
        raise KeptError(f"its GGUF form answers otherwise ({lowered.proof.parity.note})")
    # llama.cpp is the format's own reader.
    engines: tuple[str, ...] = (LLAMA_CPP,) if lowered.trouble else (LLAMA_CPP, OPENVINO)
    refusals = {OPENVINO: lowered.trouble} if lowered.trouble else {}
    warnings = [] if lowered.proof.parity.agrees else [_loss(lowered)]
    while True:
        if job.engine in refusals:
            raise invalid(
                f"engine {job.engine!r} cannot serve this model: {refusals[job.engine]}; leave "
                "--engine out, or name another"
            )
        if not engines:
            why = "; ".join(f"{name}: {said}" for name, said in refusals.items())
            raise KeptError(f"no engine answers right from its GGUF form ({why})")
        form = _form(job, source, lowered, engines, refusals, tuple(warnings), fell)
        finding = find_language(job, form, runtime_for, emit)
        emit("prove", f"comparing {finding.engine} with transformers", 0.92)
        checked = _check(job, lowered, runtime_for(finding.engine))
        complaint = checked.complaint()
        if not complaint:
            return _told(finding, checked)
        refusals[finding.engine] = complaint
        warnings.append(f"{finding.engine} was left out: {complaint}")
        engines = tuple(name for name in engines if name != finding.engine)


def _lower(job: Job, source: Source, quantize: str, emit: Emit) -> Lowered:
    """Writes the GGUF and the card, and proves the weights."""
    shape, folder, artifact = source.shape, source.folder, Path(job.artifact)

    def wrote(part: float) -> None:
        emit(
            "lower",
            f"writing a GGUF of {shape.architecture}, {quantize}",
            round(0.1 + 0.2 * part, 3),
        )

    target = artifact / ENTRY
    target.unlink(missing_ok=True)
    wrote(0.0)
    write_gguf(
        target,
        shape,
        source.words,
        source.specials,
        folder.tensors,
        source.places,
        quantize,
        _seldom(wrote),
    )
    written = scan_gguf(target)
    model = check_model(written, shape.vocabulary)
    plan = plan_memory(model.weight_bytes, model.kv_numbers, shape.context, job.context_tokens)
    card = card_of(folder, source.specials, shape.vocabulary, quantize.upper(), plan.context_tokens)
    write_card(artifact, card)
    proof = prove_weights(
        folder,
        target,
        source.places,
        Vocabulary(artifact / TOKENIZER, card),
        quantize,
        plan.context_tokens,
        lambda message, part: emit("prove", message, round(0.3 + 0.2 * part, 3)),
    )
    return Lowered(quantize, card, plan, proof, openvino_trouble(written, model))


def _form(
    job: Job,
    source: Source,
    lowered: Lowered,
    engines: tuple[str, ...],
    refusals: dict[str, str],
    warnings: tuple[str, ...],
    fell: str,
) -> LanguageForm:
    size = (Path(job.artifact) / ENTRY).stat().st_size
    why = f"lowered to GGUF, {lowered.quantize}: {_size(source.folder.weight_bytes)} of weights "
    why += f"became {_size(size)}"
    return LanguageForm(
        card=lowered.card,
        format=GGUF,
        entry=ENTRY,
        engines=engines,
        plan=lowered.plan,
        reason=f"{why} ({fell})" if fell else why,
        refusals=refusals,
        lowered=True,
        written_with=written_with(source.folder),
        parity=lowered.proof.parity,
        warnings=warnings,
    )


def _check(job: Job, lowered: Lowered, runtime: Runtime) -> Checked:
    """Has the engine that will serve write what the reference wrote."""
    answers = lowered.proof.answers
    at_once = max(len(each.texts) for each in answers)
    longest = max(each.texts.shape[1] for each in answers)
    context = min(lowered.plan.context_tokens, longest + 16)
    tokens = sum(each.texts.size for each in answers)
    spec = GenerativeSpec(context, lowered.card.vocabulary)
    artifact = Artifact(job.artifact, ENTRY, GGUF, SIGNATURES, spec)
    bounds = GenerationBounds(
        threads=len(os.sched_getaffinity(0)),
        kv_bytes=max(64 * MIB, 4 * lowered.plan.kv_token * (tokens + at_once * 64)),
        sequences=at_once,
        waiting=at_once,
        yielding=False,
    )
    model = runtime.load(artifact, Device(threads=bounds.threads, generation=bounds))
    if not isinstance(model, Generative):
        model.close()
        raise invalid(f"{runtime.name} serves no language models")
    try:
        vocabulary = Vocabulary(Path(job.artifact) / TOKENIZER, lowered.card)
        return check_engine(model, lowered.proof, vocabulary)
    finally:
        model.close()


def _told(finding: Finding, checked: Checked) -> Finding:
    """The finding, with how its engine compares."""
    said = (
        f"{finding.engine} writes the same {checked.compared - checked.ties - checked.differing} "
        f"of {checked.compared} tokens as transformers with the same weights, {checked.ties} "
        "others being near-ties"
    )
    timings = tuple(
        msgspec.structs.replace(timing, note=timing.note or said)
        if timing.engine == finding.engine
        else timing
        for timing in finding.timings
    )
    versions = {**finding.read_with, **read_with("transformers", "torch", "gguf")}
    return msgspec.structs.replace(finding, timings=timings, read_with=versions)


def _loss(lowered: Lowered) -> str:
    return (
        f"kept as {lowered.quantize}, its perplexity is {lowered.proof.parity.max_rel:.1%} off, "
        "which is more than rounding should cost; publish it with --quantize q8_0 or f16"
    )


def _seldom(told: Callable[[float], None]) -> Callable[[float], None]:
    """Tells every tenth part only: a child may not report without end."""
    steps = [0]

    def tell(part: float) -> None:
        if int(part * 10) > steps[0]:
            steps[0] = int(part * 10)
            told(part)

    return tell


def _size(count: int) -> str:
    return f"{count / MIB:,.0f} MiB" if count >= 10 * MIB else f"{count / MIB:.1f} MiB"
