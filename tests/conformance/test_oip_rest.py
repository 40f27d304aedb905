"""The Open Inference Protocol's rules over HTTP that no client can show, with requests."""

from __future__ import annotations

import gzip
import json
import zlib

import numpy as np
import pytest
from tests import zoo
from tests.answers import check_sentence

rule = pytest.mark.rule
INFER = "/v2/models/counts/infer"
LENGTH = "Inference-Header-Content-Length"
COUNTS = {"name": "counts", "shape": [1, 3], "datatype": "INT64", "data": [1, 2, 3]}
RAW = np.array([1, 2, 3], "<i8").tobytes()


def refused(answer, status: int = 400) -> str:
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"error"}
    return check_sentence(answer.json()["error"])


def binary(place, tensor: dict[str, object], blob: bytes, path: str = INFER, **request: object):
    head = json.dumps({"inputs": [tensor], **request}).encode()
    return place.post(path, head + blob, headers={LENGTH: str(len(head))})


def sized(size: int) -> dict[str, object]:
    tensor = {name: value for name, value in COUNTS.items() if name != "data"}
    return {**tensor, "parameters": {"binary_data_size": size}}


@rule("OIP-REST", 'health answers 200 with `{"live":true}` and `{"ready":true}`')
def test_health(place):
    assert place.get("/v2/health/live").json() == {"live": True}
    assert place.get("/v2/health/ready").json() == {"ready": True}


@rule("OIP-REST", "`data` nested or flat")
def test_data(place):
    for data in ([1, 2, 3], [[1, 2, 3]]):
        answer = place.post(INFER, {"inputs": [{**COUNTS, "data": data}]}).json()
        assert answer["outputs"][0]["data"] == [6]


@rule("OIP-REST", "FP16 and BF16 in JSON are refused")
@pytest.mark.parametrize(("model", "kind"), [("types", "fp16"), ("bfloat", "bf16")])
def test_halves(place, model, kind):
    tensor = {"name": f"in_{kind}", "shape": [1, 2], "datatype": kind.upper(), "data": [1, 2]}
    assert "binary" in refused(place.post(f"/v2/models/{model}/infer", {"inputs": [tensor]}))


@rule("OIP-REST", "exactly one of `data`, `binary_data_size`, `shared_memory_region`")
def test_one_form(place):
    tensor = {**COUNTS, "parameters": {"binary_data_size": 24}}
    refused(binary(place, tensor, RAW))
    refused(place.post(INFER, {"inputs": [{k: v for k, v in COUNTS.items() if k != "data"}]}))


@rule("OIP-REST", "short or leftover bytes: 400")
@pytest.mark.parametrize(
    ("size", "blob"), [(24, RAW[:-1]), (24, RAW + b"\0"), (16, RAW[:16]), (32, RAW), (-1, RAW)]
)
def test_sizes(place, size, blob):
    refused(binary(place, sized(size), blob))


@rule("OIP-REST", "a header length beyond the body, or no number: 400")
@pytest.mark.parametrize("length", ["100000", "x", "-1"])
def test_header_length(place, length):
    body = json.dumps({"inputs": [COUNTS]}).encode()
    refused(place.post(INFER, body, headers={LENGTH: length}))


@rule("OIP-REST", "header `0`: a raw body for a model with one input")
def test_raw_body(place):
    answer = place.post(INFER, RAW, headers={LENGTH: "0"})
    assert answer.status_code == 200, answer.text
    length = answer.headers.get(LENGTH)
    head = answer.content[: int(length)] if length else answer.content
    assert json.loads(head)["model_name"] == "counts"


@rule("OIP-REST", "answers carry the header and `application/octet-stream` only if binary")
def test_content_types(place):
    answer = place.post(INFER, {"inputs": [COUNTS]})
    assert answer.headers["content-type"] == "application/json"
    assert LENGTH not in answer.headers
    answer = binary(place, sized(24), RAW, parameters={"binary_data_output": True})
    assert answer.headers["content-type"] == "application/octet-stream"
    length = int(answer.headers[LENGTH])
    assert answer.content[length:] == np.array([6], "<i8").tobytes()


@rule("OIP-REST", "`binary_data_output: true` without the header is still answered in binary")
def test_binary_output_alone(place):
    body = {"inputs": [COUNTS], "parameters": {"binary_data_output": True}}
    answer = place.post(INFER, body)
    assert int(answer.headers[LENGTH]) == len(answer.content) - 8


@rule("OIP-REST", "the JSON's length is that of the decompressed body")
def test_compressed_binary(place):
    head = json.dumps({"inputs": [sized(24)]}).encode()
    for encoding, compress in (("gzip", gzip.compress), ("deflate", zlib.compress)):
        headers = {LENGTH: str(len(head)), "content-encoding": encoding}
        answer = place.post(INFER, compress(head + RAW), headers=headers)
        assert answer.json()["outputs"][0]["data"] == [6]


