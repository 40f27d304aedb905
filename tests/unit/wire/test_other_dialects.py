"""MLflow's, TorchServe's and KServe's paths on the data plane."""

from __future__ import annotations

import pytest
from maas_test_plane import Server

from maas.core.errors import ErrorKind, MaasError
from maas.wire.dataplane import Endpoint
from maas.wire.defaults import default_model
from maas.wire.query import query_values
from maas.wire.table import family_of, match

ROWS = {"inputs": [[1, 2], [3, 4]]}
JSON = "application/json"


async def test_an_invocation_names_its_model_in_a_header(server: Server) -> None:
    for header in ("x_model", "x_amzn_sagemaker_target_model"):
        for name, answered in (("iris", "iris:3"), ("iris:1", "iris:1"), ("iris@prod", "iris:1")):
            got = await server.ask(
                "POST", "/invocations", ROWS, content_type=JSON, **{header: name}
            )
            assert got.json == {"predictions": [[2.0, 4.0], [6.0, 8.0]]}
            assert got.headers["maas-model"] == answered
    got = await server.ask(
        "POST", "/invocations", b"a\n\xe4\xb8\xad\n", content_type="text/csv",
        x_amzn_sagemaker_target_model="/%E6%A8%A1%E5%9E%8B.tar.gz",
    )  # fmt: skip
    assert got.headers["maas-model"] == "%E6%A8%A1%E5%9E%8B:1"


async def test_an_invocation_without_a_model_names_the_candidates(server: Server) -> None:
    got = await server.ask("POST", "/invocations", ROWS, content_type=JSON)
    assert got.status == 400
    assert got.json["error_code"] == "BAD_REQUEST"
    assert "X-Model" in got.json["message"]
    assert "iris, 模型" in got.json["message"]


async def test_an_invocations_content_type_comes_before_its_model(server: Server) -> None:
    got = await server.ask("POST", "/invocations", ROWS)
    assert got.status == 415
    assert "application/json" in got.json["message"]


async def test_errors_of_mlflow(server: Server) -> None:
    got = await server.ask("POST", "/invocations", ROWS, content_type=JSON, x_model="nobody")
    assert (got.status, got.json["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")
    got = await server.ask("POST", "/invocations", ROWS, content_type=JSON, x_model=b"\xff")
    assert got.status == 400
    got = await server.ask("GET", "/invocations")
    assert (got.status, got.headers["allow"]) == (405, "POST")


async def test_npy_is_answered_where_it_is_accepted(server: Server) -> None:
    got = await server.ask(
        "POST", "/invocations", ROWS, content_type=JSON, x_model="iris", accept="application/x-npy"
    )
    assert got.headers["content-type"] == "application/x-npy"
    assert got.body.startswith(b"\x93NUMPY")


@pytest.mark.parametrize("path", ["/ping", "/health"])
async def test_health_needs_no_key_and_says_when_it_is_bad(locked: Server, path: str) -> None:
    got = await locked.ask("GET", path)
    assert (got.status, got.json) == (200, {"status": "Healthy"})
    locked.ready = False
    got = await locked.ask("GET", path)
    assert (got.status, got.json) == (503, {"status": "Unhealthy"})


async def test_version(server: Server) -> None:
    got = await server.ask("GET", "/version")
    assert got.headers["content-type"].startswith("text/plain")
    assert got.body.decode()[0].isdigit()


@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_a_prediction(server: Server, method: str) -> None:
    got = await server.ask(method, "/predictions/iris", [[1, 2]], content_type=JSON)
    assert got.json == [[2.0, 4.0]]
    got = await server.ask(method, "/predictions/iris/1", b"\0\0\x80\x3f" * 2)
    assert got.json == [[2.0, 2.0]]
    assert got.headers["maas-model"] == "iris:1"


async def test_errors_of_torchserve(server: Server) -> None:
    got = await server.ask("POST", "/predictions/nobody", [[1, 2]], content_type=JSON)
    assert got.status == got.json["code"] == 404
    assert got.json["type"] == "ModelNotFoundException"
    got = await server.ask("POST", "/predictions/iris", b"\xff\xd8\xff", content_type="image/jpeg")
    assert got.status == got.json["code"] == 415
    got = await server.ask("DELETE", "/predictions/iris")
    assert got.status == got.json["code"] == 405


async def test_models_are_listed_in_pages(server: Server) -> None:
    got = await server.ask("GET", "/models")
    assert [one["modelName"] for one in got.json["models"]] == ["iris", "模型"]
    assert "nextPageToken" not in got.json


async def test_a_model_is_described(server: Server) -> None:
    got = await server.ask("GET", "/models/iris")
    assert [one["modelVersion"] for one in got.json] == ["3", "1"]
    got = await server.ask("GET", "/models/iris/1")
    assert [one["modelVersion"] for one in got.json] == ["1"]
    assert (await server.ask("GET", "/models/nobody")).status == 404


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/models"), ("PUT", "/models/iris"), ("DELETE", "/models/iris/1")],
)
async def test_models_are_managed_elsewhere(server: Server, method: str, path: str) -> None:
    got = await server.ask(method, path)
    assert got.status == got.json["code"] == 501
    assert "maas publish" in got.json["message"]


async def test_kserves_list(server: Server) -> None:
    got = await server.ask("GET", "/v1/models")
    assert got.json == {"models": ["iris", "模型"], "object": "list", "data": []}


async def test_kserves_fields_stand_beside_tensorflow_servings(server: Server) -> None:
    got = await server.ask("GET", "/v1/models/iris")
    assert got.json["name"] == "iris"
    assert got.json["ready"] is False
    assert len(got.json["model_version_status"]) == 2


@pytest.mark.parametrize("path", ["/models", "/v1/models", "/invocations", "/predictions/iris"])
async def test_all_but_health_wants_a_key(locked: Server, path: str) -> None:
    method = "POST" if path in ("/invocations", "/predictions/iris") else "GET"
    assert (await locked.ask(method, path)).status == 401


def test_of_the_open_inference_protocol_predictions_alone_are_compressed() -> None:
    for path, compressed in (
        (b"/v2/models/iris/infer", True),
        (b"/v2/models/iris", False),
        (b"/v2/models/stats", False),
        (b"/v2/repository/index", False),
        (b"/v1/models/iris/metadata", True),
    ):
        assert Endpoint(match(path), family_of(path)).compressed is compressed


async def test_the_default_model(server: Server) -> None:
    assert str(default_model(server.plane, "iris:3")) == "iris:3"
    assert str(default_model(server.plane, "", texts=True)) == "模型"
    assert str(default_model(server.plane, "", texts=False)) == "iris"
    with pytest.raises(MaasError, match="several models serve here"):
        default_model(server.plane, "")


def test_a_query_of_too_many_fields_is_refused() -> None:
    assert query_values(b"model=a%3A1&x=&model=b") == {b"model": b"a:1"}
    assert query_values(b"") == {}
    with pytest.raises(MaasError) as caught:
        query_values(b"&".join(b"a=1" for _ in range(100)))
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT
