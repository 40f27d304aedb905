"""Triton's extensions over the data plane, with control standing aside."""

from __future__ import annotations

import gzip
import json
from typing import Any

import numpy as np
import pytest
from maas_test_plane import KEY, Server

from maas.access import KeyEntry, Keyring, digest
from maas.core.identity import ServableId
from maas.core.statistics import VersionStatistics
from maas.serving.messages import Counted, LoadModel, StatisticsOf, UnloadModel
from maas.wire.exchange import LARGE_BYTES

INFER = "/v2/models/iris/infer"
PUBLISHER = "maas_" + "p" * 43
LENGTH = "inference-header-content-length"


def binary(rows: np.ndarray, **members: Any) -> tuple[bytes, str]:
    """A body with its only input in binary, and the length of its JSON."""
    sent = {
        "name": "x", "shape": list(rows.shape), "datatype": "FP32",
        "parameters": {"binary_data_size": rows.nbytes},
    }  # fmt: skip
    head = json.dumps({"inputs": [sent], **members}).encode()
    return head + rows.tobytes(), str(len(head))


def sizes() -> list[int]:
    return [1, LARGE_BYTES // 8 + 1]


@pytest.mark.parametrize("rows", sizes())
async def test_tensors_pass_in_binary(server: Server, rows: int) -> None:
    sent = np.arange(2 * rows, dtype=np.float32).reshape(rows, 2)
    body, length = binary(sent, parameters={"binary_data_output": True}, id="7")
    got = await server.ask("POST", INFER, body, inference_header_content_length=length, parts=3)
    assert got.status == 200
    assert got.headers["content-type"] == "application/octet-stream"
    at = int(got.headers[LENGTH])
    answer = json.loads(got.body[:at])
    assert answer["id"] == "7"
    assert answer["outputs"][0]["parameters"] == {"binary_data_size": sent.nbytes}
    assert got.body[at:] == (2 * sent).tobytes()
    assert got.headers["maas-model"] == "iris:3"


@pytest.mark.parametrize("rows", sizes())
async def test_an_answer_in_json_has_no_header_of_lengths(server: Server, rows: int) -> None:
    body, length = binary(np.ones((rows, 2), np.float32))
    got = await server.ask("POST", INFER, body, inference_header_content_length=length)
    assert LENGTH not in got.headers
    assert got.json["outputs"][0]["data"] == [2.0] * (2 * rows)


async def test_json_alone_may_ask_for_binary(server: Server) -> None:
    sent = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}
    body = {"inputs": [sent], "parameters": {"binary_data_output": True}}
    got = await server.ask("POST", INFER, body)
    assert got.body[int(got.headers[LENGTH]) :] == np.array([2, 4], np.float32).tobytes()


async def test_a_raw_body_is_the_tensor(server: Server) -> None:
    rows = np.ones((3, 2), np.float32)
    got = await server.ask("POST", INFER, rows.tobytes(), inference_header_content_length="0")
    assert got.body[int(got.headers[LENGTH]) :] == (2 * rows).tobytes()


@pytest.mark.parametrize("count", [2, 2000, 20_000])
async def test_the_length_counts_what_is_decompressed(server: Server, count: int) -> None:
    rows = np.random.default_rng(0).random((count, 2), np.float32)
    body, length = binary(rows, parameters={"binary_data_output": True})
    got = await server.ask(
        "POST",
        INFER,
        gzip.compress(body),
        inference_header_content_length=length,
        content_encoding="gzip",
        accept_encoding="gzip",
    )
    compressed = got.headers.get("content-encoding") == "gzip"
    assert compressed == (count > 2)
    answer = gzip.decompress(got.body) if compressed else got.body
    assert answer[int(got.headers[LENGTH]) :] == (2 * rows).tobytes()


@pytest.mark.parametrize("length", ["x", "-1", "99999", "1e2"])
async def test_what_is_no_length_is_400(server: Server, length: str) -> None:
    body, _ = binary(np.ones((1, 2), np.float32))
    got = await server.ask("POST", INFER, body, inference_header_content_length=length)
    assert got.status == 400
    assert "Inference-Header-Content-Length" in got.json["error"]


async def test_priority_and_timeout_reach_the_call(server: Server) -> None:
    body, length = binary(np.ones((1, 2), np.float32), parameters={"priority": 2, "timeout": 10**6})
    await server.ask("POST", INFER, body, inference_header_content_length=length)
    assert server.engine.calls[0].context.priority == 2


