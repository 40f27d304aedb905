"""What the runtimes of boosted trees share: a loaded booster, seen as tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import numpy as np

from maas.core.errors import ErrorKind, MaasError, invalid
from maas.core.ports import Artifact, Device, Resources
from maas.core.signature import Signature
from maas.core.tensor import Tensors
from maas.runtimes.wording import one_sentence

MIB = 1 << 20


class BoosterModel(Protocol):
    """A booster that has been read from its file.

    Attributes:
        library: as people write it: `XGBoost`.
        booster: the library's own object.
        width: columns of its rows.
        names: what they were called when it was trained; empty where the file does not say.
        categorical: positions of the columns that hold codes of categories.
        classes: how many it tells apart; 0 for numbers and ranks.
    """

    library: str
    booster: object
    width: int
    names: tuple[str, ...]
    categorical: tuple[int, ...]
    classes: int

    def scores(self, rows: np.ndarray) -> np.ndarray:
        """Answers rows.

        Args:
            rows: float [n, width], NaN where a value is missing.

        Returns:
            Probabilities [n, classes], or predictions [n] or [n, targets].
        """
        ...


def missing_extra(library: str, extra: str) -> MaasError:
    """The error where the library of an extra is not installed."""
    return MaasError(
        ErrorKind.FAILED_PRECONDITION,
        f"{library} is not installed here; install it with: pip install 'maas-server[{extra}]'",
    )


def booster_resources(artifact: Artifact) -> Resources:
    """Eight times the files, which are text or close to it, and 256 MiB for the libraries."""
    files = sum(f.stat().st_size for f in Path(artifact.path).rglob("*") if f.is_file())
    return Resources(memory_bytes=8 * files + 256 * MIB)


def load_booster(
    artifact: Artifact, device: Device, open_file: Callable[[Path, int], BoosterModel]
) -> BoosterServable:
    """Opens an artifact with its library.

    Args:
        artifact: holds the booster's file.
        device: how many threads one call may use.
        open_file: takes the file and the threads.

    Raises:
        MaasError: FAILED_PRECONDITION where it cannot be loaded.
    """
    try:
        return BoosterServable(open_file(artifact.file, device.threads), artifact.signatures)
    except MaasError as error:
        raise MaasError(ErrorKind.FAILED_PRECONDITION, error.message) from error


class BoosterServable:
    """A loaded booster under its signature."""

    def __init__(self, model: BoosterModel, signatures: Mapping[str, Signature]):
        self._model: BoosterModel | None = model
        self._signatures = dict(signatures)

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """Its signatures by name."""
        return self._signatures

    def infer(self, signature: str, inputs: Tensors) -> Tensors:
        """Runs one call or one batch: `x` [n, width].

        Raises:
            MaasError: INVALID_ARGUMENT where the library refuses the values (infinity, for
                XGBoost), RESOURCE_EXHAUSTED where memory ran out.
        """
        assert self._model is not None
        try:
            scores = self._model.scores(inputs["x"])
        except MemoryError as error:
            raise MaasError(
                ErrorKind.RESOURCE_EXHAUSTED, "memory ran out while the model was running"
            ) from error
        except (ValueError, TypeError, LookupError, ArithmeticError) as error:
            raise invalid(f"the model refused these values: {one_sentence(error)}") from error
        answers = {"prediction": scores}
        if self._model.classes:
            answers = {"label": labels_of(scores), "probabilities": scores}
        outputs = self._signatures[signature].outputs
        return {s.name: answers[s.name].astype(s.dtype.numpy, copy=False) for s in outputs}

    def close(self) -> None:
        """Lets go of the booster."""
        self._model = None


def labels_of(probabilities: np.ndarray) -> np.ndarray:
    """The most probable class of each row: int64 [n]; of two alike, the first."""
    return np.asarray(np.argmax(probabilities, axis=1), np.int64)
