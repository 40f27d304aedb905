"""HTTP as bytes, for what no client library would send."""

from __future__ import annotations

import contextlib
import socket


def send_raw(port: int, data: bytes, timeout_s: float = 5) -> bytes:
    """Sends bytes as they are; gives whatever comes until the server closes or goes quiet."""
    with socket.create_connection(("127.0.0.1", port), timeout_s) as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(data)
        return read_answer(connection, timeout_s)


def read_answer(connection: socket.socket, timeout_s: float = 5) -> bytes:
    """Reads one HTTP/1.1 answer, by its content-length where it has one."""
    connection.settimeout(timeout_s)
    got = b""
    with contextlib.suppress(ConnectionResetError, TimeoutError):
        while True:
            head, end, body = got.partition(b"\r\n\r\n")
            if end:
                lengths = [
                    int(line.partition(b":")[2])
                    for line in head.lower().split(b"\r\n")
                    if line.startswith(b"content-length:")
                ]
                if lengths and len(body) >= lengths[0]:
                    break
            part = connection.recv(1 << 16)
            if not part:
                break
            got += part
    return got
