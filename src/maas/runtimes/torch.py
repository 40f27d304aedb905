"""PyTorch itself: for exported programs and TorchScript that have no proven ONNX form."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from maas.core.errors import ErrorKind, MaasError
from maas.core.ports import Artifact, Device, Resources
from maas.runtimes.torch_model import TorchServable, open_pt2, open_torchscript, under_names

MIB = 1 << 20
ENTRIES = {"pt2": "model.pt2", "torchscript": "model.pt"}
"""Format → its file in the artifact folder."""


class TorchRuntime:
    """Serves `pt2` and `torchscript` artifacts with PyTorch, in the sandbox for life."""

    name = "torch"
    platform = "pytorch_libtorch"
    formats = frozenset(ENTRIES)
    host: Literal["shared", "dedicated"] = "dedicated"
    confined = True

    def estimate(self, artifact: Artifact) -> Resources:
        """Twice the files, and 768 MiB for an interpreter with PyTorch."""
        files = sum(f.stat().st_size for f in Path(artifact.path).rglob("*") if f.is_file())
        return Resources(memory_bytes=2 * files + 768 * MIB)

    def load(self, artifact: Artifact, device: Device) -> TorchServable:
        """Opens the program.

        Raises:
            MaasError: FAILED_PRECONDITION where it cannot be loaded, or without PyTorch.
        """
        opened = open_pt2 if artifact.format == "pt2" else open_torchscript
        try:
            program = opened(artifact.file, device.threads)
        except MaasError as error:
            raise MaasError(ErrorKind.FAILED_PRECONDITION, error.message) from error
        run = program.run
        if artifact.format == "torchscript":
            (signature,) = artifact.signatures.values()
            run = under_names(run, tuple(spec.name for spec in signature.outputs))
        return TorchServable(artifact.signatures, run)
