"""The Open Inference Protocol v2 over REST: inference in JSON."""

from __future__ import annotations

import gzip
import zlib
from typing import Any

import pytest
from tests import zoo
from tests.answers import bare_error

IRIS = "/v2/models/iris/infer"
COUNTS = "/v2/models/counts/infer"


def tensor(name: str, shape: list[int], datatype: str, data: Any, **more: Any) -> dict[str, Any]:
    return {"name": name, "shape": shape, "datatype": datatype, "data": data, **more}


def flower(**more: Any) -> dict[str, Any]:
    return {"inputs": [tensor("x", [1, 4], "FP32", zoo.FLOWER)], **more}


def counted(data: Any, **more: Any) -> dict[str, Any]:
    return {"inputs": [{**tensor("counts", [1, 3], "INT64", data), **more}]}


def test_inference(server):
    answer = server.post(IRIS, flower(id="call-7"))
    assert answer.status_code == 200
    body = answer.json()
    assert set(body) == {"model_name", "model_version", "id", "outputs"}
    assert (body["model_name"], body["model_version"], body["id"]) == ("iris", "1", "call-7")
    label, probabilities = body["outputs"]
    assert label == {"name": "label", "datatype": "INT64", "shape": [1], "data": [0]}
    assert probabilities["shape"] == [1, 3]
    assert len(probabilities["data"]) == 3
    assert sum(probabilities["data"]) == pytest.approx(1)
    assert "inference-header-content-length" not in answer.headers


def test_no_id_is_made_up(server):
    assert "id" not in server.post(IRIS, flower()).json()


@pytest.mark.parametrize("data", [[1, 2, 3, 4, 5, 6], [[1, 2, 3], [4, 5, 6]]])
def test_data_flat_and_nested(server, data):
    body = {"inputs": [tensor("counts", [2, 3], "INT64", data)]}
    assert server.post(COUNTS, body).json()["outputs"] == [
        {"name": "total", "datatype": "INT64", "shape": [2, 1], "data": [6, 15]}
    ]


@pytest.mark.parametrize(
    ("path", "label"),
    [
        ("/v2/models/iris/versions/1/infer", 0),
        ("/v2/models/iris/versions/2/infer", 2),
        ("/v2/models/iris@next/infer", 2),
        ("/v2/models/iris@prod/infer", 0),
    ],
)
def test_versions(server, path, label):
    answer = server.post(path, flower()).json()
    assert answer["outputs"][0]["data"] == [label]
    assert answer["model_version"] == ("2" if label else "1")


def test_the_outputs_asked_for_in_their_order(server):
    names = ["probabilities", "label"]
    answer = server.post(IRIS, flower(outputs=[{"name": name} for name in names])).json()
    assert [output["name"] for output in answer["outputs"]] == names
    answer = server.post(IRIS, flower(outputs=[{"name": "label"}])).json()
    assert [output["name"] for output in answer["outputs"]] == ["label"]
    assert len(server.post(IRIS, flower(outputs=[])).json()["outputs"]) == 2


def test_two_inputs(server):
    body = {"inputs": [tensor("b", [1, 2], "FP32", [3, 4]), tensor("a", [1, 2], "FP32", [1, 2])]}
    answer = server.post("/v2/models/pair/infer", body).json()["outputs"]
    assert {output["name"]: output["data"] for output in answer} == {
        "sum": [4, 6],
        "product": [3, 8],
    }


def test_texts(server):
    body = {"inputs": [tensor("text", [2], "BYTES", [zoo.TEXT, "新手机的芯片"])]}
    answer = server.post("/v2/models/words/infer", body)
    assert answer.json()["outputs"][0] == {
        "name": "label",
        "datatype": "BYTES",
        "shape": [2],
        "data": ["体育", "科技"],
    }
    assert "体育".encode() in answer.content


def test_an_image(server):
    image = [[[[0, 0, 0.5]] * 299] * 299]
    body = {"inputs": [tensor("images", list(zoo.IMAGE), "FP32", image)]}
    scores = server.post("/v2/models/my_model/infer", body).json()["outputs"][0]
    assert scores["shape"] == [1, 1000]
    assert max(range(1000), key=scores["data"].__getitem__) == 789


