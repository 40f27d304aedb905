"""The worker's side: load what the host orders, answer its calls.

```
Load ─▶ the runtime's own servable ─▶ Call … Answer, until the host closes its end
```
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from pathlib import Path

from maas.core.errors import ErrorKind, MaasError
from maas.core.ports import Runtime, Servable, load_servable
from maas.runtimes.wording import one_sentence
from maas.sandbox import denial
from maas.serving.frames import MAX_TENSORS, pack_tensors, unpack_tensors
from maas.serving.workerframes import Answer, Call, FrameSocket, Load, Loaded, Refusal

CODE = "code"
"""The folder of an artifact with the modules that were published with `--code`."""


def serve(descriptor: int, sandbox: tuple[str, ...], runtime_for: Callable[[str], Runtime]) -> None:
    """Loads one model and answers for it; returns when the host has closed its end.

    Args:
        descriptor: of the connection to the host.
        sandbox: what binds this process, for the host to log.
        runtime_for: gives a runtime by name.
    """
    frames = FrameSocket(socket.socket(fileno=descriptor), MAX_TENSORS)
    received = frames.receive()
    if received is None:
        return
    order = received[0]
    assert isinstance(order, Load)
    try:
        servable = _load(order, runtime_for)
    except Exception as error:  # noqa: BLE001 - the model may raise anything; the host is told
        what = "the model could not be loaded"
        frames.send(_refusal(what, ErrorKind.FAILED_PRECONDITION, error))
        return
    frames.send(Loaded(sandbox))
    while (received := frames.receive()) is not None:
        call, data = received
        assert isinstance(call, Call)
        try:
            inputs = unpack_tensors(call.tensors, data)
            metas, chunks = pack_tensors(servable.infer(call.signature, inputs))
        except Exception as error:  # noqa: BLE001 - as above
            frames.send(_refusal("the model failed on these values", ErrorKind.INTERNAL, error))
        else:
            frames.send(Answer(metas), chunks)
    servable.close()


def _load(order: Load, runtime_for: Callable[[str], Runtime]) -> Servable:
    code = Path(order.artifact.path) / CODE
    if code.is_dir():
        sys.path.insert(0, str(code))
    return load_servable(runtime_for(order.runtime), order.artifact, order.device)


def _refusal(what: str, kind: ErrorKind, error: Exception) -> Refusal:
    """An exception in one sentence; in full it goes to stderr, and so to the model's log."""
    if isinstance(error, MaasError):
        return Refusal(error.kind, error.message)
    sys.excepthook(type(error), error, error.__traceback__)
    if isinstance(error, MemoryError):
        return Refusal(ErrorKind.RESOURCE_EXHAUSTED, "memory ran out in the model's process")
    said = f"{type(error).__name__}: {one_sentence(error, 160)}"
    why = denial(error)
    return Refusal(kind, f"{what} with {said}; {why or 'its log has the details'}")
