"""Examines a folder with a language model in OpenVINO's form. Runs in the child.

scan ─▶ card from config.json and its neighbours, memory ─▶ the engine writes ─▶ Finding
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from maas.publish.detect_folder import OPENVINO, inside
from maas.publish.hf_card import card_of, put_tokenizer, specials_of
from maas.publish.hf_config import count_of
from maas.publish.hf_folder import read_folder
from maas.publish.ir_scan import check_graph, scan_graph
from maas.publish.language_finding import LanguageForm, find_language
from maas.publish.language_memory import plan_memory
from maas.publish.messages import Emit, Finding, Job
from maas.runtimes.plugins import runtime_for

WEIGHTS = "openvino_model.bin"
TOKENIZERS = (
    *("openvino_tokenizer.xml", "openvino_tokenizer.bin"),
    *("openvino_detokenizer.xml", "openvino_detokenizer.bin"),
)
NO_GRAMMARS = (
    "it has no openvino_tokenizer.xml, so answers cannot be held to JSON; export it with "
    "optimum-cli export openvino, which writes one"
)
MOST_CONTEXT = 1 << 24
MOST_TOKENS = 2_000_000


def examine_ir(job: Job, emit: Emit) -> Finding:
    """Takes a folder to what will be served: its graph and weights as they are.

    Raises:
        MaasError: one sentence that says what is wrong with it.
    """
    emit("scan", "reading the graph", 0.1)
    folder, artifact = Path(job.source), Path(job.artifact)
    graph = scan_graph(inside(folder, OPENVINO, "it"), inside(folder, WEIGHTS, "the graph"))
    words = _tokenizers(folder)
    emit("inspect", "reading its configuration", 0.3)
    source = read_folder(folder, weights=False)
    context = count_of(source.config, "max_position_embeddings", MOST_CONTEXT)
    rows = count_of(source.config, "vocab_size", MOST_TOKENS)
    plan = plan_memory(graph.weight_bytes, graph.kv_numbers, context, job.context_tokens)
    card = card_of(source, specials_of(source, rows), rows, graph.quantization, plan.context_tokens)
    put_tokenizer(source, artifact)
    form = LanguageForm(
        card=msgspec.structs.replace(card, parameters=graph.parameters),
        format="openvino-ir",
        entry=OPENVINO,
        engines=("openvino-genai",),
        plan=plan,
        opened=os.path.relpath(folder / OPENVINO, artifact),
        linked={name: name for name in (OPENVINO, WEIGHTS, *words)},
        warnings=() if words else (NO_GRAMMARS,),
    )
    return find_language(job, form, runtime_for, emit)


def _tokenizers(folder: Path) -> tuple[str, ...]:
    """OpenVINO's own form of the tokenizer, which its grammars need; empty where there is none.

    Raises:
        MaasError: INVALID_ARGUMENT where it lies.
    """
    if not all((folder / name).exists() for name in TOKENIZERS):
        return ()
    for xml, weights in (TOKENIZERS[:2], TOKENIZERS[2:]):
        check_graph(inside(folder, xml, "it"), inside(folder, weights, xml))
    return TOKENIZERS
