"""scikit-learn from a skops file: for what cannot be lowered, in a host of its own."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Mapping
from typing import Any, Literal

from maas.core.errors import ErrorKind, MaasError, invalid
from maas.core.ports import Artifact, Device, Resources
from maas.core.signature import Signature
from maas.core.tensor import Tensors
from maas.runtimes.estimator import (
    Layout,
    answer,
    as_tensor,
    by_position,
    layout_of,
    rows_for,
)
from maas.runtimes.skops_types import load_skops
from maas.runtimes.wording import one_sentence

MIB = 1 << 20


class SklearnRuntime:
    """Serves `skops` artifacts with scikit-learn itself."""

    name = "sklearn"
    platform = "sklearn"
    formats = frozenset({"skops"})
    host: Literal["shared", "dedicated"] = "dedicated"
    confined = False

    def estimate(self, artifact: Artifact) -> Resources:
        """Four times the unpacked file, and 256 MiB for an interpreter with scikit-learn."""
        with zipfile.ZipFile(artifact.file) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
        return Resources(memory_bytes=4 * unpacked + 256 * MIB)

    def load(self, artifact: Artifact, device: Device) -> SklearnServable:
        """Opens the file through skops and its reviewed types; there is no other loader.

        Raises:
            MaasError: FAILED_PRECONDITION where it cannot be loaded, or without scikit-learn.
        """
        try:
            estimator = load_skops(artifact.file)
        except MaasError as error:
            raise MaasError(ErrorKind.FAILED_PRECONDITION, error.message) from error
        return SklearnServable(estimator, artifact.signatures, device.threads)


class SklearnServable:
    """A loaded estimator.

    Args:
        estimator: fitted.
        signatures: what publishing found.
        threads: of one call.
        layout: how it wants its rows; None where it says so itself.
    """

    def __init__(
        self,
        estimator: Any,
        signatures: Mapping[str, Signature],
        threads: int,
        layout: Layout | None = None,
    ):
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # has no stubs

        self._signatures = dict(signatures)
        self._layout = layout or layout_of(estimator)
        self._estimator = estimator if self._layout.kind == "frame" else by_position(estimator)
        # BLAS and OpenMP pools belong to the process, which is this model's own.
        self._limits = threadpool_limits(limits=threads)

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """Its signatures by name."""
        return self._signatures

    def infer(self, signature: str, inputs: Tensors) -> Tensors:
        """Runs one call or one batch.

        Raises:
            MaasError: INVALID_ARGUMENT where the estimator refuses the values (NaN, an unknown
                category), RESOURCE_EXHAUSTED where memory ran out, INTERNAL otherwise.
        """
        specs = self._signatures[signature].outputs
        rows = rows_for(self._layout, inputs)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # such as: fitted with column names
                answers = answer(self._estimator, tuple(spec.name for spec in specs), rows)
        except (ValueError, TypeError, LookupError, ArithmeticError) as error:
            raise invalid(f"the model refused these values: {one_sentence(error)}") from error
        except MemoryError as error:
            raise MaasError(
                ErrorKind.RESOURCE_EXHAUSTED, "memory ran out while the model was running"
            ) from error
        except Exception as error:
            raise MaasError(
                ErrorKind.INTERNAL, f"the model failed: {one_sentence(error)}"
            ) from error
        return {spec.name: as_tensor(answers[spec.name], spec) for spec in specs}

    def close(self) -> None:
        """Gives the thread pools back; the process's end gives back the rest."""
        self._limits.restore_original_limits()
        del self._estimator
