"""HTTP to another server: one origin, checked addresses, bounded answers, no redirects.

```
post ─▶ pool (keep-alive) ─▶ Backend: resolve ▸ check ▸ connect ▸ check the peer ─▶ Stream, with a
        deadline for the whole call, however slowly bytes drip
```

httpcore is httpx's own engine: no proxies, cookies or redirects come with it.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
import typing
from collections.abc import Callable, Mapping

import certifi
import httpcore
import orjson
from msgspec import Struct

from maas.core.errors import ErrorKind, MaasError
from maas.core.upstreams import UpstreamTarget
from maas.runtimes.upstream.errors import from_status, nonsense, silent
from maas.runtimes.upstream.network import Network
from maas.settings import UpstreamSettings

KEEP_S = 20.0
"""How long a connection is kept that nothing uses."""
MOST_ERROR_BYTES = 1 << 16
MOST_TOLD_BYTES = 4 << 20
"""Of what a server says of itself and of a model."""


class Answer(Struct, frozen=True):
    """An answer with status 200.

    Args:
        headers: by name in lower case.
        body: not longer than the limit.
    """

    headers: Mapping[str, str]
    body: bytes


class Rest:
    """Connections to one server.

    Args:
        target: whose origin is called, and nothing else.
        settings: times and sizes.
        network: what may be connected to.
        key: sent as a bearer token; empty for none.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        target: UpstreamTarget,
        settings: UpstreamSettings,
        network: Network,
        key: str = "",
        clock: Callable[[], float] = time.monotonic,
    ):
        self._target = target
        self._settings = settings
        self._deadline = _Deadline(clock)
        self._headers = {"Host": target.authority, "Accept-Encoding": "identity"}
        if key:
            self._headers["Authorization"] = f"Bearer {key}"
        self._pool = httpcore.ConnectionPool(
            ssl_context=_tls() if target.tls else None,
            max_connections=settings.calls,
            max_keepalive_connections=settings.calls,
            keepalive_expiry=KEEP_S,
            network_backend=_Backend(network, settings.connect_s, self._deadline),
        )

    def get(self, path: str) -> Answer:
        """Asks for something.

        Args:
            path: with everything quoted.

        Raises:
            MaasError: UNAVAILABLE, DEADLINE_EXCEEDED, INTERNAL for an answer that is too long; an
                `UpstreamError` for one that is not 200.
        """
        return self._call("GET", path, b"", {})

    def post(self, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Sends something.

        Args:
            path: with everything quoted.
            body: in one piece.
            headers: beside the usual ones.

        Raises:
            MaasError: as `get`.
        """
        return self._call("POST", path, body, headers)

    def close(self) -> None:
        """Closes the connections."""
        self._pool.close()

    def _call(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Sends a request, and once more where a kept connection turns out to be closed."""
        self._deadline.begin(self._settings.call_s)
        try:
            try:
                return self._send(method, path, body, headers)
            except (httpcore.ReadError, httpcore.WriteError, httpcore.RemoteProtocolError):
                return self._send(method, path, body, headers)
        except httpcore.TimeoutException as error:
            raise _late(self._settings.call_s) from error
        except httpcore.NetworkError as error:
            raise silent("the connection to it is closed, or its certificate is not known") from (
                error
            )
        except httpcore.ProtocolError as error:
            raise nonsense("it is cut off, or no HTTP") from error

    def _send(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        target = self._target
        url = httpcore.URL(
            scheme=b"https" if target.tls else b"http",
            host=target.host.encode(),
            port=target.port,
            target=path.encode(),
        )
        left = self._deadline.left()
        times = {"connect": left, "read": left, "write": left, "pool": left}
        with self._pool.stream(
            method,
            url,
            headers=[
                (name.encode(), value.encode())
                for name, value in (
                    *self._headers.items(),
                    *headers.items(),
                    *((("Content-Length", str(len(body))),) if method == "POST" else ()),
                )
            ],
            content=body,
            extensions={"timeout": times},
        ) as response:
            found = {
                name.decode("latin-1").lower(): value.decode("latin-1")
                for name, value in response.headers
            }
            good = response.status == 200
            if found.get("content-encoding", "identity") != "identity":
                raise nonsense(f"it is compressed ({found['content-encoding']}), unasked")
            limit = self._settings.answer_bytes
            if method == "GET":
                limit = min(limit, MOST_TOLD_BYTES)
            if not good:
                limit = MOST_ERROR_BYTES
            received = _receive(response.iter_stream(), limit, cut=not good)
        if not good:
            raise from_status(response.status, _message(received))
        return Answer(found, received)


def _receive(chunks: typing.Iterable[bytes], limit: int, cut: bool) -> bytes:
    """The body; beyond the limit it is cut, or refused."""
    received = bytearray()
    for chunk in chunks:
        received += chunk
        if len(received) > limit:
            if cut:
                break
            raise nonsense(f"it is longer than {limit} bytes (setting upstream.answer_bytes)")
    return bytes(received)


def _message(body: bytes) -> str:
    """What an error's body says: `{"error": …}`, or nothing."""
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ""
    error = said.get("error") if isinstance(said, dict) else None
    return error if isinstance(error, str) else ""


def _late(seconds: float) -> MaasError:
    return MaasError(
        ErrorKind.DEADLINE_EXCEEDED,
        f"the upstream did not answer within {seconds:g} s (setting upstream.call_s)",
    )


def _tls() -> ssl.SSLContext:
    """The system's certificates, and those that Python's clients use."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


class _Deadline(threading.local):
    """When the call of this thread ends."""

    def __init__(self, clock: Callable[[], float]):
        self._clock = clock
        self._until = clock()

    def begin(self, seconds: float) -> None:
        self._until = self._clock() + seconds

    def left(self) -> float:
        """Seconds left, above 0.

        Raises:
            httpcore.ReadTimeout: none are.
        """
        left = self._until - self._clock()
        if left <= 0:
            raise httpcore.ReadTimeout
        return left


class _Backend(httpcore.NetworkBackend):
    """Connects to addresses that have been checked, and to no name."""

    def __init__(self, network: Network, connect_s: float, deadline: _Deadline):
        self._network = network
        self._connect_s = connect_s
        self._deadline = deadline
        self._inner = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: typing.Iterable[typing.Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Connects to the first address that answers.

        Raises:
            MaasError: FAILED_PRECONDITION, UNAVAILABLE.
        """
        failed: Exception | None = None
        for address in self._network.addresses(host, port):
            wait = min(self._connect_s, self._deadline.left())
            try:
                stream = self._inner.connect_tcp(address, port, wait, None, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failed = error
                continue
            try:
                self._network.check(stream.get_extra_info("server_addr")[0])
            except BaseException:
                stream.close()
                raise
            return _Stream(stream, self._deadline)
        raise silent("it cannot be connected to") from failed

    def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: typing.Any = None
    ) -> httpcore.NetworkStream:
        """Refuses: no upstream is a path.

        Raises:
            MaasError: FAILED_PRECONDITION.
        """
        raise MaasError(ErrorKind.FAILED_PRECONDITION, "an upstream is called by TCP alone")

    def sleep(self, seconds: float) -> None:
        """Waits."""
        time.sleep(seconds)


class _Stream(httpcore.NetworkStream):
    """A connection on which nothing waits beyond the deadline of the call that uses it."""

    def __init__(self, inner: httpcore.NetworkStream, deadline: _Deadline):
        self._inner = inner
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, self._deadline.left())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        # The inner stream would give each part that a slow reader takes a time of its own.
        connection: socket.socket = self._inner.get_extra_info("socket")
        left = memoryview(buffer)
        try:
            while left:
                connection.settimeout(self._deadline.left())
                left = left[connection.send(left) :]
        except TimeoutError as error:
            raise httpcore.WriteTimeout from error
        except OSError as error:
            raise httpcore.WriteError from error

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        inner = self._inner.start_tls(ssl_context, server_hostname, self._deadline.left())
        return _Stream(inner, self._deadline)

    def get_extra_info(self, info: str) -> typing.Any:
        return self._inner.get_extra_info(info)
