"""Calls through the data plane, with an engine that stands in for the hosts."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from maas_test_plane import KEY, PLAN, Server

from maas.core.errors import ErrorKind, MaasError
from maas.protos import message, parse
from maas.wire.grpc.framing import PREFIX, frame
from maas.wire.grpc.table import rpcs
from maas.wire.http import decompress

INFER = "/inference.GRPCInferenceService/ModelInfer"
STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"
REQUEST = message("inference.ModelInferRequest")
RESPONSE = message("inference.ModelInferResponse")
GRPC = {"content-type": "application/grpc", "te": "trailers"}


class Answer:
    """What a client gets: messages, and a status from the trailers."""

    def __init__(self, sent: list[Mapping[str, Any]]):
        start, *body, trailers = sent
        assert start["type"] == "http.response.start"
        assert start["status"] == 200
        assert start["trailers"] is True
        assert trailers["type"] == "http.response.trailers"
        assert [part.get("more_body", False) for part in body][-1] is False
        self.head = dict(start["headers"])
        self.body = b"".join(part["body"] for part in body)
        self.trailers = dict(trailers["headers"])
        self.code = int(self.trailers[b"grpc-status"])
        self.words = self.trailers.get(b"grpc-message", b"").decode()

    def messages(self) -> list[bytes]:
        found, at = [], 0
        while at < len(self.body):
            _, size = PREFIX.unpack_from(self.body, at)
            found.append(self.body[at + 5 : at + 5 + size])
            at += 5 + size
        return found


async def call(
    server: Server, path: str, *parts: bytes, gone: bool = False, **headers: str
) -> Answer:
    left = [
        {"type": "http.request", "body": part, "more_body": index < len(parts) - 1 or gone}
        for index, part in enumerate(parts or (b"",))
    ]
    sent: list[Mapping[str, Any]] = []

    async def receive() -> Mapping[str, Any]:
        return left.pop(0) if left else {"type": "http.disconnect"}

    async def send(part: Mapping[str, Any]) -> None:
        sent.append(part)

    scope = {
        "type": "http",
        "method": "POST",
        "raw_path": path.encode(),
        "path": path,
        "query_string": b"",
        "headers": [
            (name.replace("_", "-").encode(), value.encode())
            for name, value in {**GRPC, **headers}.items()
        ],
    }
    await server.plane(scope, receive, send)
    return Answer(sent)


async def made(**settings: Any) -> Server:
    server = Server(**settings)
    await server.router.follow(PLAN)
    return server


def question(model: str = "iris", identity: str = "", rows: int = 1) -> bytes:
    request = REQUEST(model_name=model, id=identity)
    values = np.arange(2 * rows, dtype=np.float32)
    request.inputs.add(name="x", datatype="FP32", shape=[rows, 2])
    request.raw_input_contents.append(values.tobytes())
    return request.SerializeToString()


def values_of(data: bytes) -> list[float]:
    return np.frombuffer(parse(RESPONSE, data).raw_output_contents[0], np.float32).tolist()


async def test_a_call_is_answered():
    server = await made()
    for _ in range(3):  # the second and third by what was remembered
        answer = await call(server, INFER, frame(question()), x_request_id="mine")
        assert (answer.code, values_of(*answer.messages())) == (0, [0.0, 2.0])
        assert answer.head[b"x-request-id"] == b"mine"
    assert server.requests() == {("oip-grpc", "predict", "0"): 3}
    assert server.engine.calls[2].rows == 1


async def test_what_was_remembered_is_forgotten_with_the_plan():
    server = await made()
    await call(server, INFER, frame(question()))
    await server.router.follow(PLAN)
    answer = await call(server, INFER, frame(question(rows=2)))
    assert values_of(*answer.messages()) == [0.0, 2.0, 4.0, 6.0]
    assert (await call(server, INFER, frame(question()))).code == 0


async def test_a_body_in_pieces_and_packed():
    server = await made()
    data = frame(question(), b"gzip")
    answer = await call(
        server, INFER, data[:3], data[3:20], data[20:],
        grpc_encoding="gzip", grpc_accept_encoding="identity,gzip",
    )  # fmt: skip
    assert answer.code == 0
    assert answer.head[b"grpc-encoding"] == b"gzip"


async def test_a_long_answer_is_packed_as_the_question_was():
    server = await made()
    answer = await call(
        server, INFER, frame(question(rows=500), b"deflate"),
        grpc_encoding="deflate", grpc_accept_encoding="deflate",
    )  # fmt: skip
    assert answer.body[0] == 1
    assert len(answer.body) < 4000


ERRORS = [
    ({"data": b""}, 3, "holds no message"),
    ({"data": frame(b"\xff\xff")}, 3, "no inference.ModelInferRequest"),
    ({"data": frame(question())[:-1]}, 3, "cut off"),
    ({"data": frame(question("nobody"))}, 5, "there is no model"),
    ({"data": frame(question("idle"))}, 14, "still loading"),
    ({"data": frame(question()), "content_type": "application/grpc+json"}, 3, "content-type"),
    ({"data": frame(question()), "grpc_encoding": "snappy"}, 12, "snappy"),
    ({"data": frame(question()), "grpc_timeout": "soon"}, 3, "grpc-timeout"),
    ({"data": b"\0\0\0\0\0" + bytes(3000)}, 8, "limits.body_bytes"),
]


@pytest.mark.parametrize(("asked", "code", "words"), ERRORS)
async def test_errors(asked, code, words):
    server = await made(body_bytes=2000)
    data = asked.pop("data") if "data" in asked else b""
    answer = await call(server, INFER, data, **asked)
    asked["data"] = data
    assert (answer.code, words in answer.words) == (code, True), answer.words
    assert answer.messages() == []


async def test_an_unknown_method():
    for path in ("/inference.GRPCInferenceService/No", "/nobody.Knows/It"):
        answer = await call(await made(), path)
        assert (answer.code, path in answer.words) == (12, True)


async def test_the_model_s_own_error_and_ours():
    server = await made()
    server.engine.error = MaasError(ErrorKind.RESOURCE_EXHAUSTED, "50% too many; 模型")
    answer = await call(server, INFER, frame(question()))
    assert (answer.code, answer.words) == (8, "50%25 too many; %E6%A8%A1%E5%9E%8B")
    server.engine.error = RuntimeError("secret")
    answer = await call(server, INFER, frame(question()), x_request_id="mine")
    assert (answer.code, "mine" in answer.words, "secret" in answer.words) == (13, True, False)


async def test_the_callers_deadline_is_the_calls():
    server = await made()
    before = asyncio.get_running_loop().time()
    await call(server, INFER, frame(question()), grpc_timeout="5S")
    await call(server, INFER, frame(question()))
    first, second = [one.context.deadline - before for one in server.engine.calls]
    assert first == pytest.approx(5, abs=1)
    assert second == pytest.approx(60, abs=1)


@pytest.mark.parametrize("path", sorted(path.decode() for path in rpcs()))
async def test_no_method_but_the_probes_answers_without_a_key(path):
    server = await made(required=True)
    answer = await call(server, path, frame(b""))
    probes = ("ServerLive", "ServerReady", "Health/Check", "Health/Watch")
    if path.endswith(probes):
        assert answer.code == 0
    else:
        assert answer.code == 16
        assert "key" in answer.words


async def test_a_key_opens():
    server = await made(required=True)
    answer = await call(server, INFER, frame(question()), authorization=f"Bearer {KEY}")
    assert answer.code == 0


async def test_a_stream_answers_in_order_and_goes_on_after_an_error():
    server = await made()
    data = b"".join(
        frame(question("nobody" if number == 3 else "iris", str(number))) for number in range(6)
    )
    parts = [data[at : at + 50] for at in range(0, len(data), 50)]
    answer = await call(server, STREAM, *parts)
    assert answer.code == 0
    kind = message("inference.ModelStreamInferResponse")
    found = [parse(kind, one) for one in answer.messages()]
    assert [one.infer_response.id for one in found] == [str(number) for number in range(6)]
    assert [bool(one.error_message) for one in found] == [number == 3 for number in range(6)]


async def test_a_stream_of_nonsense_ends_with_its_reason():
    answer = await call(await made(), STREAM, frame(question()) + b"\7\0\0\0\1a")
    assert (answer.code, "flag 7" in answer.words) == (3, True)
    assert len(answer.messages()) <= 1


async def test_a_stream_whose_client_goes_away_ends():
    answer = await call(await made(), STREAM, frame(question()), gone=True)
    assert answer.code == 0


async def test_a_watch_ends_with_its_client_though_it_never_said_its_last_word():
    answer = await call(await made(), "/grpc.health.v1.Health/Watch", frame(b""), gone=True)
    assert (answer.code, answer.messages()) == (0, [b"\x08\x01"])


@pytest.mark.parametrize("path", [INFER, STREAM])
async def test_what_takes_long_to_unpack_is_not_unpacked_on_the_loop(path, monkeypatch):
    threads = []

    def noted(*arguments: Any) -> bytes:
        threads.append(threading.current_thread())
        return decompress(*arguments)

    monkeypatch.setattr("maas.wire.grpc.framing.decompress", noted)
    server = await made(body_bytes=1 << 20)
    data = np.random.default_rng(7).random(2000, np.float32).tobytes()
    request = parse(REQUEST, question())
    request.raw_input_contents[0] = data
    request.inputs[0].shape[0] = 1000
    packed = frame(request.SerializeToString(), b"gzip")
    answer = await call(server, path, packed, grpc_encoding="gzip")
    assert (answer.code, len(answer.messages())) == (0, 1)
    assert threading.main_thread() not in threads
    assert len(threads) == 1


@pytest.mark.parametrize("method", ["Check", "Watch"])
async def test_who_needs_no_key_cannot_send_much(method):
    server = await made(required=True)
    answer = await call(server, f"/grpc.health.v1.Health/{method}", frame(bytes(100_000)))
    assert answer.code == 8


async def test_a_large_message_to_a_small_method_is_read():
    server = await made()
    request = message("inference.ModelReadyRequest")(name="iris").SerializeToString()
    unknown = b"\x7a\x80\x80\x10" + bytes(1 << 18)
    answer = await call(
        server, "/inference.GRPCInferenceService/ModelReady", frame(request + unknown)
    )
    assert answer.code == 0


async def test_the_budget_of_bodies_is_whole_again_after_every_call():
    server = await made(bodies_bytes=1 << 20)
    for data in (frame(question(rows=50_000)), frame(b"\xff" * 200_000), bytes(900_000)):
        await call(server, INFER, data[:1000], data[1000:])
        assert server.plane.bodies.left == 1 << 20
    answer = await call(server, INFER, frame(question(rows=140_000)))
    assert (answer.code, "limits.bodies_bytes" in answer.words) == (8, True)
    body = b'{"input_data": [[' + b"1," * 200_000
    got = await server.ask("POST", "/iris/predict", body, 3)
    assert got.status == 400
    assert server.plane.bodies.left == 1 << 20
    got = await server.ask("POST", "/iris/predict", bytes(2 << 20), 3)
    assert (got.status, got.headers["retry-after"]) == (429, "1")


async def test_large_messages_of_a_stream_are_answered_one_after_the_other():
    server = await made()
    data = b"".join(frame(question("iris", str(number), rows=20_000)) for number in range(5))
    answer = await call(server, STREAM, data)
    assert answer.code == 0
    assert len(answer.messages()) == 5


@pytest.mark.parametrize("at", range(4))
@pytest.mark.parametrize("rows", [1, 40_000])
async def test_an_error_of_the_front_holds_on_to_no_answer(at, rows):
    """Envoy's front raises one and the same object for every client that goes away."""
    server = await made()
    gone, sent = OSError("gone"), 0

    async def send(part: Mapping[str, Any]) -> None:
        nonlocal sent
        sent += 1
        if sent > at:
            raise gone

    for wrong in (b"", b"wrong"):
        sent = 0
        body = frame(question(rows=rows)) + wrong
        parts = [{"type": "http.request", "body": body, "more_body": False}]
        scope = {
            "type": "http", "method": "POST", "raw_path": INFER.encode(), "path": INFER,
            "query_string": b"",
            "headers": [(name.encode(), value.encode()) for name, value in GRPC.items()],
        }  # fmt: skip

        async def receive(parts: list[Any] = parts) -> Mapping[str, Any]:
            return parts.pop(0) if parts else {"type": "http.disconnect"}

        await server.plane(scope, receive, send)
        assert gone.__traceback__ is None
