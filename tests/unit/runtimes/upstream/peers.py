"""Servers that answer what a test says, byte by byte, and clients of them."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

from maas.core.upstreams import parse_upstream
from maas.runtimes.upstream.network import Network
from maas.runtimes.upstream.rest import Rest
from maas.settings import UpstreamSettings

LOOPBACK = ("127.0.0.0/8", "::1/128")
Answer = Callable[[socket.socket, bytes], None]
Wrap = Callable[[socket.socket], socket.socket]


def read_request(connection: socket.socket) -> bytes:
    """A request in full, or as much as comes; a very long body is left where it is."""
    data = connection.recv(1 << 16)
    while data and b"\r\n\r\n" not in data:
        more = connection.recv(1 << 16)
        if not more:
            return data
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            length = int(line[15:])
            while length < 1 << 20 and len(body) < length:
                more = connection.recv(1 << 16)
                body += more
                data += more
    return data


@contextlib.contextmanager
def peer(answer: Answer, wrap: Wrap = lambda connection: connection) -> Iterator[int]:
    """A server on a port of its own; `answer` gets each connection and each request.

    Args:
        answer: says something.
        wrap: makes a connection one with TLS.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    open_now: list[socket.socket] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            open_now.append(connection)
            threading.Thread(target=talk, args=(connection,), daemon=True).start()

    def talk(connection: socket.socket) -> None:
        # The client goes away in the middle of most of these conversations.
        with contextlib.suppress(OSError), wrap(connection) as connection:
            while request := read_request(connection):
                answer(connection, request)

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.close()
        for connection in open_now:
            connection.close()


def saying(*parts: bytes) -> Answer:
    """Answers every request so."""
    return lambda connection, _: connection.sendall(b"".join(parts))


def http(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    """An answer in full."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def settings(**about) -> UpstreamSettings:
    return UpstreamSettings(**{"networks": LOOPBACK, "call_s": 5.0, "connect_s": 1.0, **about})


def rest_to(port: int, resolve=lambda host, port: [host], key: str = "", **about) -> Rest:
    """A connection to a peer."""
    said = settings(**about)
    target = parse_upstream(f"oip+http://127.0.0.1:{port}/m")
    return Rest(target, said, Network(said.networks, resolve), key)
