from __future__ import annotations

import gzip
import random
import tracemalloc
import zlib
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maas.core.errors import ErrorKind, MaasError
from maas.core.identity import ServableId
from maas.wire.http import (
    COUNTED_FROM,
    MAX_REQUEST_ID,
    Answer,
    BodyBudget,
    clean_request_id,
    counted,
    decompress,
    model_header,
    read_body,
    send_answer,
)

LIMIT = 1000


class Client:
    """Sends a body in parts; `left` says how many were not asked for."""

    def __init__(self, *parts: bytes, leaves: bool = False):
        self._messages: list[Mapping[str, Any]] = [
            {"type": "http.request", "body": part, "more_body": True} for part in parts
        ]
        if leaves:
            self._messages.append({"type": "http.disconnect"})
        elif self._messages:
            self._messages[-1] = {**self._messages[-1], "more_body": False}
        else:
            self._messages.append({"type": "http.request"})

    async def receive(self) -> Mapping[str, Any]:
        return self._messages.pop(0)

    @property
    def left(self) -> int:
        return len(self._messages)


async def kind_of(doing: object) -> ErrorKind:
    with pytest.raises(MaasError) as caught:
        await doing  # type: ignore[misc]
    return caught.value.kind


@pytest.mark.parametrize(
    "parts", [(), (b"",), (b"a",), (b"a", b"", b"bc"), (b"", b""), (b"x" * LIMIT,),
              (b"x" * (LIMIT - 1), b"x")],
)  # fmt: skip
async def test_a_body_is_read_whole(parts: tuple[bytes, ...]) -> None:
    client = Client(*parts)
    assert await read_body(client.receive, [], LIMIT, BodyBudget(2 * LIMIT)) == b"".join(parts)
    assert client.left == 0


@pytest.mark.parametrize("parts", [(b"x" * (LIMIT + 1),), (b"x" * LIMIT, b"x"), (b"x",) * 1001])
async def test_a_body_beyond_the_limit_is_refused(parts: tuple[bytes, ...]) -> None:
    assert (
        await kind_of(read_body(Client(*parts).receive, [], LIMIT, BodyBudget(2 * LIMIT)))
        is ErrorKind.TOO_LARGE
    )


async def test_no_more_is_read_than_the_limit() -> None:
    client = Client(*[b"x" * 100] * 1000)
    assert (
        await kind_of(read_body(client.receive, [], LIMIT, BodyBudget(2 * LIMIT)))
        is ErrorKind.TOO_LARGE
    )
    assert client.left >= 1000 - LIMIT // 100 - 1


async def test_a_body_that_says_it_is_too_large_is_not_read() -> None:
    client = Client(*[b"x"] * 10)
    headers = [(b"content-length", b"100000")]
    assert (
        await kind_of(read_body(client.receive, headers, LIMIT, BodyBudget(2 * LIMIT)))
        is ErrorKind.TOO_LARGE
    )
    assert client.left == 9


@pytest.mark.parametrize("length", [b"-1", b"many", b"", b"1e9", b"\xb2"])
async def test_a_length_that_is_none_changes_nothing(length: bytes) -> None:
    client = Client(b"ab", b"c")
    assert (
        await read_body(client.receive, [(b"content-length", length)], LIMIT, BodyBudget(2 * LIMIT))
        == b"abc"
    )


async def test_a_client_that_leaves_has_cancelled() -> None:
    client = Client(b"a", b"b", leaves=True)
    assert (
        await kind_of(read_body(client.receive, [], LIMIT, BodyBudget(2 * LIMIT)))
        is ErrorKind.CANCELLED
    )


DATA = b'{"input_data": [[1, 2]]}' * 20
PACKED = gzip.compress(DATA, mtime=0)
ENCODINGS = [
    (b"gzip", gzip.compress(DATA, mtime=0)),
    (b"x-gzip", gzip.compress(DATA, mtime=0)),
    (b"GZIP ", gzip.compress(DATA, mtime=0)),
    (b"deflate", zlib.compress(DATA)),
]


@pytest.mark.parametrize(("encoding", "body"), ENCODINGS)
def test_a_body_is_decompressed(encoding: bytes, body: bytes) -> None:
    assert decompress(body, encoding, LIMIT) == DATA


@given(st.binary(max_size=LIMIT))
def test_anything_comes_back_up_to_the_limit(data: bytes) -> None:
    assert decompress(gzip.compress(data), b"gzip", len(data)) == data
    assert decompress(zlib.compress(data), b"deflate", LIMIT) == data


def refused(body: bytes, encoding: bytes = b"gzip", limit: int = LIMIT) -> ErrorKind:
    with pytest.raises(MaasError) as caught:
        decompress(body, encoding, limit)
    return caught.value.kind


@pytest.mark.parametrize("encoding", [b"br", b"zstd", b"gzip, gzip", b"", b"\xff" * 100])
def test_another_encoding_is_not_read(encoding: bytes) -> None:
    assert refused(DATA, encoding) is ErrorKind.UNSUPPORTED_MEDIA


