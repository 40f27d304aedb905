"""Examines a TensorFlow SavedModel: scan, signatures, lowering, proof. Runs in the child."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import msgspec

from maas.core.errors import MaasError
from maas.core.signature import Signature, main_signature
from maas.core.tensor import DType
from maas.publish.detect_folder import version_folders
from maas.publish.messages import Emit, Finding, Job
from maas.publish.savedmodel_scan import SavedModelScan, scan_savedmodel
from maas.publish.tf_examples import draw_examples
from maas.publish.tf_lower import lower_graph
from maas.publish.tf_prove import UNSTEADY, Native, Original, is_steady, prove
from maas.publish.tf_samples import Hint, collect_samples
from maas.publish.versions import read_with
from maas.runtimes.saved_model import ENTRY, SavedSignatures, load_saved_model, signatures_of
from maas.runtimes.tensorflow import TensorFlowRuntime
from maas.runtimes.tf_graph import GraphServable
from maas.runtimes.tf_process import DISTRIBUTIONS, open_tensorflow


def examine_savedmodel(job: Job, emit: Emit) -> Finding:
    """Takes a SavedModel folder to what will be served: ONNX where that is proven.

    Raises:
        MaasError: one sentence that says what is wrong with it.
    """
    emit("scan", "looking through the folder before anything opens it", 0.1)
    open_tensorflow(job.threads)
    folder = (Path(job.source) / job.entry).parent if job.entry else Path(job.source)
    scan = scan_savedmodel(folder, job.trust)

    emit("inspect", "loading it with TensorFlow", 0.2)
    saved = _with_methods(signatures_of(load_saved_model(folder, job.threads)), scan)
    servable = GraphServable(saved.signatures, saved.runs)
    main = main_signature(saved.signatures)
    originals = [
        _original(servable, saved, each, job, _hints(each, scan), each is main)
        for each in saved.signatures.values()
    ]

    def store(native: bool) -> None:
        if native:
            shutil.copytree(folder, job.artifact, symlinks=True, dirs_exist_ok=True)

    native = Native(TensorFlowRuntime(), "TensorFlow", "savedmodel", ENTRY, store)
    proved = prove(originals, native, servable, job, emit)
    return Finding(
        engine=proved.engine,
        format=proved.format,
        entry=proved.entry,
        signatures=proved.signatures,
        lowered=proved.lowered,
        reason=proved.reason,
        written_with=scan.written_with,
        read_with=read_with(*DISTRIBUTIONS, "tf2onnx", "onnxruntime"),
        parity=proved.parity,
        batch_note=proved.batch_note,
        timings=proved.timings,
        warnings=(*_which(job), *_warnings(scan), *saved.left_out, *proved.warnings),
    )


def _which(job: Job) -> tuple[str, ...]:
    """Which version of a base path this is; nothing of a folder that is one SavedModel."""
    number, _, inside = job.entry.rpartition("/")
    others = [other for other in version_folders(Path(job.source)) if other != number]
    if not inside or number not in version_folders(Path(job.source)) or not others:
        return ()
    return (
        f"this is version {number} of the base path, the highest; {', '.join(others[:10])} "
        f"{'is' if len(others) == 1 else 'are'} left out (maas serve --model-base-path takes them "
        "all)",
    )


def _with_methods(saved: SavedSignatures, scan: SavedModelScan) -> SavedSignatures:
    """TensorFlow's loader drops what a signature is for; the file says it.

    One that takes anything but a column of strings cannot take examples, whatever the file says.
    """
    signatures = {
        name: msgspec.structs.replace(signature, method=scan.methods.get(name, "predict"))
        if [(spec.dtype, len(spec.shape)) for spec in signature.inputs] == [(DType.BYTES, 1)]
        else signature
        for name, signature in saved.signatures.items()
    }
    return msgspec.structs.replace(saved, signatures=signatures)


def _hints(signature: Signature, scan: SavedModelScan) -> dict[str, Hint]:
    """Examples to draw from, where a signature takes those."""
    if signature.method == "predict" or not scan.features:
        return {}
    return {signature.inputs[0].name: Hint("examples", examples=draw_examples(scan.features))}


def _original(
    servable: GraphServable,
    saved: SavedSignatures,
    signature: Signature,
    job: Job,
    hints: dict[str, Hint],
    main: bool,
) -> Original:
    """A signature with the answers it gives.

    Args:
        servable: the model, loaded.
        saved: what it offers.
        signature: one of those.
        job: its sample, which is for the main signature.
        hints: what is known of its inputs' values.
        main: whether this is the one.

    Raises:
        MaasError: INVALID_ARGUMENT where the main signature answers nothing.
    """
    name = signature.name
    lower = partial(lower_graph, saved.runs[name])
    try:
        samples = collect_samples(
            lambda rows: servable.infer(name, rows), signature.inputs, hints, job, given=main
        )
    except MaasError as error:
        if main:
            raise
        return Original(signature, lower, "", None, error.message)
    steady = is_steady(servable, name, samples)
    return Original(signature, lower, "" if steady else UNSTEADY, samples)


def _warnings(scan: SavedModelScan) -> list[str]:
    if not scan.reaching:
        return []
    return [f"the model uses operators that reach out of it: {', '.join(scan.reaching)}"]
