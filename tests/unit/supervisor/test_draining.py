"""Draining through an admin socket that speaks as Envoy's does."""

from __future__ import annotations

import socketserver
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from maas.supervisor.draining import ACTIVE, drain_envoy


class Admin:
    """Answers `active` numbers of requests, one after the other, the last for ever."""

    def __init__(self, path: Path):
        self.path = str(path)
        self.asked: list[tuple[str, str]] = []
        self.active: list[str] = ["0"]
        admin = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self._answer(b"OK\n")

            def do_GET(self) -> None:
                number = admin.active[0]
                if len(admin.active) > 1:
                    admin.active.pop(0)
                self._answer(f"{ACTIVE}: {number}\n".encode() if number else b"")

            def _answer(self, body: bytes) -> None:
                admin.asked.append((self.command, self.path))
                self.send_response(200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def address_string(self) -> str:
                return "local"

            def log_message(self, *_: object) -> None:
                pass

        self.server = socketserver.ThreadingUnixStreamServer(self.path, Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()


@pytest.fixture
def admin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Admin]:
    found = Admin(tmp_path_factory.mktemp("e") / "envoy.sock")
    yield found
    found.server.shutdown()
    found.server.server_close()


def test_it_takes_no_new_connections_and_waits_for_those_in_flight(admin: Admin) -> None:
    admin.active = ["2", "1", "0"]
    drain_envoy(admin.path, 10)
    assert admin.asked[:2] == [("POST", "/healthcheck/fail"), ("POST", "/drain_listeners")]
    assert admin.asked[2:] == [("GET", f"/stats?filter=^{ACTIVE}$")] * 3


def test_with_nothing_in_flight_it_returns(admin: Admin) -> None:
    admin.active = [""]
    drain_envoy(admin.path, 10)
    assert len(admin.asked) == 3


def test_it_does_not_wait_for_ever(admin: Admin) -> None:
    admin.active = ["1"]
    started = time.monotonic()
    drain_envoy(admin.path, 0.2)
    assert time.monotonic() - started >= 0.2
    assert len(admin.asked) > 2


def test_an_envoy_that_is_gone_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r".+"):
        drain_envoy(str(tmp_path / "gone.sock"), 1)