def test_classification(server):
    outputs = [{"name": "probabilities", "parameters": {"classification": 2}}]
    answer = server.post("/v2/models/flowers/infer", flower(outputs=outputs)).json()["outputs"][0]
    assert (answer["datatype"], answer["shape"]) == ("BYTES", [1, 2])
    best, second = (text.split(":") for text in answer["data"])
    assert best[1:] == ["0", "setosa"]
    assert second[1:] == ["1", "versicolor"]
    assert float(best[0]) > float(second[0])


def test_reserved_parameters_that_change_nothing(server):
    parameters = {"priority": 1, "sequence_id": 0, "binary_data_output": False, "mine": "x"}
    assert server.post(IRIS, flower(parameters=parameters)).status_code == 200


def test_a_deadline_that_has_passed(server):
    bare_error(server.post("/v2/models/centroid/infer", flower(parameters={"timeout": 1})), 504)


def test_a_deadline_that_is_far_enough(server):
    answer = server.post(IRIS, flower(parameters={"timeout": 30_000_000}))
    assert answer.status_code == 200


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_compressed_requests(server, encoding):
    import orjson

    body = orjson.dumps(counted([1, 2, 3]))
    packed = gzip.compress(body) if encoding == "gzip" else zlib.compress(body)
    answer = server.post(COUNTS, packed, headers={"content-encoding": encoding})
    assert answer.json()["outputs"][0]["data"] == [6]


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("gzip", "gzip"),
        ("deflate", "deflate"),
        ("gzip;q=0.5, deflate;q=0.9", "deflate"),
        ("gzip;q=0, deflate", "deflate"),
        ("br", None),
        ("identity", None),
    ],
)
def test_compressed_answers(server, accepted, encoding):
    many = {"inputs": [tensor("x", [100, 4], "FP32", zoo.FLOWER * 100)]}
    answer = server.post(IRIS, many, headers={"accept-encoding": accepted})
    assert answer.headers.get("content-encoding") == encoding
    assert answer.json()["outputs"][0]["data"] == [0] * 100
    # A short answer would only grow.
    answer = server.post(COUNTS, counted([1, 2, 3]), headers={"accept-encoding": accepted})
    assert answer.headers.get("content-encoding") is None
    assert answer.json()["outputs"][0]["data"] == [6]


def test_another_encoding_names_those_there_are(server):
    answer = server.post(IRIS, b"...", headers={"content-encoding": "br"})
    assert answer.status_code in (415, 501)
    assert answer.headers["accept-encoding"] == "gzip, deflate"
    bare_error(answer, answer.status_code)


