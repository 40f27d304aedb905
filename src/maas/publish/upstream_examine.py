"""Examines a model that another server serves: asks what it takes, then has it answer.

```
{"upstream": URL} ─▶ describe: the server's own metadata ─▶ prove: a call, a batch ─▶ Finding
```

This runs outside the sandbox, which has no network. Nothing is opened but a URL; what comes back is
numbers and names, bounded and checked by `maas.runtimes.upstream`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from math import prod
from pathlib import Path

import msgspec
import numpy as np

from maas.core.errors import ErrorKind, MaasError, invalid
from maas.core.ports import Runtime
from maas.core.signature import Signature
from maas.core.tensor import Tensors, TensorSpec
from maas.publish.batch import BatchProof, prove_batched
from maas.publish.messages import Emit, Finding, Job
from maas.publish.onnx_samples import draw_inputs
from maas.publish.sample_file import read_sample
from maas.publish.uploads import Upload
from maas.publish.vetting import check_signatures
from maas.runtimes.upstream.document import Document, bare, read_document
from maas.runtimes.upstream.errors import UpstreamError
from maas.runtimes.upstream.runtime import Upstream, UpstreamRuntime
from maas.runtimes.upstream.servable import UpstreamServable

UPSTREAM = "upstream"
"""The format, and the runtime's name."""
ENTRY = "upstream.json"
ROWS = 32
MOST_VALUES = 1 << 20
"""Of the rows that are drawn, together."""
LONGEST_LIST = 5
"""Signatures named in a sentence."""


def upstream_runtime(runtimes: Mapping[str, Runtime]) -> UpstreamRuntime:
    """The runtime that says which servers may be called.

    Raises:
        MaasError: FAILED_PRECONDITION where it is not among them.
    """
    runtime = runtimes.get(UPSTREAM)
    if not isinstance(runtime, UpstreamRuntime):
        raise MaasError(
            ErrorKind.FAILED_PRECONDITION, "this installation has no runtime for upstreams"
        )
    return runtime


def describe_upstream(upload: Upload, runtime: UpstreamRuntime, emit: Emit) -> None:
    """Replaces a published URL by what its server says of the model.

    So a version's digest is that of the description: the same URL published again is a new version
    exactly where the model there takes or gives something else.

    Args:
        upload: as published; its file is written anew.
        runtime: says what may be called.
        emit: hears of progress.

    Raises:
        MaasError: INVALID_ARGUMENT for another file, or a model that is not served here; NOT_FOUND
            where the server has no such model; UNAVAILABLE, DEADLINE_EXCEEDED.
    """
    if upload.code is not None:
        raise invalid("the model runs on another server, to which no code goes; leave --code out")
    document = bare(read_document(upload.path))
    target = document.target
    emit("inspect", f"asking {target.authority} about {target.model}", 0.1)
    upstream = runtime.open(document)
    try:
        described = upstream.describe()
    except UpstreamError as error:
        if not error.gone:
            raise
        raise MaasError(
            ErrorKind.NOT_FOUND,
            f"the upstream has no model {target.model[:60]!r}"
            + (f" of version {target.version}" if target.version else ""),
        ) from error
    finally:
        upstream.close()
    check_signatures(described.signatures)
    upload.path.write_bytes(described.encode())


def examine_upstream(job: Job, runtime: UpstreamRuntime, emit: Emit, limit_s: float) -> Finding:
    """Has each signature answer a call, and the rows of a batch.

    Args:
        job: whose source is a description, `describe_upstream`.
        runtime: says what may be called.
        emit: hears of progress.
        limit_s: seconds that all of it may take.

    Raises:
        MaasError: INVALID_ARGUMENT where no signature answers; the server's own, as ours.
    """
    document = read_document(Path(job.source))
    servable = UpstreamServable(
        _Hurried(runtime.open(document), limit_s), document.signatures, document.rows
    )
    proven: dict[str, Signature] = {}
    refused: dict[str, str] = {}
    note = ""
    try:
        for at, signature in enumerate(document.signatures.values()):
            emit(
                "prove",
                f"calling it, as {signature.name}",
                0.3 + 0.5 * at / len(document.signatures),
            )
            try:
                rows, answers = _rows(job, servable, signature)
            except MaasError as error:
                if error.kind is not ErrorKind.INVALID_ARGUMENT:
                    raise
                refused[signature.name] = error.message
                continue
            proof = _prove(servable, signature, rows)
            note = note or proof.note
            proven[signature.name] = _proven(signature, answers, proof.batched)
    finally:
        servable.close()
    if not proven:
        raise invalid(next(iter(refused.values())))
    Path(job.artifact, ENTRY).write_bytes(msgspec.structs.replace(document, signatures={}).encode())
    return Finding(
        engine=runtime.name,
        format=runtime.name,
        entry=ENTRY,
        signatures=proven,
        lowered=False,
        reason=f"served by {document.target.authority}, as {document.target.model}"
        + (f" ({document.platform})" if document.platform else ""),
        written_with={},
        read_with={},
        parity=None,
        batch_note=note,
        timings=(),
        warnings=_warnings(document, refused),
    )


