"""gRPC calls on the data plane's port: HTTP/2 requests whose answer ends with trailers.

```
path ─▶ Rpc ─▶ key ─▶ one message ─▶ handler ─▶ one message ─▶ send, trailers
                 └──▶ Stream: messages both ways until both are done
```
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

from maas.access.authenticator import Authenticator
from maas.core.errors import ErrorKind, MaasError, invalid
from maas.core.messages import CallContext, Principal
from maas.telemetry.metrics import Counter, Metrics
from maas.wire.exchange import LARGE_BYTES, Exchange, Server
from maas.wire.grpc.framing import (
    ACCEPTED,
    PREFIX,
    Deframer,
    encode_message,
    frame,
    is_heavy,
    timeout_s,
    unframe,
)
from maas.wire.grpc.rpc import Rpc, Stream
from maas.wire.http import (
    COMPRESSED_FROM,
    Header,
    Receive,
    Scope,
    Send,
    clean_request_id,
    counted,
    let_go,
    read_body,
)
from maas.wire.status import GRPC_STATUS

log = logging.getLogger("maas.dataplane")

T = TypeVar("T")

CONTENT = (b"content-type", b"application/grpc")
PROBE = Principal("", "probe", "caller")
PROBE_BYTES = 64 << 10
"""Most bytes of a message to a method that answers without a key."""
_DONE = {"type": "http.response.trailers", "headers": [(b"grpc-status", b"0")]}
_ENCODINGS = (b"gzip", b"deflate")
_CONTENTS = (b"application/grpc;", b"application/grpc+proto")
"""What else a content type may begin with; gRPC's JSON and web forms are not read here."""


class Head:
    """What a call's headers say."""

    __slots__ = ("accepted", "encoding", "request_id", "timeout")

    def __init__(self) -> None:
        self.request_id = ""
        self.encoding = b""
        self.accepted = b""
        self.timeout = b""