@pytest.mark.parametrize(
    "body", [b"", DATA, PACKED[:-1], PACKED[:10], b"\x1f\x8b",
             PACKED[:-8] + bytes(8), zlib.compress(DATA)[:-2]],
    ids=["empty", "plain", "cut", "cut short", "magic", "checksum", "zlib cut"],
)  # fmt: skip
def test_a_body_that_is_not_what_it_says_is_refused(body: bytes) -> None:
    assert refused(body) is ErrorKind.INVALID_ARGUMENT


@pytest.mark.parametrize("limit", [len(DATA) - 1, 1, 0])
def test_a_body_that_grows_beyond_the_limit_is_refused(limit: int) -> None:
    for encoding, body in ENCODINGS:
        assert refused(body, encoding, limit) is ErrorKind.TOO_LARGE


def test_several_gzip_members_are_one_body_or_refused() -> None:
    """RFC 1952, 2.2: members follow each other. Half of what was sent is never the body."""
    body = gzip.compress(b'{"x": 1}') + gzip.compress(b" trailing")
    try:
        data = decompress(body, b"gzip", LIMIT)
    except MaasError:
        return
    assert data == b'{"x": 1} trailing'


def test_what_follows_the_compressed_body_is_not_ignored() -> None:
    assert refused(zlib.compress(DATA) + b"more", b"deflate") is ErrorKind.INVALID_ARGUMENT


def test_a_bomb_takes_no_more_memory_than_the_limit() -> None:
    limit = 4 << 20
    engine = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = b"".join(engine.compress(bytes(1 << 20)) for _ in range(512)) + engine.flush()
    assert len(bomb) < 1 << 20
    tracemalloc.start()
    try:
        assert refused(bomb, limit=limit) is ErrorKind.TOO_LARGE
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3 * limit


@pytest.mark.parametrize("value", [b"a", b"req-1", b"f" * MAX_REQUEST_ID, b"a b", b"~!#$%"])
def test_a_callers_request_id_is_kept(value: bytes) -> None:
    assert clean_request_id(value) == value.decode()


@pytest.mark.parametrize(
    "value", [b"", b"f" * (MAX_REQUEST_ID + 1), b"a\r\nx-evil: 1", b"a\n", b"\x00", b"\xff",
              "ä".encode(), b"a\tb", b"\x7f", b"\x1b[31m"],
)  # fmt: skip
def test_one_that_would_do_harm_is_not(value: bytes) -> None:
    assert clean_request_id(value) is None


@pytest.mark.parametrize(
    ("servable", "header"),
    [
        (ServableId("iris", 3), b"iris:3"),
        (ServableId("模型", 12), b"%E6%A8%A1%E5%9E%8B:12"),
    ],
)
def test_who_answered_is_a_header(servable: ServableId, header: bytes) -> None:
    assert model_header(servable) == header


async def test_an_answer_is_a_head_and_a_body() -> None:
    sent: list[Mapping[str, Any]] = []

    async def send(message: Mapping[str, Any]) -> None:
        sent.append(message)

    body = random.Random(0).randbytes(1000)
    answer = Answer(body, 201, servable=ServableId("iris", 3), headers=[(b"retry-after", b"1")])
    await send_answer(send, answer, "r-1")
    start, rest = sent
    assert (start["type"], start["status"]) == ("http.response.start", 201)
    assert dict(start["headers"]) == {
        b"content-type": b"application/json",
        b"content-length": b"1000",
        b"x-request-id": b"r-1",
        b"maas-model": b"iris:3",
        b"retry-after": b"1",
    }
    assert (rest["type"], rest["body"], rest.get("more_body")) == ("http.response.body", body, None)


LARGE = COUNTED_FROM
MANY = 100 * LARGE


async def test_a_large_body_is_taken_from_the_budget_however_it_comes():
    for parts in ([bytes(LARGE)], [bytes(10), bytes(LARGE - 20), bytes(10)]):
        budget = BodyBudget(MANY)
        body = await read_body(Client(*parts).receive, [], MANY, budget)
        assert MANY - budget.left == counted(body) == LARGE


async def test_a_small_body_is_not():
    for parts in ([bytes(LARGE - 1)], [bytes(10), bytes(10)]):
        budget = BodyBudget(MANY)
        body = await read_body(Client(*parts).receive, [], MANY, budget)
        assert (budget.left, counted(body)) == (MANY, 0)


async def test_what_is_refused_is_given_back():
    budget = BodyBudget(3 * LARGE)
    parts = [bytes(LARGE)] * 4
    reading = read_body(Client(*parts).receive, [], MANY, budget)
    assert await kind_of(reading) is ErrorKind.RESOURCE_EXHAUSTED
    assert budget.left == 3 * LARGE
    reading = read_body(Client(*parts[:2]).receive, [], LARGE + 1, budget)
    assert await kind_of(reading) is ErrorKind.TOO_LARGE
    assert budget.left == 3 * LARGE
    reading = read_body(Client(bytes(MANY)).receive, [], MANY, budget)
    assert await kind_of(reading) is ErrorKind.RESOURCE_EXHAUSTED
    assert budget.left == 3 * LARGE