class _Hurried:
    """An upstream that is called only as long as there is time.

    Raises:
        MaasError: DEADLINE_EXCEEDED from `infer`, past the limit.
    """

    def __init__(self, upstream: Upstream, limit_s: float):
        self._upstream = upstream
        self._limit_s = limit_s
        self._end = time.monotonic() + limit_s

    def describe(self) -> Document:
        return self._upstream.describe()

    def infer(self, signature: Signature, inputs: Tensors) -> Tensors:
        if time.monotonic() > self._end:
            raise MaasError(
                ErrorKind.DEADLINE_EXCEEDED,
                f"proving the model took longer than {self._limit_s:g} s; publish it with --sample "
                "and a few rows, or raise publish.inspect_s",
            )
        return self._upstream.infer(signature, inputs)

    def close(self) -> None:
        self._upstream.close()


def _rows(job: Job, servable: UpstreamServable, signature: Signature) -> tuple[Tensors, Tensors]:
    """Rows that are answered, and their answers.

    Raises:
        MaasError: INVALID_ARGUMENT where no rows are; the server's own.
    """
    if job.sample:
        given = read_sample(Path(job.sample), job.sample_name, signature.inputs, ROWS)
        return given, servable.infer(signature.name, given)
    symbols = {spec.name: ("",) * len(spec.shape) for spec in signature.inputs}
    rng = np.random.default_rng(0)
    reason = "its inputs have no size that can be guessed"
    for drawn in draw_inputs(signature.inputs, symbols, _rows_of(signature), rng):
        one = _first(signature.inputs, drawn)
        attempts: tuple[Tensors, ...] = (drawn, one)  # a server may take one row at a time
        for rows in attempts:
            try:
                return rows, servable.infer(signature.name, rows)
            except MaasError as error:
                if error.kind not in (ErrorKind.INVALID_ARGUMENT, ErrorKind.INTERNAL):
                    raise
                reason = error.message
    raise invalid(
        f"the upstream answered no drawn sample ({reason}); publish it with --sample and a few "
        "rows that it does answer"
    )


def _rows_of(signature: Signature) -> int:
    """How many rows are drawn: fewer of large ones, which travel."""
    values = sum(prod(size or 1 for size in spec.shape) for spec in signature.inputs)
    return max(2, min(ROWS, MOST_VALUES // max(values, 1)))


def _first(specs: tuple[TensorSpec, ...], rows: Tensors) -> Tensors:
    return {
        spec.name: rows[spec.name][:1] if spec.shape[:1] == (None,) else rows[spec.name]
        for spec in specs
    }


def _prove(servable: UpstreamServable, signature: Signature, rows: Tensors) -> BatchProof:
    for spec in signature.inputs:
        if spec.shape[:1] != (None,):
            return BatchProof(
                False, f"the first axis of input {spec.name!r} is not free, so calls go singly"
            )
    if len({len(rows[spec.name]) for spec in signature.inputs}) != 1:
        return BatchProof(False, "the inputs have first axes of different sizes")
    return prove_batched(partial(servable.infer, signature.name), rows)


def _proven(signature: Signature, answers: Tensors, batched: bool) -> Signature:
    if not batched:
        return signature
    outputs = tuple(
        msgspec.structs.replace(spec, shape=(None, *answers[spec.name].shape[1:]))
        if spec.shape[:1] != (None,)
        else spec
        for spec in signature.outputs
    )
    return msgspec.structs.replace(signature, outputs=outputs, batched=True)


def _warnings(document: Document, refused: dict[str, str]) -> tuple[str, ...]:
    target = document.target
    said = []
    if not target.version:
        said.append(
            "the upstream chooses the version that answers, which may change; publish "
            f"{target.url.partition('#')[0]}/versions/N to pin one"
        )
    if not target.tls:
        said.append("calls travel to the upstream unencrypted")
    said += [
        f"signature {name!r} is left out: {reason}"
        for name, reason in list(refused.items())[:LONGEST_LIST]
    ]
    return tuple(said)