class GrpcPlane:
    """Answers gRPC calls.

    Args:
        server: the data plane.
        rpcs: the methods, by path.
        authenticator: whose call it is.
        metrics: where calls are counted.
        new_id: makes a request's id.
    """

    def __init__(
        self,
        server: Server,
        rpcs: Mapping[bytes, Rpc],
        authenticator: Authenticator,
        metrics: Metrics,
        new_id: Callable[[], str],
    ):
        self._server = server
        self.rpcs = rpcs
        self._authenticator = authenticator
        self._metrics = metrics
        self._new_id = new_id
        self._limit = server.settings.limits.body_bytes
        self._call_s = server.settings.limits.call_s
        self._counters: dict[tuple[str, str, int], Counter] = {}

    async def __call__(self, rpc: Rpc | None, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one call.

        Args:
            rpc: the method; None where the path names none.
            scope: ASGI's.
            receive: ASGI's.
            send: ASGI's.
        """
        head = Head()
        code = 0
        started = False
        held = 0
        try:
            _read_head(head, scope["headers"])
            if not head.request_id:
                head.request_id = self._new_id()
            if rpc is None:
                raise _no_method(scope["raw_path"])
            headers = scope["headers"]
            principal = PROBE if rpc.open else self._authenticator.authenticate(headers)
            limit_s = timeout_s(head.timeout) if head.timeout else None
            now = time.monotonic()
            until = self._call_s if limit_s is None else min(limit_s, self._call_s)
            # A stream reads what its client sends itself, and so learns that it has gone.
            caller = None if rpc.unary is None else receive
            context = CallContext(head.request_id, principal, now + until, rpc.dialect, 0, caller)
            start = _start(head)
            if rpc.unary is not None:
                limit = self._limit_of(rpc)
                bodies = self._server.bodies
                body = await read_body(receive, headers, limit + PREFIX.size, bodies)
                held = counted(body)
                data = (
                    await self._off_loop(unframe, body, head.encoding, limit)
                    if is_heavy(body)
                    else unframe(body, head.encoding, limit)
                )
                exchange = Exchange(self._server, None, context, b"", headers, b"")
                answer = await rpc.unary(exchange, data)
                started = True
                await send(start)
                packed = _answer_encoding(head, answer)
                if len(answer) >= LARGE_BYTES and not packed:
                    # The prefix goes ahead: putting it before the message would copy that.
                    prefix = PREFIX.pack(0, len(answer))
                    await send({"type": "http.response.body", "body": prefix, "more_body": True})
                    data = answer
                elif len(answer) >= LARGE_BYTES:
                    data = await self._off_loop(frame, answer, packed)
                else:
                    data = frame(answer, packed)
                await send({"type": "http.response.body", "body": data, "more_body": False})
                await send(_DONE)
            else:
                started = True
                await send(start)
                await self._stream(rpc, context, head, limit_s, receive, send)
                await send({"type": "http.response.body", "body": b"", "more_body": False})
                await send(_DONE)
        except MaasError as error:
            code = GRPC_STATUS[error.kind]
            await _fail(send, head, code, error.message, started)
        except OSError as error:
            # The front's way of saying that the client went away before its answer.
            let_go(error)
            code = GRPC_STATUS[ErrorKind.CANCELLED]
        except Exception:
            log.exception("a call failed", extra={"request_id": head.request_id})
            code = GRPC_STATUS[ErrorKind.INTERNAL]
            sentence = f"the server failed on this call; its id is {head.request_id}"
            await _fail(send, head, code, sentence, started)
        finally:
            if held:
                self._server.bodies.give(held)
        self._count(rpc, code)

    async def _off_loop(self, work: Callable[..., T], *arguments: object) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._server.worker, work, *arguments)

    async def _stream(
        self,
        rpc: Rpc,
        context: CallContext,
        head: Head,
        limit_s: float | None,
        receive: Receive,
        send: Send,
    ) -> None:
        assert rpc.streaming is not None
        deframer = Deframer(head.encoding, self._limit_of(rpc))
        stream = Stream(self._server, context, receive, send, deframer)
        try:
            await asyncio.wait_for(rpc.streaming(stream), limit_s)
        except TimeoutError:
            raise MaasError(
                ErrorKind.DEADLINE_EXCEEDED, "the stream's deadline passed before its end"
            ) from None

    def _limit_of(self, rpc: Rpc) -> int:
        return min(PROBE_BYTES, self._limit) if rpc.open else self._limit

    def _count(self, rpc: Rpc | None, code: int) -> None:
        key = ("grpc", "none", code) if rpc is None else (rpc.dialect, rpc.verb, code)
        counter = self._counters.get(key)
        if counter is None:
            labels = (key[0], key[1], str(code))
            counter = self._counters[key] = self._metrics.counter(
                "maas_http_requests_total", labels
            )
        counter.count += 1


def is_grpc(scope: Scope) -> bool:
    """Whether a request says that it is a gRPC call."""
    return any(
        name == b"content-type" and value.startswith(CONTENT[1]) for name, value in scope["headers"]
    )


def has_trailers(scope: Scope) -> bool:
    """Whether an answer may end with trailers, as gRPC's do: not over HTTP/1."""
    return not scope.get("http_version", "2").startswith("1")


def _read_head(head: Head, headers: list[Header]) -> None:
    """Reads a call's headers.

    Raises:
        MaasError: UNSUPPORTED_MEDIA for a content type or compression that is not read here.
    """
    content = b""
    for name, value in headers:
        if name == b"content-type":
            content = value
        elif name == b"grpc-encoding":
            head.encoding = value
        elif name == b"grpc-timeout":
            head.timeout = value
        elif name == b"grpc-accept-encoding":
            head.accepted = value
        elif name == b"x-request-id":
            head.request_id = clean_request_id(value) or ""
    if content != CONTENT[1] and not content.startswith(_CONTENTS):
        raise invalid(
            f"content-type is {content.decode('latin-1')[:40]!r}; gRPC calls have application/grpc"
        )
    if head.encoding and head.encoding != b"identity" and head.encoding not in _ENCODINGS:
        raise MaasError(
            ErrorKind.UNIMPLEMENTED,
            f"grpc-encoding {head.encoding.decode('latin-1')[:40]!r} is not read here; send gzip, "
            "deflate or identity",
        )


def _start(head: Head) -> dict[str, object]:
    headers = [CONTENT, (b"x-request-id", head.request_id.encode("ascii"))]
    if head.encoding in _ENCODINGS and head.encoding in head.accepted:
        headers.append((b"grpc-encoding", head.encoding))
    return {"type": "http.response.start", "status": 200, "headers": headers, "trailers": True}


def _answer_encoding(head: Head, answer: bytes) -> bytes:
    """How to pack an answer: as the request was, where that is accepted and worth it."""
    if not head.encoding or len(answer) < COMPRESSED_FROM or head.encoding not in _ENCODINGS:
        return b""
    return head.encoding if head.encoding in head.accepted else b""


async def _fail(send: Send, head: Head, code: int, sentence: str, started: bool) -> None:
    try:
        await _send_failure(send, head, code, sentence, started)
    except OSError as error:
        let_go(error)


async def _send_failure(send: Send, head: Head, code: int, sentence: str, started: bool) -> None:
    if not started:
        headers = [CONTENT, (b"grpc-accept-encoding", ACCEPTED)]
        if head.request_id:
            headers.append((b"x-request-id", head.request_id.encode("ascii")))
        await send(
            {"type": "http.response.start", "status": 200, "headers": headers, "trailers": True}
        )
    await send({"type": "http.response.body", "body": b"", "more_body": False})
    trailers = [(b"grpc-status", b"%d" % code), (b"grpc-message", encode_message(sentence))]
    await send({"type": "http.response.trailers", "headers": trailers})


def _no_method(path: bytes) -> MaasError:
    return MaasError(
        ErrorKind.UNIMPLEMENTED,
        f"there is no method {path.decode('latin-1')[:120]}; ask the server's reflection which "
        "there are",
    )
