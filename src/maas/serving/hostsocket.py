"""The host's side of the frames: a Unix socket, one reading thread per ingress.

```
ingress ─ frame ─▶ _Connection ─ Job ─▶ Batcher ─ the job's answer ─▶ frame, or segment and frame
                        └─ request ─▶ Generative ─ a step's deltas ─▶ frame
```
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from maas.core.errors import ErrorKind, MaasError
from maas.core.generation import Delta
from maas.core.ports import Generative
from maas.serving.batcher import Batcher, Job
from maas.serving.frames import (
    MAX_HEADER,
    PREFIX,
    CallError,
    CancelFrame,
    DeltasFrame,
    GenerateFrame,
    Header,
    IdleFrame,
    InferFrame,
    ReleaseFrame,
    ReplyFrame,
    UnseenFrame,
    decode_header,
    encode_frame,
    unpack_tensors,
)
from maas.serving.segments import Budget, Mappings, SegmentPool

log = logging.getLogger("maas.host")

Lookup = Callable[[str, int], Batcher | Generative | None]


class HostSocket:
    """Accepts ingresses and hands their frames to the batchers.

    Args:
        path: the socket's path, at most 107 bytes; made 0600.
        lookup: the batcher of a version, or a language model; None where it is not loaded.
        segment_bytes: shared memory that may be held for outputs.
    """

    def __init__(self, path: Path, lookup: Lookup, segment_bytes: int):
        self._lookup = lookup
        self._budget = Budget(segment_bytes)
        path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(os.fspath(path))
        path.chmod(0o600)
        self._socket.listen(64)
        threading.Thread(target=self._accept, name="accept", daemon=True).start()

    def _accept(self) -> None:
        while True:
            connection, _ = self._socket.accept()
            served = _Connection(connection, self._lookup, SegmentPool(self._budget))
            threading.Thread(target=served.serve, name="frames", daemon=True).start()


class _Connection:
    """One ingress: frames in on this thread, answers out from the batchers' threads."""

    def __init__(self, connection: socket.socket, lookup: Lookup, pool: SegmentPool):
        self._socket = connection
        self._pool = pool
        self._mappings = Mappings(connection)
        self._lookup = lookup
        self._sending = threading.Lock()
        self._jobs: dict[int, Job] = {}
        self._generating: dict[int, Generative] = {}

    def serve(self) -> None:
        """Reads frames until the ingress goes away or says something that is not a frame."""
        reader = self._socket.makefile("rb", buffering=1 << 16)
        try:
            while len(prefix := reader.read(PREFIX.size)) == PREFIX.size:
                head_size, size = PREFIX.unpack(prefix)
                if head_size > MAX_HEADER:
                    raise ValueError(f"a frame's header of {head_size} bytes")
                header = decode_header(reader.read(head_size))
                data = reader.read(size)
                if len(data) < size:
                    return
                if isinstance(header, InferFrame):
                    self._infer(header, data)
                elif isinstance(header, GenerateFrame):
                    self._generate(header)
                else:
                    self._note(header)
        except (OSError, ValueError) as error:
            log.warning("an ingress's connection ended: %s", error)
        finally:
            for job in list(self._jobs.values()):
                job.cancelled.update(range(len(job.frame.rows)))
            for number, model in list(self._generating.items()):
                model.cancel(number, self._deliver)
            self._pool.abandon()
            self._socket.close()

    def _note(self, header: Header) -> None:
        """Takes what is no call."""
        if isinstance(header, CancelFrame):
            job = self._jobs.get(header.id)
            if job is not None:
                job.cancelled.add(header.index)
            model = self._generating.pop(header.id, None)
            if model is not None:
                model.cancel(header.id, self._deliver)
        elif isinstance(header, ReleaseFrame):
            if not header.seen:
                self._pool.close()
            self._pool.give(header.segment)
        elif isinstance(header, IdleFrame):
            self._mappings.drop(header.segments)
            self._pool.trim()
        gone = self._pool.gone()
        if gone:
            self._send(encode_frame(IdleFrame(gone)))

    def _infer(self, frame: InferFrame, data: bytes | memoryview) -> None:
        batcher = self._lookup(frame.name, frame.version)
        if not isinstance(batcher, Batcher):
            self._send(encode_frame(ReplyFrame(frame.id, False, (), ())))
            return
        if frame.place is not None:
            try:
                data = self._mappings.bytes_of(frame.place).data
            except (OSError, ValueError) as error:
                log.warning("large tensors travel through the socket: %s", error)
                self._send(encode_frame(UnseenFrame(frame.id)))
                return
        try:
            inputs = unpack_tensors(frame.tensors, data)
        except ValueError as error:
            errors = tuple(
                CallError(index, ErrorKind.INTERNAL, f"a broken frame: {error}")
                for index in range(len(frame.rows))
            )
            self._send(encode_frame(ReplyFrame(frame.id, True, errors, ())))
            return
        job = Job(frame, inputs, self._finish(frame.id), time.monotonic(), self._pool)
        self._jobs[frame.id] = job
        batcher.put(job)

    def _generate(self, frame: GenerateFrame) -> None:
        model = self._lookup(frame.name, frame.version)
        if model is not None and not isinstance(model, Batcher):
            self._generating[frame.id] = model
            try:
                model.start(frame.id, frame.request, self._deliver)
                return
            except MaasError:  # it takes no more: soon another will be here, or elsewhere
                del self._generating[frame.id]
        self._send(encode_frame(DeltasFrame((), (), (frame.id,))))

    def _deliver(self, items: Sequence[tuple[int, Delta | MaasError]]) -> None:
        """Sends what a step gave to calls of this ingress."""
        deltas: list[tuple[int, Delta]] = []
        errors: list[CallError] = []
        for number, item in items:
            if isinstance(item, MaasError):
                errors.append(CallError(number, item.kind, item.message, item.retry_after_s))
                self._generating.pop(number, None)
            else:
                deltas.append((number, item))
                if item.usage is not None:
                    self._generating.pop(number, None)
        self._send(encode_frame(DeltasFrame(tuple(deltas), tuple(errors))))

    def _finish(self, frame_id: int) -> Callable[[bytes], None]:
        def send(data: bytes) -> None:
            self._jobs.pop(frame_id, None)
            self._send(data)

        return send

    def _send(self, data: bytes) -> None:
        try:
            with self._sending:
                self._socket.sendall(data)
        except OSError as error:
            log.warning("an answer found its ingress gone: %s", error)
