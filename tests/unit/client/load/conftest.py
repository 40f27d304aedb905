from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator

import pytest


class Answerer:
    """A real HTTP/1.1 server on a port of its own.

    Attributes:
        seen: every request, head and body.
        status: of the answers.
        head: what they begin with.
        wait_s: before an answer.
        hang_up: close the connection instead of answering, for as many requests.
        close: say `Connection: close` with every answer.
    """

    def __init__(self) -> None:
        self.seen: list[tuple[str, bytes]] = []
        self.status = 200
        self.head = "HTTP/1.1"
        self.wait_s = 0.0
        self.hang_up = 0
        self.close = False
        self._over = threading.Event()
        answerer = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                try:
                    while answerer.exchange(self):
                        pass
                except ConnectionError:
                    pass

        class Server(socketserver.ThreadingTCPServer):
            request_queue_size = 64

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def end(self) -> None:
        self._over.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()  # waits for every handler

    def exchange(self, handler: socketserver.StreamRequestHandler) -> bool:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = handler.rfile.readline()
            if not line:
                return False
            head += line
        length = next(
            int(line.split(b":")[1])
            for line in head.splitlines()
            if line.lower().startswith(b"content-length")
        )
        self.seen.append((head.decode(), handler.rfile.read(length)))
        if self.wait_s and self._over.wait(self.wait_s):
            return False
        if self.hang_up:
            self.hang_up -= 1
            return False
        closing = "Connection: close\r\n" if self.close else ""
        answer = f"{self.head} {self.status} X\r\n{closing}Content-Length: 2\r\n\r\n{{}}"
        handler.wfile.write(answer.encode())
        return not self.close


@pytest.fixture
def server() -> Iterator[Answerer]:
    made = Answerer()
    yield made
    made.end()
