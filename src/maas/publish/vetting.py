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
from maas.core.signature import Signature
from maas.core.tensor import TensorSpec
from maas.publish.engines import engines_for
from maas.publish.messages import Finding, Raced

MOST_FILES = 10_000
MOST_SIGNATURES = 64
MOST_TENSORS = 4096
MOST_AXES = 32
LONGEST_AXIS = 1 << 40
LONGEST_TEXT = 1000
MOST_NOTES = 100
_ENTRY = re.compile(r"[^\x00-\x1f\x7f\\]{1,1024}")


def vet_finding(
    finding: Finding | Raced, format_: str, runtimes: Mapping[str, Runtime], artifact: Path
) -> Finding:
    """Checks what the first child found.

    Args:
        finding: its outcome.
        format_: of what was published, as the parent detected it.
        runtimes: those there are, by name.
        artifact: the folder that it wrote.

    Returns:
        The finding with its texts cut to size.

    Raises:
        MaasError: INVALID_ARGUMENT for anything that a well-meaning child would not say.
    """
    if not isinstance(finding, Finding):
        raise _lied("it spoke out of turn")
    _check_engine(finding, format_, runtimes)
    _check_tree(artifact)
    _check_entry(finding.entry, artifact)
    check_signatures(finding.signatures)
    for timing in finding.timings:
        _check_timing(timing)
    if finding.parity is not None:
        _check_parity(finding.parity)
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


def _check_entry(entry: str, folder: Path) -> None:
    """A file or folder inside the folder, whose tree holds no links."""
    parts = entry.split("/")
    if not _ENTRY.fullmatch(entry) or any(part in ("", ".", "..") for part in parts):
        raise _lied("the entry is no path inside its folder")
    if not (folder / entry).exists():
        raise _lied("the entry is not there")


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
