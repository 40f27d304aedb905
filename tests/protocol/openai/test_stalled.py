"""A client that stops reading, over a real socket: it loses its place, and the next is served."""

from __future__ import annotations

import json
import re
import socket

import pytest
from tests.server import wait_until

PATH = "/v1/completions"
ASK = {"model": "assistant", "prompt": "a", "n": 64, "max_tokens": 1900, "ignore_eos": True}
"""Far more than the buffers between the server and its client hold."""


@pytest.mark.slow
def test_a_client_that_stops_reading_loses_its_place(start, writers_home):
    server = start(like=writers_home, MAAS_GENERATION_TOKEN_S="1")

    def running() -> float:
        text = server.get("/metrics", headers={"authorization": f"Bearer {server.key}"}).text
        found = re.findall(
            r"^maas_generations_(?:running|waiting)\{.*\} (\S+)$", text, re.MULTILINE
        )
        return sum(map(float, found))

    body = json.dumps({**ASK, "stream": True, "logprobs": 0}).encode()
    with socket.create_connection(("127.0.0.1", server.port), 60) as opened:
        head = f"POST {PATH} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n\r\n"
        opened.sendall(head.encode() + body)
        wait_until(lambda: running() > 0, 20, "a beginning")
        wait_until(lambda: "stopped reading" in server.log(), 40, "the end of its patience")
        wait_until(lambda: running() == 0, 10, "an end of what nobody reads")
        assert server.post(PATH, {**ASK, "n": 1, "max_tokens": 3}).status_code == 200
        # What had been sent can still be read, and then nothing more comes.
        got = last = b""
        while piece := opened.recv(1 << 20):
            got, last = last[-100:] + piece, piece
            if got.endswith(b"0\r\n\r\n"):
                break
        assert b"[DONE]" not in got[-200:]
