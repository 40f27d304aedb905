"""Examines a Keras model: scan, signature, lowering, proof, timing. Runs in the child."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from typing import Any

from maas.core.errors import MaasError, invalid
from maas.core.signature import DEFAULT_SIGNATURE, Signature
from maas.publish.keras_hints import hints_of
from maas.publish.keras_scan import KERAS_2_CURE, KerasScan, scan_keras
from maas.publish.messages import Emit, Finding, Job
from maas.publish.tf_lower import lower_graph
from maas.publish.tf_prove import UNSTEADY, Native, Original, is_steady, prove
from maas.publish.tf_samples import collect_samples
from maas.publish.versions import read_with
from maas.runtimes.keras import KerasRuntime
from maas.runtimes.keras_model import CODE, ENTRIES, TRUSTED_ENTRY, function_of, load_model
from maas.runtimes.tf_graph import GraphServable
from maas.runtimes.tf_process import DISTRIBUTIONS, open_keras


def examine_keras(job: Job, emit: Emit) -> Finding:
    """Takes a `.keras` or `.h5` file to what will be served: ONNX where that is proven.

    Raises:
        MaasError: one sentence that says what is wrong with it.
    """
    emit("scan", "looking through the file before anything opens it", 0.1)
    open_keras(job.threads)
    scan = scan_keras(job)

    emit("inspect", "loading it with Keras", 0.2)
    entry = TRUSTED_ENTRY if job.trust and job.format == "keras" else ENTRIES[job.format]
    file = Path(job.artifact) / entry
    shutil.copyfile(job.source, file)
    model = _load(file, scan, job)
    function = function_of(model)
    signature = Signature(DEFAULT_SIGNATURE, function.inputs, function.outputs, batched=False)
    servable = GraphServable({DEFAULT_SIGNATURE: signature}, {DEFAULT_SIGNATURE: function.run})
    samples = collect_samples(
        lambda rows: servable.infer(DEFAULT_SIGNATURE, rows),
        function.inputs,
        hints_of(model, function.inputs),
        job,
    )
    unlowerable = "" if function.traced else f"it cannot be traced as a graph: {function.reason}"
    steady = is_steady(servable, DEFAULT_SIGNATURE, samples)
    original = Original(
        signature,
        partial(lower_graph, function.run),
        unlowerable or ("" if steady else UNSTEADY),
        samples,
    )

    def store(native: bool) -> None:
        if not native:
            file.unlink()
        elif job.code:
            shutil.copytree(job.code, Path(job.artifact) / CODE)

    proved = prove(
        [original], Native(KerasRuntime(), "Keras", job.format, entry, store), servable, job, emit
    )
    return Finding(
        engine=proved.engine,
        format=proved.format,
        entry=proved.entry,
        signatures=proved.signatures,
        lowered=proved.lowered,
        reason=proved.reason,
        written_with=scan.written_with,
        read_with=read_with("keras", *DISTRIBUTIONS, "tf2onnx", "onnxruntime"),
        parity=proved.parity,
        batch_note=proved.batch_note,
        timings=proved.timings,
        warnings=(*_warnings(scan), *proved.warnings),
    )


def _load(file: Path, scan: KerasScan, job: Job) -> Any:
    """Loads the model, with the cure where the reason is known.

    Raises:
        MaasError: INVALID_ARGUMENT.
    """
    try:
        return load_model(file, Path(job.code) if job.code else None, job.threads)
    except MaasError as error:
        version = scan.written_with["keras"]
        if version.startswith("2."):
            raise invalid(
                f"the model was saved by Keras {version}, and Keras 3 cannot read it "
                f"({error.message}); {KERAS_2_CURE}"
            ) from error
        if scan.custom and not job.code:
            names = ", ".join(repr(name) for name in scan.custom[:4])
            raise invalid(
                f"the model needs {names}, which Keras does not have; add --code with the file "
                "that defines it"
            ) from error
        raise


def _warnings(scan: KerasScan) -> list[str]:
    found = []
    version = scan.written_with["keras"]
    if version.startswith("2."):
        here = read_with("keras").get("keras", "3")
        found.append(f"written with Keras {version}, read with {here}: compare its answers")
    return found
