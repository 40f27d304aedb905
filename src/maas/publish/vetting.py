"""What the first child says is not believed: it may have run the model's own code.

The parent checks everything that leads anywhere, and cuts texts to what a report holds.
"""

from __future__ import annotations

import math
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path

import msgspec

from maas.core.errors import MaasError, invalid
from maas.core.ports import Runtime
from maas.core.records import EngineTiming, Parity
from maas.core.signature import GENERATE, Signature
from maas.core.tensor import TensorSpec
from maas.publish.detect_folder import inside
from maas.publish.engines import engines_for
from maas.publish.messages import Finding, Raced

MOST_FILES = 10_000
MOST_SIGNATURES = 64
MOST_TENSORS = 4096
MOST_AXES = 32
LONGEST_AXIS = 1 << 40
LONGEST_TEXT = 1000
MOST_TOKENS = 1 << 24
TOOL_FORMATS = frozenset({"", "hermes", "llama3", "mistral"})
MOST_NOTES = 100
_ENTRY = re.compile(r"[^\x00-\x1f\x7f\\]{1,1024}")


def vet_finding(
    finding: Finding | Raced,
    format_: str,
    runtimes: Mapping[str, Runtime],
    artifact: Path,
    published: Path,
) -> Finding:
    """Checks what the first child found.

    Args:
        finding: its outcome.
        format_: of what was published, as the parent detected it.
        runtimes: those there are, by name.
        artifact: the folder that it wrote.
        published: what it read, a file or folder.

    Returns:
        The finding with its texts cut to size.

    Raises:
        MaasError: INVALID_ARGUMENT for anything that a well-meaning child would not say.
    """
    if not isinstance(finding, Finding):
        raise _lied("it spoke out of turn")
    _check_engine(finding, format_, runtimes)
    _check_tree(artifact)
    _check_linked(finding.linked, artifact, published)
    _check_entry(finding.entry, artifact, finding.linked)
    check_signatures(finding.signatures)
    for timing in finding.timings:
        _check_timing(timing)
    if finding.parity is not None:
        _check_parity(finding.parity)
    _check_generative(finding)
    return msgspec.structs.replace(
        finding,
        reason=_text(finding.reason),
        batch_note=_text(finding.batch_note),
        warnings=tuple(_text(warning) for warning in finding.warnings[:MOST_NOTES]),
        written_with=_texts(finding.written_with),
        read_with=_texts(finding.read_with),
    )


def _lied(what: str) -> MaasError:
    return invalid(f"what the model's reader found cannot be right: {what}; publish it again")


def _check_engine(finding: Finding, format_: str, runtimes: Mapping[str, Runtime]) -> None:
    """The engine belongs to what was published, and its format to the engine."""
    runtime = runtimes.get(finding.engine)
    possible = engines_for(format_, runtimes)
    if runtime is None or finding.engine not in possible or finding.format not in runtime.formats:
        raise _lied(f"{finding.engine[:60]!r} does not serve {format_}")


def _check_tree(folder: Path) -> None:
    """Regular files and folders only, each under one name."""
    if not stat.S_ISDIR(folder.lstat().st_mode):
        raise _lied("its folder is not there")
    count, pending = 0, [folder]
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                count += 1
                if count > MOST_FILES:
                    raise _lied(f"it wrote more than {MOST_FILES} files")
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode):
                    pending.append(Path(entry.path))
                elif not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
                    raise _lied("it wrote something other than regular files")


def _check_entry(entry: str, folder: Path, linked: Mapping[str, str]) -> None:
    """A file or folder inside the folder, whose tree holds no links."""
    if not _is_inner(entry):
        raise _lied("the entry is no path inside its folder")
    promised = any(name == entry or name.startswith(f"{entry}/") for name in linked)
    if not promised and not (folder / entry).exists():
        raise _lied("the entry is not there")


