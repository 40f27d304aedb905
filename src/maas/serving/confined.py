"""A model that can carry code, as its host has it: a servable whose work is done in a worker.

```
Batcher ─ infer ─▶ ConfinedServable ─ Call ─▶ worker, in the sandbox for life
                         └─ checks the Answer against the signature
```
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from maas.core.errors import ErrorKind, MaasError
from maas.core.ports import Artifact, Device
from maas.core.signature import Signature, describe_shape, describe_spec
from maas.core.tensor import Tensors, TensorSpec
from maas.runtimes.wording import one_sentence
from maas.serving.frames import TensorMeta, pack_tensors, unpack_tensors
from maas.serving.workerframes import Answer, Call, FrameSocket, Load, Loaded, Message, Refusal
from maas.serving.workerprocess import Bounds, WorkerProcess

log = logging.getLogger("maas.loader")

MOST_ANSWER = 1 << 30
"""Tensor bytes of the longest answer that is taken from a worker."""
ENDING_S = 1.0
"""How long a worker may take to end once its connection has."""
SAID = 500
"""Characters kept of a worker's own words."""
KINDS = frozenset(
    {ErrorKind.INVALID_ARGUMENT, ErrorKind.FAILED_PRECONDITION, ErrorKind.RESOURCE_EXHAUSTED}
)
"""What a model may say of a call; anything else it says is INTERNAL."""


class ConfinedServable:
    """Loads a version in a worker and answers through it.

    Args:
        runtime: the name of the runtime that loads it there.
        artifact: what to load; the worker may read its folder.
        device: threads one call may use.
        bounds: past which the worker is killed.
        scratch: a folder for the worker's temporary one.
        model: `name:version`, for the log.

    Raises:
        MaasError: the worker's own reason, or FAILED_PRECONDITION where it ended while loading.
    """

    def __init__(
        self,
        runtime: str,
        artifact: Artifact,
        device: Device,
        bounds: Bounds,
        scratch: Path,
        model: str,
    ):
        self._signatures = artifact.signatures
        self._outputs = {
            name: {spec.name: spec for spec in signature.outputs}
            for name, signature in artifact.signatures.items()
        }
        self._worker = WorkerProcess((artifact.path,), scratch, device.threads, bounds, model)
        self._frames = FrameSocket(self._worker.socket, MOST_ANSWER)
        try:
            message, _ = self._ask(Load(runtime, artifact, device))
            if isinstance(message, Refusal):
                raise _error(message)
            if not isinstance(message, Loaded):
                raise self._nonsense("something else than that it is loaded")
        except BaseException:
            self.close()
            raise
        for sentence in message.sandbox[:10]:
            log.info("in the sandbox, %s", sentence[:SAID], extra={"model": model})

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """Its signatures by name."""
        return self._signatures

    @property
    def memory_bytes(self) -> int:
        """Resident memory of the worker."""
        return self._worker.memory_bytes

    @property
    def pid(self) -> int:
        """The worker's."""
        return self._worker.pid

    def on_death(self, lost: Callable[[str], None]) -> None:
        """Has a function called with the reason when the worker ends by itself."""
        self._worker.on_death(lost)

    def infer(self, signature: str, inputs: Tensors) -> Tensors:
        """Runs one call or one batch.

        Raises:
            MaasError: the model's own; INTERNAL where it answers something else than its
                signature says; UNAVAILABLE where its process ended.
        """
        metas, chunks = pack_tensors(inputs)
        message, data = self._ask(Call(signature, metas), chunks)
        if isinstance(message, Refusal):
            raise _error(message)
        if not isinstance(message, Answer):
            raise self._nonsense("something else than an answer")
        rows = metas[0].shape[0] if self._signatures[signature].batched else None
        check_answer(self._outputs[signature], message.tensors, rows)
        try:
            return unpack_tensors(message.tensors, data)
        except (ValueError, OverflowError) as error:
            raise self._nonsense(one_sentence(error)) from error

    def close(self) -> None:
        """Ends the worker, which gives everything back."""
        self._frames.close()
        self._worker.close()

    def _ask(
        self, message: Message, chunks: list[bytes | memoryview] | None = None
    ) -> tuple[Message, bytearray]:
        try:
            self._frames.send(message, chunks or ())
            received = self._frames.receive()
        except OSError:
            received = None
        except ValueError as error:
            raise self._nonsense(one_sentence(error)) from error
        if received is None:
            if not self._worker.ended.wait(ENDING_S):
                self._worker.kill("it closed its connection")
                self._worker.ended.wait()
            raise MaasError(
                ErrorKind.UNAVAILABLE, f"the model's process ended ({self._worker.reason})"
            )
        return received

    def _nonsense(self, what: str) -> MaasError:
        """Ends a worker that does not keep to the frames: after one lie none of it is believed."""
        self._worker.kill(f"its process said what is no answer ({what})")
        self._worker.ended.wait()
        return MaasError(
            ErrorKind.UNAVAILABLE, f"the model's process ended ({self._worker.reason})"
        )


def check_answer(
    outputs: Mapping[str, TensorSpec], metas: tuple[TensorMeta, ...], rows: int | None
) -> None:
    """Checks what a worker says it answers against the signature.

    Args:
        outputs: the signature's outputs by name.
        metas: the tensors of the answer.
        rows: of a batched call; None where there is no batch axis.

    Raises:
        MaasError: INTERNAL, naming the output that is missing, unknown, or of another type, shape
            or number of rows.
    """
    if {meta.name for meta in metas} != outputs.keys() or len(metas) != len(outputs):
        raise _wrong(
            f"{sorted(meta.name for meta in metas)} where its signature has {sorted(outputs)}"
        )
    for meta in metas:
        spec = outputs[meta.name]
        fits = len(meta.shape) == len(spec.shape) and all(
            want is None or want == got for want, got in zip(spec.shape, meta.shape, strict=True)
        )
        if meta.dtype is not spec.dtype or not fits:
            raise _wrong(
                f"{meta.name!r} as {meta.dtype} {describe_shape(meta.shape)} where its signature "
                f"has {describe_spec(spec)}"
            )
        if rows is not None and meta.shape[0] != rows:
            raise _wrong(f"{meta.name!r} with {meta.shape[0]} rows where the call has {rows}")


def _wrong(what: str) -> MaasError:
    return MaasError(ErrorKind.INTERNAL, f"the model answered {one_sentence(what, SAID)}")


def _error(refusal: Refusal) -> MaasError:
    kind = refusal.kind if refusal.kind in KINDS else ErrorKind.INTERNAL
    return MaasError(ErrorKind(kind), one_sentence(refusal.message, SAID))
