"""Small models that are real: NumPy, run by the batcher, the loader and the host socket.

As a program it is a host: `python models.py SOCKET NAME:VERSION…` holds a `Model` for each.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np

from maas.core.errors import ErrorKind, MaasError, invalid
from maas.core.ports import Artifact, Device, Resources
from maas.core.signature import DEFAULT_SIGNATURE, Signature
from maas.core.tensor import DType, Tensors, TensorSpec
from maas.serving.batcher import Batcher
from maas.serving.hostsocket import HostSocket
from maas.telemetry.metrics import Metrics

BATCHED = Signature(
    DEFAULT_SIGNATURE,
    (TensorSpec("x", DType.FP32, (None, None)),),
    (TensorSpec("y", DType.FP32, (None, None)),),
    batched=True,
)
"""Twice the input, row by row."""
WHOLE = Signature(
    "whole",
    (TensorSpec("x", DType.FP32, (None, None)),),
    (TensorSpec("total", DType.FP32, ()),),
    batched=False,
)
"""The sum of everything: calls cannot share a run."""
SHOUT = Signature(
    "shout",
    (TensorSpec("text", DType.BYTES, (None,)),),
    (TensorSpec("loud", DType.BYTES, (None,)),),
    batched=True,
)
"""Texts in capitals."""
PAIR = Signature(
    "pair",
    (TensorSpec("a", DType.FP32, (None, None)), TensorSpec("b", DType.FP32, (None, None))),
    (TensorSpec("sum_a", DType.FP32, (None,)), TensorSpec("sum_b", DType.FP32, (None,))),
    batched=True,
)
"""The sum of each row of either input."""
SIGNATURES = {one.name: one for one in (BATCHED, WHOLE, SHOUT, PAIR)}

REFUSED = -1.0
"""A value that the model refuses, as one of its own refusals."""
POISON = -2.0
"""A value that makes it raise what nobody expects."""
DEADLY = -3.0
"""A value that kills its process."""
LYING = -4.0
"""A value for which it answers one row too many."""
STRANGE = -5.0
"""A value for which it answers numbers that no protocol carries."""
VAST = -6.0
"""A value for which it answers nothing, in more places than could be written out."""
HOLD = 99.0
"""A value at which it waits until it is let go."""


class Model:
    """Counts what it runs. `executions` has (signature, the first column of its first input)."""

    def __init__(self, signatures: Mapping[str, Signature] = SIGNATURES):
        self.signatures = signatures
        self.executions: list[tuple[str, list[object]]] = []
        self.threads: set[int] = set()
        self.closed = 0
        self.entered = threading.Event()
        self.go = threading.Event()

    def infer(self, signature: str, inputs: Tensors) -> Tensors:
        first = next(iter(inputs.values()))
        values = first[:, 0].tolist() if first.ndim == 2 and first.size else first.tolist()
        self.executions.append((signature, values))
        self.threads.add(threading.get_ident())
        if HOLD in values:
            self.entered.set()
            assert self.go.wait(30)
        if REFUSED in values:
            raise invalid("x is -1; expected anything else")
        if POISON in values:
            raise ZeroDivisionError("/srv/secret/model.py")
        if DEADLY in values:
            os.kill(os.getpid(), signal.SIGKILL)
        if VAST in values:
            return {"y": np.empty((len(first), 1 << 40, 0), np.float32)}
        return self._compute(signature, inputs, values)

    def _compute(self, signature: str, inputs: Tensors, values: list[object]) -> Tensors:
        if signature == "shout":
            found = np.empty(len(inputs["text"]), object)
            found[:] = [text.upper() for text in inputs["text"]]
            return {"loud": found}
        if signature == "whole":
            return {"total": inputs["x"].sum()[...]}
        if signature == "pair":
            return {"sum_a": inputs["a"].sum(axis=1), "sum_b": inputs["b"].sum(axis=1)}
        doubled = 2 * inputs["x"]
        if LYING in values:
            doubled = np.concatenate([doubled, doubled[:1]])
        return {"y": doubled.astype("c8") if STRANGE in values else doubled}

    def close(self) -> None:
        self.closed += 1

    @property
    def runs(self) -> list[list[object]]:
        """The first columns of what was run."""
        return [values for _, values in self.executions]


class NumpyRuntime:
    """Loads `Model`s; the file's text says how that goes.

    `ok`, `refused …`, `crash`, `mute` (answers nothing), `broken` (fails on any values), `picky`
    (refuses made-up values), `misnamed` (answers under other names than its signature's),
    `meeting` (a call of 99 is answered when another one is there).
    """

    name = "numpy"
    platform = "numpy"
    formats = frozenset({"text"})
    host: Literal["shared", "dedicated"] = "shared"
    confined = False

    def __init__(self) -> None:
        self.loaded: list[Model] = []
        self.devices: list[Device] = []

    def estimate(self, artifact: Artifact) -> Resources:
        return Resources(1 << 20)

    def load(self, artifact: Artifact, device: Device) -> Model:
        text = artifact.file.read_text(encoding="utf-8")
        if text.startswith("refused"):
            raise MaasError(ErrorKind.FAILED_PRECONDITION, text.partition(" ")[2])
        if text == "crash":
            raise RuntimeError("the file is torn")
        made = {"broken": Broken, "picky": Picky, "misnamed": Misnamed, "meeting": Meeting}.get(
            text, Model
        )
        model = made(artifact.signatures)
        self.loaded.append(model)
        self.devices.append(device)
        return model


class Broken(Model):
    def infer(self, signature: str, inputs: Tensors) -> Tensors:
        raise OSError("a library is missing")


class Picky(Model):
    def infer(self, signature: str, inputs: Tensors) -> Tensors:
        self.executions.append((signature, []))
        raise invalid("these values are not in the vocabulary")


class Meeting(Model):
    concurrency = 2

    def __init__(self, signatures: Mapping[str, Signature]):
        super().__init__(signatures)
        self._both = threading.Barrier(2)

    def infer(self, signature: str, inputs: Tensors) -> Tensors:
        if signature == WHOLE.name and HOLD in inputs["x"]:
            self._both.wait(5)
        return self._compute(signature, inputs, [])


class Misnamed(Model):
    def _compute(self, signature: str, inputs: Tensors, values: list[object]) -> Tensors:
        return {"z": inputs["x"]}


def batcher(
    model: Model, name: str = "m", version: int = 1, batch_rows: int = 256, **further: object
) -> Batcher:
    """Starts a batcher for a model's batched signatures."""
    batched = [one.name for one in model.signatures.values() if one.batched]
    return Batcher(name, version, model, batched, batch_rows, Metrics(), **further)


def main() -> None:
    batchers = {}
    for servable in sys.argv[2:]:
        name, _, version = servable.rpartition(":")
        batchers[name, int(version)] = batcher(Model(), name, int(version))
    HostSocket(Path(sys.argv[1]), lambda name, version: batchers.get((name, version)), 1 << 28)
    print("ready", flush=True)
    signal.pause()


if __name__ == "__main__":
    main()
