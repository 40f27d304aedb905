"""Keras itself: for `.keras` and `.h5` models that have no proven ONNX form."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from maas.core.errors import ErrorKind, MaasError
from maas.core.ports import Artifact, Device, Resources
from maas.core.signature import DEFAULT_SIGNATURE
from maas.runtimes.keras_model import CODE, function_of, load_model
from maas.runtimes.tf_graph import GraphServable

MIB = 1 << 20


class KerasRuntime:
    """Serves `keras` and `keras-h5` artifacts with Keras on TensorFlow, in the sandbox for life."""

    name = "keras"
    platform = "keras"
    formats = frozenset({"keras", "keras-h5"})
    host: Literal["shared", "dedicated"] = "dedicated"
    confined = True

    def estimate(self, artifact: Artifact) -> Resources:
        """Five times the file, and 1 GiB for an interpreter with TensorFlow.

        While loading, weights exist as file contents, as fresh variables and as their values.
        """
        return Resources(memory_bytes=5 * artifact.file.stat().st_size + 1024 * MIB)

    def load(self, artifact: Artifact, device: Device) -> GraphServable:
        """Loads the model and traces it.

        Raises:
            MaasError: FAILED_PRECONDITION where it cannot be loaded, or without TensorFlow.
        """
        if not artifact.file.is_file():
            raise MaasError(ErrorKind.FAILED_PRECONDITION, "the model's file is missing")
        try:
            model = load_model(artifact.file, Path(artifact.path) / CODE, device.threads)
            function = function_of(model)
        except MaasError as error:
            raise MaasError(ErrorKind.FAILED_PRECONDITION, error.message) from error
        return GraphServable(artifact.signatures, {DEFAULT_SIGNATURE: function.run})