def _check_linked(linked: Mapping[str, str], folder: Path, published: Path) -> None:
    """Regular files of what was published, to be put where nothing is."""
    if len(linked) > MOST_FILES:
        raise _lied(f"it serves more than {MOST_FILES} published files")
    for name, origin in linked.items():
        if not _is_inner(name) or (folder / name).exists():
            raise _lied("a published file cannot be put into its folder")
        if bool(origin) != published.is_dir() or (origin and not _is_inner(origin)):
            raise _lied("a file that it serves was not published")
        source = inside(published, origin, "the model's reader") if origin else published
        if not stat.S_ISREG(source.lstat().st_mode):
            raise _lied("something that it serves is no file")


def _is_inner(path: str) -> bool:
    parts = path.split("/")
    return bool(_ENTRY.fullmatch(path)) and not any(part in ("", ".", "..") for part in parts)


def _check_generative(finding: Finding) -> None:
    """A language model has the one signature that it is called by, and nothing else has it."""
    spec = finding.generative
    if any(one.method == GENERATE for one in finding.signatures.values()) != (spec is not None):
        raise _lied("what writes texts has no figures of a language model, or the reverse")
    if spec is None:
        return
    if not 1 <= spec.context_tokens <= MOST_TOKENS or not 1 <= spec.vocabulary <= MOST_TOKENS:
        raise _lied("its context or vocabulary is impossible")
    if spec.tool_format not in TOOL_FORMATS:
        raise _lied("it writes tool calls in no known way")


def check_signatures(signatures: Mapping[str, Signature]) -> None:
    """Names, types and shapes that every layer can rely on.

    Raises:
        MaasError: INVALID_ARGUMENT for what no model has.
    """
    if not 1 <= len(signatures) <= MOST_SIGNATURES:
        raise _lied(f"it has {len(signatures)} signatures")
    for name, signature in signatures.items():
        if name != signature.name or not 1 <= len(name) <= LONGEST_TEXT:
            raise _lied("a signature has two names")
        for specs in (signature.inputs, signature.outputs):
            if not 1 <= len(specs) <= MOST_TENSORS:
                raise _lied(f"a signature has {len(specs)} tensors")
            if len({spec.name for spec in specs}) != len(specs):
                raise _lied("two tensors have one name")
            for spec in specs:
                _check_spec(spec, signature.batched)


def _check_spec(spec: TensorSpec, batched: bool) -> None:
    if not 1 <= len(spec.name) <= LONGEST_TEXT or not spec.name.isprintable():
        raise _lied("a tensor has no proper name")
    sizes = [size for size in spec.shape if size is not None]
    if len(spec.shape) > MOST_AXES or any(not 0 <= size <= LONGEST_AXIS for size in sizes):
        raise _lied("a tensor has an impossible shape")
    if batched and spec.shape[:1] != (None,):
        raise _lied("a tensor of a batch has no batch axis")


def _check_timing(timing: EngineTiming) -> None:
    numbers = (timing.us_per_row_1, timing.us_per_row_batch, float(timing.batch))
    if not all(math.isfinite(number) and number >= 0 for number in numbers):
        raise _lied("a timing is no number")
    if len(timing.engine) + len(timing.note) > LONGEST_TEXT:
        raise _lied("a timing has too long a text")


def _check_parity(parity: Parity) -> None:
    if not all(math.isfinite(number) for number in (parity.max_abs, parity.max_rel)):
        raise _lied("a difference is no number")
    if len(parity.source) + len(parity.note) > LONGEST_TEXT:
        raise _lied("the proof has too long a text")


def _text(text: str) -> str:
    kept = "".join(c if c.isprintable() else " " for c in text[:LONGEST_TEXT])
    return kept if len(text) <= LONGEST_TEXT else f"{kept}…"


def _texts(versions: Mapping[str, str]) -> dict[str, str]:
    kept = list(versions.items())[:MOST_NOTES]
    return {_text(name): _text(version) for name, version in kept}
