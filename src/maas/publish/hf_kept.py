"""Keeps a Hugging Face folder as it is, for transformers to serve: what has no GGUF form here."""

from __future__ import annotations

import os

from maas.core.errors import invalid
from maas.publish.hf_card import card_of, specials_of
from maas.publish.hf_config import MOST_CONTEXT, MOST_TOKENS, count_of
from maas.publish.hf_folder import HfFolder, written_with
from maas.publish.hf_scan import INDEX, SINGLE
from maas.publish.language_finding import LanguageForm, find_language
from maas.publish.language_memory import plan_memory
from maas.publish.messages import Emit, Finding, Job
from maas.runtimes.plugins import runtime_for

TRANSFORMERS = "transformers"
KEPT = "model"
"""The folder of the artifact that a kept model lies in."""


def examine_kept(job: Job, folder: HfFolder, reason: str, emit: Emit) -> Finding:
    """Takes a folder to what will be served: itself.

    Args:
        job: of the child.
        folder: as read.
        reason: why it has no other form, one clause.
        emit: hears of progress.

    Raises:
        MaasError: one sentence that says what is wrong with it.
    """
    if job.quantize:
        raise invalid(f"--quantize makes a GGUF, and this model is served as it is: {reason}")
    rows = count_of(folder.config, "vocab_size", MOST_TOKENS)
    context = _context(folder)
    specials = specials_of(folder, rows)
    plan = plan_memory(folder.weight_bytes, _kv_numbers(folder), context, job.context_tokens)
    card = card_of(folder, specials, rows, _dtype(folder), plan.context_tokens)
    files = {
        tensor.file.relative_to(folder.folder).as_posix() for tensor in folder.tensors.values()
    }
    named = [
        name for name in ("config.json", "generation_config.json", INDEX) if _has(folder, name)
    ]
    if SINGLE in files and INDEX in named:
        named.remove(INDEX)
    emit("inspect", "loading it with transformers", 0.3)
    form = LanguageForm(
        card=card,
        format="huggingface",
        entry=KEPT,
        engines=(TRANSFORMERS,),
        plan=plan,
        reason=f"kept as it is, since {reason}",
        opened=os.path.relpath(folder.folder, job.artifact),
        linked={f"{KEPT}/{name}": name for name in sorted({*files, *named})},
        written_with=written_with(folder),
    )
    return find_language(job, form, runtime_for, emit)


def _context(folder: HfFolder) -> int:
    """The context that it was made for, under any of the names that configurations have for it."""
    for name in ("max_position_embeddings", "n_positions", "max_sequence_length", "seq_length"):
        if folder.config.get(name) is not None:
            return count_of(folder.config, name, MOST_CONTEXT)
    raise invalid(
        "config.json does not say how long a context the model has; expected "
        "max_position_embeddings"
    )


def _kv_numbers(folder: HfFolder) -> int:
    """Numbers of one token in the KV cache: exact for the usual names, else an upper bound."""
    config = folder.config

    def figure(*names: str, default: int) -> int:
        found = (config.get(name) for name in names)
        return next((value for value in found if type(value) is int and value > 0), default)

    layers = figure("num_hidden_layers", "n_layer", "num_layers", default=1)
    hidden = figure("hidden_size", "n_embd", "d_model", default=1)
    heads = figure("num_attention_heads", "n_head", default=1)
    head = figure("head_dim", default=max(hidden // heads, 1))
    return 2 * layers * head * figure("num_key_value_heads", default=heads)


def _dtype(folder: HfFolder) -> str:
    """How most of its numbers are kept."""
    counts: dict[str, int] = {}
    for tensor in folder.tensors.values():
        counts[tensor.dtype] = counts.get(tensor.dtype, 0) + tensor.count
    return max(counts, key=lambda dtype: counts[dtype])


def _has(folder: HfFolder, name: str) -> bool:
    return (folder.folder / name).exists()
