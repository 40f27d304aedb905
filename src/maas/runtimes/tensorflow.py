"""TensorFlow itself: for SavedModels that have no proven ONNX form."""

from __future__ import annotations

from typing import Literal

from maas.core.errors import ErrorKind, MaasError
from maas.core.ports import Artifact, Device, Resources
from maas.runtimes.saved_model import load_saved_model, signatures_of
from maas.runtimes.tf_graph import GraphServable

MIB = 1 << 20


class TensorFlowRuntime:
    """Serves `savedmodel` artifacts with TensorFlow, in the sandbox for life."""

    name = "tensorflow"
    platform = "tensorflow_savedmodel"
    formats = frozenset({"savedmodel"})
    host: Literal["shared", "dedicated"] = "dedicated"
    confined = True

    def estimate(self, artifact: Artifact) -> Resources:
        """Twice the files, and 1 GiB for an interpreter with TensorFlow."""
        files = sum(f.stat().st_size for f in artifact.file.parent.rglob("*") if f.is_file())
        return Resources(memory_bytes=2 * files + 1024 * MIB)

    def load(self, artifact: Artifact, device: Device) -> GraphServable:
        """Loads the model and finds the functions of its signatures.

        Raises:
            MaasError: FAILED_PRECONDITION where it cannot be loaded, or without TensorFlow.
        """
        if not artifact.file.is_file():
            raise MaasError(ErrorKind.FAILED_PRECONDITION, "the model's file is missing")
        try:
            runs = signatures_of(load_saved_model(artifact.file.parent, device.threads)).runs
        except MaasError as error:
            raise MaasError(ErrorKind.FAILED_PRECONDITION, error.message) from error
        missing = [name for name in artifact.signatures if name not in runs]
        if missing:
            raise MaasError(
                ErrorKind.FAILED_PRECONDITION, f"the model has no signature {missing[0]!r}"
            )
        return GraphServable(artifact.signatures, runs)