async def test_the_configuration(server: Server) -> None:
    for path in ("/v2/models/iris/config", "/v2/models/iris/versions/1/config"):
        found = (await server.ask("GET", path)).json
        assert (found["name"], found["input"][0]["dims"]) == ("iris", [2])
        assert found["version_policy"]["specific"]["versions"] == [1, 3]
    assert (await server.ask("GET", "/v2/models/nobody/config")).status == 404


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/v2/models/stats", StatisticsOf()),
        ("/v2/models/iris/stats", StatisticsOf("iris")),
        ("/v2/models/iris/versions/1/stats", StatisticsOf("iris", 1)),
        ("/v2/models/iris@prod/stats", StatisticsOf("iris", 1)),
    ],
)
async def test_statistics_are_controls(server: Server, path: str, asked: StatisticsOf) -> None:
    server.told = Counted((VersionStatistics(ServableId("iris", 1), inference_count=5),))
    [found] = (await server.ask("GET", path)).json["model_stats"]
    assert (found["name"], found["inference_count"]) == ("iris", 5)
    assert server.asked == [asked]


async def test_statistics_of_what_is_not_there(server: Server) -> None:
    for path in ("/v2/models/nobody/stats", "/v2/models/iris/versions/9/stats"):
        assert (await server.ask("GET", path)).status == 404
    assert server.asked == []


async def test_the_index_lists_every_version(server: Server) -> None:
    found = (await server.ask("POST", "/v2/repository/index")).json
    assert [(one["name"], one["version"], one["state"]) for one in found] == [
        ("idle", "1", "LOADING"),
        ("iris", "1", "UNAVAILABLE"),
        ("iris", "3", "UNAVAILABLE"),
        ("模型", "1", "UNAVAILABLE"),
    ]
    assert found[1]["reason"] == "it is loaded when it is called by its number"
    assert (await server.ask("POST", "/v2/repository/index", b'{"ready":true}')).json == []
    assert (await server.ask("GET", "/v2/repository/index")).status == 405


@pytest.mark.parametrize(("verb", "question"), [("load", LoadModel), ("unload", UnloadModel)])
async def test_loading_needs_a_key_that_may_publish(
    server: Server, verb: str, question: type[LoadModel | UnloadModel]
) -> None:
    path = f"/v2/repository/models/iris/{verb}"
    ring = (
        KeyEntry(digest(KEY), "key_1", "ann", "caller"),
        KeyEntry(digest(PUBLISHER), "key_2", "bob", "publisher"),
    )
    server.authenticator.replace(Keyring(2, ring))
    got = await server.ask("POST", path)
    assert got.status == 401
    assert "Authorization: Bearer KEY" in got.json["error"]
    assert (await server.ask("POST", path, authorization="Bearer nonsense")).status == 401
    assert (await server.ask("POST", path, x_api_key=KEY)).status == 403
    assert server.asked == []
    got = await server.ask("POST", path, b"{}", x_api_key=PUBLISHER)
    assert (got.status, got.body) == (200, b"")
    [asked] = server.asked
    assert isinstance(asked, question)
    assert asked.name == "iris"
    assert 0 < asked.timeout_s <= 60
    override = b'{"parameters":{"config":"{}"}}'
    got = await server.ask("POST", path, override, x_api_key=PUBLISHER)
    assert got.status == 501
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    "path", ["/v2/logging", "/v2/trace/setting", "/v2/models/iris/trace/setting"]
)
async def test_settings_are_shown_and_stay(server: Server, path: str) -> None:
    shown = await server.ask("GET", path)
    assert shown.status == 200
    assert (await server.ask("POST", path, b"{}")).json == shown.json
    got = await server.ask("POST", path, b'{"trace_level":["TIMESTAMPS"]}')
    assert got.status == 501
    assert "fixed while the server runs" in got.json["error"]


@pytest.mark.parametrize("kind", ["systemsharedmemory", "cudasharedmemory"])
async def test_no_memory_of_callers_is_mapped(server: Server, kind: str) -> None:
    assert (await server.ask("GET", f"/v2/{kind}/status")).json == []
    assert (await server.ask("GET", f"/v2/{kind}/region/a/status")).status == 404
    got = await server.ask("POST", f"/v2/{kind}/region/a/register", b'{"key":"/a"}')
    assert got.status == 501
    assert "maps no memory of its callers" in got.json["error"]
    for path in (f"/v2/{kind}/unregister", f"/v2/{kind}/region/a/unregister"):
        assert (await server.ask("POST", path)).status == 200
