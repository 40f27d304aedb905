"""Examines a GGUF. Runs in the child.

scan (nothing but its header is read) ─▶ tokenizer, card, memory ─▶ engines write ─▶ Finding

The file itself is served as it was published.
"""

from __future__ import annotations

import os
from pathlib import Path

from maas.publish.gguf_model import check_kind, check_model
from maas.publish.gguf_openvino import openvino_trouble
from maas.publish.gguf_scan import Gguf, scan_gguf, text_of
from maas.publish.language_card import LONGEST_TEMPLATE, card_of_gguf
from maas.publish.language_finding import LanguageForm, find_language
from maas.publish.language_memory import plan_memory
from maas.publish.language_tokenizer import make_tokenizer, read_tokens
from maas.publish.messages import Emit, Finding, Job
from maas.runtimes.language.card import TOKENIZER
from maas.runtimes.plugins import runtime_for

ENTRY = "model.gguf"
LLAMA_CPP, OPENVINO = "llamacpp", "openvino-genai"


def examine_gguf(job: Job, emit: Emit) -> Finding:
    """Takes a GGUF to what will be served: itself.

    Raises:
        MaasError: one sentence that says what is wrong with it.
    """
    emit("scan", "reading the GGUF's header", 0.1)
    source = Path(job.source)
    gguf = scan_gguf(source)
    check_kind(gguf)
    tokens = read_tokens(gguf.metadata)
    model = check_model(gguf, len(tokens.texts))
    plan = plan_memory(
        model.weight_bytes, model.kv_numbers, model.context_tokens, job.context_tokens
    )
    emit("inspect", f"making the tokenizer of {len(tokens.texts)} tokens", 0.3)
    (Path(job.artifact) / TOKENIZER).write_text(make_tokenizer(gguf.metadata, tokens))
    trouble = openvino_trouble(gguf, model)
    form = LanguageForm(
        card=card_of_gguf(gguf, model, tokens, plan.context_tokens),
        format="gguf",
        entry=ENTRY,
        # llama.cpp is the format's own reader.
        engines=(LLAMA_CPP,) if trouble else (LLAMA_CPP, OPENVINO),
        plan=plan,
        opened=os.path.relpath(source, job.artifact),
        linked={ENTRY: ""},
        refusals={OPENVINO: trouble} if trouble else {},
        warnings=_warnings(gguf),
    )
    return find_language(job, form, runtime_for, emit)


def _warnings(gguf: Gguf) -> tuple[str, ...]:
    template = text_of(gguf.metadata, "tokenizer.chat_template")
    if len(template.encode()) <= LONGEST_TEMPLATE:
        return ()
    return (
        f"its chat template has {len(template.encode())} bytes and was left out; at most "
        f"{LONGEST_TEMPLATE} are read",
    )
