from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from maas.client.address import Address
from maas.client.inference import ModelMetadata
from maas.client.load.bodies import MOST_BODIES, Target, draw, make_bodies, make_requests
from maas.core.errors import MaasError
from maas.core.identity import parse_ref
from maas.core.tensor import DType, TensorSpec

ONE = (TensorSpec("x", DType.FP32, (None, 2)),)
TWO = (TensorSpec("age", DType.INT64, (None,)), TensorSpec("city", DType.BYTES, (None,)))
FIXED = (TensorSpec("x", DType.FP32, (2,)),)
OUT = (TensorSpec("y", DType.FP32, (None,)),)


def target(
    specs: tuple[TensorSpec, ...] = ONE,
    protocol: Any = "plain",
    ref: str = "鸢尾",
    url: str = "http://127.0.0.1:8080",
    key: str = "",
) -> Target:
    known = ModelMetadata("m", specs, OUT)
    return Target(Address(url, key, True), parse_ref(ref), known, protocol)


@pytest.mark.parametrize(
    ("protocol", "ref", "path"),
    [
        ("plain", "iris", "/iris/predict"),
        ("plain", "鸢尾:3", "/%E9%B8%A2%E5%B0%BE:3/predict"),
        ("plain", "iris@prod", "/iris@prod/predict"),
        ("oip", "iris", "/v2/models/iris/infer"),
        ("oip", "iris:3", "/v2/models/iris/versions/3/infer"),
        ("oip", "iris@prod", "/v2/models/iris@prod/infer"),
        ("tfserving", "iris", "/v1/models/iris:predict"),
        ("tfserving", "iris:3", "/v1/models/iris/versions/3:predict"),
        ("tfserving", "iris@prod", "/v1/models/iris/labels/prod:predict"),
    ],
)
def test_paths(protocol: str, ref: str, path: str) -> None:
    assert target(protocol=protocol, ref=ref).path == path
    behind = target(protocol=protocol, ref=ref, url="https://host/maas")
    assert behind.path == f"/maas{path}"


@pytest.mark.parametrize("dtype", [each for each in DType if each is not DType.FP16])
def test_drawn_values_fit_their_spec(dtype: DType) -> None:
    drawn = draw(TensorSpec("x", dtype, (None, 3, None)), 5, np.random.default_rng(0))
    assert drawn.shape == (5, 3, 8)
    assert drawn.dtype == dtype.numpy
    assert len({str(value) for value in drawn.ravel().tolist()}) > 1


def test_drawn_bodies_differ_and_are_the_same_again() -> None:
    bodies = make_bodies(target(), None, 3, seed=1)
    assert len(set(bodies)) == 16
    assert bodies == make_bodies(target(), None, 3, seed=1)
    assert np.shape(json.loads(bodies[0])["input_data"]) == (3, 2)


def test_given_rows_come_in_turn_and_around() -> None:
    given = {"age": np.array([1, 2, 3]), "city": np.array(["a", "b", "c"], dtype=object)}
    bodies = [json.loads(body) for body in make_bodies(target(TWO), given, 2, seed=0)]
    assert bodies == [{"age": [1, 2], "city": ["a", "b"]}, {"age": [3, 1], "city": ["c", "a"]}]
    serving = make_bodies(target(TWO, "tfserving"), given, 3, seed=0)
    assert [json.loads(body) for body in serving] == [
        {"inputs": {"age": [1, 2, 3], "city": ["a", "b", "c"]}}
    ]
    (first, *_) = make_bodies(target(TWO, "oip"), given, 1, seed=0)
    assert json.loads(first)["inputs"][0] == {
        "name": "age",
        "shape": [1],
        "datatype": "INT64",
        "data": [1],
    }
    many = {"x": np.zeros((1000, 2))}
    assert len(make_bodies(target(), many, 1, seed=0)) == MOST_BODIES


def test_a_model_without_rows_takes_its_input_whole() -> None:
    given = {"x": np.array([1.0, 2.0])}
    assert make_bodies(target(FIXED), given, 1, seed=0) == (b'{"input_data": [1.0, 2.0]}',)
    with pytest.raises(MaasError, match="does not take rows"):
        make_bodies(target(FIXED), None, 2, seed=0)
    with pytest.raises(MaasError, match="no rows"):
        make_bodies(target(), {"x": np.zeros((0, 2))}, 1, seed=0)


def test_requests_are_whole() -> None:
    (request,) = make_requests(target(key="maas_k", url="http://[::1]:80"), ["好".encode()])
    head, _, body = request.partition(b"\r\n\r\n")
    assert body.decode() == "好"
    lines = head.decode("ascii").split("\r\n")
    assert lines[0] == "POST /%E9%B8%A2%E5%B0%BE/predict HTTP/1.1"
    assert {"Host: [::1]:80", "Authorization: Bearer maas_k", "Content-Length: 3"} <= {*lines}