@rule("OIP-REST", "Accept-Encoding with q-values")
def test_accept_encoding(place):
    body = {"inputs": [{**COUNTS, "shape": [500, 3], "data": [1, 2, 3] * 500}]}
    for accepted, chosen in (
        ("gzip;q=0.2, deflate;q=0.9", "deflate"),
        ("gzip", "gzip"),
        ("gzip;q=0", None),
        ("br", None),
    ):
        answer = place.post(INFER, body, headers={"accept-encoding": accepted})
        assert answer.headers.get("content-encoding") == chosen
        assert len(answer.json()["outputs"][0]["data"]) == 500


@rule("OIP-REST", "another encoding is 415 with `Accept-Encoding: gzip, deflate`")
def test_other_encoding(place):
    answer = place.post(INFER, b"x", headers={"content-encoding": "br"})
    refused(answer, 415)
    assert answer.headers["accept-encoding"] == "gzip, deflate"


@rule("OIP-REST", "`timeout` (µs) is the call's deadline; `priority` is a number from 0")
def test_parameters(place):
    body = {"inputs": [COUNTS], "parameters": {"timeout": 10_000_000, "priority": 1}}
    assert place.post(INFER, body).status_code == 200
    for parameters in ({"timeout": "soon"}, {"timeout": -1}, {"priority": "high"}):
        refused(place.post(INFER, {"inputs": [COUNTS], "parameters": parameters}))


@rule("OIP-REST", 'errors are `{"error"}`: 404 not found, 405 wrong verb, else 400')
def test_errors(place):
    refused(place.post("/v2/models/nobody/infer", {"inputs": [COUNTS]}), 404)
    refused(place.get(INFER), 405)
    for body in (b"", b"[]", b"{", b"\xff", b'{"inputs": []}', b'{"inputs": 3}'):
        refused(place.post(INFER, body))


@rule("OIP-REST", "`POST /v2/repository/models/M/load`, `/unload`, with a key that may publish")
def test_load(place):
    key = {"authorization": f"Bearer {place.key}"}
    for verb in ("unload", "load"):
        answer = place.post(f"/v2/repository/models/centred/{verb}", {}, headers=key)
        assert answer.status_code == 200, answer.text
    refused(place.post("/v2/repository/models/nobody/load", {}, headers=key), 404)
    refused(place.post("/v2/repository/models/centred/unload", {}), 401)


@rule("OIP-REST", "`/generate` answers `{model_name, model_version, text_output}`")
def test_generate(place):
    body = {"text_input": "Hello", "parameters": {"max_tokens": 4, "temperature": 0}}
    answer = place.post("/v2/models/assistant/generate", body).json()
    assert set(answer) == {"model_name", "model_version", "text_output"}
    assert (answer["model_name"], answer["model_version"]) == ("assistant", "1")
    refused(place.post("/v2/models/words/generate", {"text_input": zoo.TEXT}))
    refused(place.post("/v2/models/assistant/generate", {"parameters": {}}))


@rule("OIP-REST", "`/generate_stream` answers events `data: {…}`")
def test_generate_stream(place):
    body = {"text_input": "Hello", "parameters": {"max_tokens": 4, "temperature": 0}}
    answer = place.post("/v2/models/assistant/versions/1/generate_stream", body)
    assert answer.headers["content-type"].startswith("text/event-stream")
    *events, last = answer.content.decode().split("\n\n")
    assert last == ""
    texts = [json.loads(one.removeprefix("data: "))["text_output"] for one in events]
    whole = place.post("/v2/models/assistant/generate", body).json()
    assert "".join(texts) == whole["text_output"]


@rule("OIP-REST", "`GET /v2/logging`, `/v2/trace/setting`, `/v2/models/M/trace/setting`")
@pytest.mark.parametrize(
    "path", ["/v2/logging", "/v2/trace/setting", "/v2/models/iris/trace/setting"]
)
def test_settings(place, path):
    assert place.get(path).json()


@rule(
    "OIP-REST",
    "changing log and trace settings with `POST`",
    reason="this server's log is set in its settings, not by callers of models",
    instead="501, which says so",
)
def test_changed_settings(place):
    refused(place.post("/v2/trace/setting", {"trace_level": ["TIMESTAMPS"]}), 501)
    refused(place.post("/v2/logging", {"log_verbose_level": 1}), 501)


@rule("OIP-REST", "`/v2/systemsharedmemory/status`, `/v2/cudasharedmemory/status`: no regions")
@pytest.mark.parametrize("kind", ["system", "cuda"])
def test_no_regions(place, kind):
    assert place.get(f"/v2/{kind}sharedmemory/status").json() == []


@rule(
    "OIP-REST",
    "`shared_memory_region`, registering system and CUDA shared memory",
    reason="a caller's memory is not mapped: it could change under the model, or be another's",
    instead="501; send binary tensors, which cross in shared memory inside the server",
)
def test_shared_memory(place):
    tensor = {k: v for k, v in COUNTS.items() if k != "data"}
    tensor = {**tensor, "parameters": {"shared_memory_region": "r", "shared_memory_byte_size": 24}}
    refused(place.post(INFER, {"inputs": [tensor]}), 501)
    body = {"key": "/r", "offset": 0, "byte_size": 24}
    refused(place.post("/v2/systemsharedmemory/region/r/register", body), 501)