CASES: dict[str, tuple[str, Any, str]] = {
    "no inputs": (IRIS, {}, "inputs"),
    "inputs that are no list": (IRIS, {"inputs": {"x": 1}}, "inputs"),
    "an input that is no object": (IRIS, {"inputs": [[1, 2, 3, 4]]}, "object"),
    "no data": (IRIS, {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32"}]}, "data"),
    "no shape": (IRIS, {"inputs": [{"name": "x", "datatype": "FP32", "data": [1]}]}, "shape"),
    "no datatype": (IRIS, {"inputs": [{"name": "x", "shape": [1, 4], "data": [1]}]}, "datatype"),
    "another datatype": (IRIS, {"inputs": [tensor("x", [1, 4], "FP64", zoo.FLOWER)]}, "FP64"),
    "no such datatype": (IRIS, {"inputs": [tensor("x", [1, 4], "FLOAT", zoo.FLOWER)]}, "FLOAT"),
    "FP16 in JSON": (IRIS, {"inputs": [tensor("x", [1, 4], "FP16", zoo.FLOWER)]}, "binary"),
    "BF16 in JSON": (IRIS, {"inputs": [tensor("x", [1, 4], "BF16", zoo.FLOWER)]}, "binary"),
    "another name": (IRIS, {"inputs": [tensor("y", [1, 4], "FP32", zoo.FLOWER)]}, "'y'"),
    "twice": (IRIS, {"inputs": [tensor("x", [1, 4], "FP32", zoo.FLOWER)] * 2}, "twice"),
    "too few values": (IRIS, {"inputs": [tensor("x", [1, 4], "FP32", [1, 2, 3])]}, "3 values"),
    "another shape": (IRIS, {"inputs": [tensor("x", [1, 3], "FP32", [1, 2, 3])]}, "[n, 4]"),
    "a negative size": (IRIS, {"inputs": [tensor("x", [-1, 4], "FP32", zoo.FLOWER)]}, "shape"),
    "a huge size": (IRIS, {"inputs": [tensor("x", [2**62, 4], "FP32", zoo.FLOWER)]}, "4 values"),
    "sizes beyond 64 bits": (IRIS, {"inputs": [tensor("x", [2**63, 2], "FP32", [])]}, "shape"),
    "an endless shape": (IRIS, {"inputs": [tensor("x", [1] * 99, "FP32", [1])]}, "shape"),
    "no rows": (IRIS, {"inputs": [tensor("x", [0, 4], "FP32", [])]}, "rows"),
    "nested unlike its shape": (
        IRIS,
        {"inputs": [tensor("x", [1, 4], "FP32", [[1, 2], [3, 4]])]},
        "[2, 2]",
    ),
    "ragged": (IRIS, {"inputs": [tensor("x", [1, 4], "FP32", [[1, 2, 3], [4]])]}, "ragged"),
    "NaN for an integer": (COUNTS, b'{"inputs": [{"name": "counts", "shape": [1, 3], '
                           b'"datatype": "INT64", "data": [1, NaN, 3]}]}', "NaN"),
    "1.0 for an integer": (COUNTS, counted([1, 1.0, 3]), "1.0"),
    "text for numbers": (COUNTS, counted(["1", "2", "3"]), '"1"'),
    "two sources": (COUNTS, counted([1, 2, 3], parameters={"binary_data_size": 24}), "binary_data"),
    "a missing input": (
        "/v2/models/pair/infer",
        {"inputs": [tensor("a", [1, 2], "FP32", [1, 2])]},
        "'b'",
    ),
    "an unknown output": (IRIS, flower(outputs=[{"name": "y"}]), "'y'"),
    "an output twice": (IRIS, flower(outputs=[{"name": "label"}] * 2), "twice"),
    "an id that is no string": (IRIS, flower(id=7), "id"),
    "a timeout that is no number": (IRIS, flower(parameters={"timeout": "1s"}), "timeout"),
    "classes of texts": (
        "/v2/models/flowers/infer",
        flower(outputs=[{"name": "label", "parameters": {"classification": 1}}]),
        "label",
    ),
    "no classes": (
        IRIS,
        flower(outputs=[{"name": "probabilities", "parameters": {"classification": 0}}]),
        "classification",
    ),
    "not JSON": (IRIS, b"\x00\x01", "JSON"),
    "empty": (IRIS, b"", "empty"),
    "deep": (IRIS, b'{"inputs":' + b"[" * 250_000, "100"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_bad_requests(server, case):
    path, body, word = CASES[case]
    assert word in bare_error(server.post(path, body), 400)


@pytest.mark.parametrize("path", ["/v2/models/nobody/infer", "/v2/models/iris/versions/9/infer"])
def test_what_is_not_there(server, path):
    bare_error(server.post(path, flower()), 404)


@pytest.mark.parametrize(
    "body",
    [
        flower(outputs=[{"name": "label", "parameters": {"shared_memory_region": "r"}}]),
        {
            "inputs": [
                {
                    "name": "x",
                    "shape": [1, 4],
                    "datatype": "FP32",
                    "parameters": {"shared_memory_region": "r"},
                }
            ]
        },
    ],
)
def test_shared_memory_of_callers_is_not_read(server, body):
    assert "in shared memory is not read" in bare_error(server.post(IRIS, body), 501)
