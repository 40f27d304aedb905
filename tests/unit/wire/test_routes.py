from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maas.core.errors import ErrorKind, MaasError
from maas.core.identity import ModelRef
from maas.wire.routes import Dialect
from maas.wire.table import FAMILIES, family_of, match

IRIS, THIRD, PROD = ModelRef("iris"), ModelRef("iris", version=3), ModelRef("iris", alias="prod")

ROUTES = [
    (b"/", Dialect.PLAIN, "index", "GET", None),
    (b"/livez", Dialect.PLAIN, "live", "GET", None),
    (b"/readyz", Dialect.PLAIN, "ready", "GET", None),
    (b"/healthz", Dialect.PLAIN, "ready", "GET", None),
    (b"/predict", Dialect.PLAIN, "predict", "POST", None),
    (b"/classify", Dialect.PLAIN, "classify", "POST", None),
    (b"/iris/predict", Dialect.PLAIN, "predict", "POST", IRIS),
    (b"/iris:3/predict", Dialect.PLAIN, "predict", "POST", THIRD),
    (b"/iris%3A3/predict", Dialect.PLAIN, "predict", "POST", THIRD),
    (b"/iris@prod/classify", Dialect.PLAIN, "classify", "POST", PROD),
    (b"/%E6%A8%A1%E5%9E%8B/predict", Dialect.PLAIN, "predict", "POST", ModelRef("模型")),
    ("/模型/predict".encode(), Dialect.PLAIN, "predict", "POST", ModelRef("模型")),
    (b"/console2/predict", Dialect.PLAIN, "predict", "POST", ModelRef("console2")),
    (b"/predictions2/predict", Dialect.PLAIN, "predict", "POST", ModelRef("predictions2")),
    (b"/v2", Dialect.OIP, "server_metadata", "GET", None),
    (b"/v2/health/live", Dialect.OIP, "live", "GET", None),
    (b"/v2/health/ready", Dialect.OIP, "ready", "GET", None),
    (b"/v2/models/iris", Dialect.OIP, "model_metadata", "GET", IRIS),
    (b"/v2/models/iris@prod", Dialect.OIP, "model_metadata", "GET", PROD),
    (b"/v2/models/iris/versions/3", Dialect.OIP, "model_metadata", "GET", THIRD),
    (b"/v2/models/iris/ready", Dialect.OIP, "model_ready", "GET", IRIS),
    (b"/v2/models/iris/versions/3/ready", Dialect.OIP, "model_ready", "GET", THIRD),
    (b"/v2/models/iris/infer", Dialect.OIP, "predict", "POST", IRIS),
    (b"/v2/models/iris/versions/3/infer", Dialect.OIP, "predict", "POST", THIRD),
    (b"/v2/models/iris%40prod/infer", Dialect.OIP, "predict", "POST", PROD),
    (b"/v2/models/iris/config", Dialect.OIP, "config", "GET", IRIS),
    (b"/v2/models/iris/versions/3/config", Dialect.OIP, "config", "GET", THIRD),
    (b"/v2/models/iris/stats", Dialect.OIP, "statistics", "GET", IRIS),
    (b"/v2/models/iris/versions/3/stats", Dialect.OIP, "statistics", "GET", THIRD),
    (b"/v2/models/iris/generate", Dialect.OIP, "generate", "POST", IRIS),
    (b"/v2/models/iris/versions/3/generate_stream", Dialect.OIP, "generate_stream", "POST", THIRD),
    (b"/v2/models/stats", Dialect.OIP, "statistics", "GET", None),
    (b"/v2/models/stats/infer", Dialect.OIP, "predict", "POST", ModelRef("stats")),
    (b"/v2/models/iris/trace/setting", Dialect.OIP, "tracing", "GET POST", IRIS),
    (b"/v2/trace/setting", Dialect.OIP, "tracing", "GET POST", None),
    (b"/v2/logging", Dialect.OIP, "logging", "GET POST", None),
    (b"/v2/repository/index", Dialect.OIP, "index", "POST", None),
    (b"/v2/repository/models/iris/load", Dialect.OIP, "load", "POST", IRIS),
    (b"/v2/repository/models/iris/unload", Dialect.OIP, "unload", "POST", IRIS),
    (b"/v2/systemsharedmemory/status", Dialect.OIP, "regions", "GET", None),
    (b"/v2/cudasharedmemory/status", Dialect.OIP, "regions", "GET", None),
    (b"/v2/systemsharedmemory/region/a/status", Dialect.OIP, "region", "GET", None),
    (b"/v2/cudasharedmemory/region/a/register", Dialect.OIP, "register", "POST", None),
    (b"/v2/systemsharedmemory/region/a/unregister", Dialect.OIP, "unregister", "POST", None),
    (b"/v2/systemsharedmemory/unregister", Dialect.OIP, "unregister", "POST", None),
    (b"/v1/models/iris", Dialect.TFSERVING, "model_status", "GET", IRIS),
    (b"/v1/models/iris/versions/3", Dialect.TFSERVING, "model_status", "GET", THIRD),
    (b"/v1/models/iris/labels/prod", Dialect.TFSERVING, "model_status", "GET", PROD),
    (b"/v1/models/iris/metadata", Dialect.TFSERVING, "model_metadata", "GET", IRIS),
    (b"/v1/models/iris/versions/3/metadata", Dialect.TFSERVING, "model_metadata", "GET", THIRD),
    (b"/v1/models/iris/labels/prod/metadata", Dialect.TFSERVING, "model_metadata", "GET", PROD),
    (b"/v1/models/iris:predict", Dialect.TFSERVING, "predict", "POST", IRIS),
    (b"/v1/models/iris/versions/3:predict", Dialect.TFSERVING, "predict", "POST", THIRD),
    (b"/v1/models/iris/labels/prod:predict", Dialect.TFSERVING, "predict", "POST", PROD),
    (b"/v1/models/iris:classify", Dialect.TFSERVING, "classify", "POST", IRIS),
    (b"/v1/models/iris/versions/3:classify", Dialect.TFSERVING, "classify", "POST", THIRD),
    (b"/v1/models/iris/labels/prod:regress", Dialect.TFSERVING, "regress", "POST", PROD),
    (b"/v1/models/metadata", Dialect.TFSERVING, "model_status", "GET", ModelRef("metadata")),
    (b"/v1/models", Dialect.KSERVE, "models", "GET", None),
    (b"/v1/chat/completions", Dialect.OPENAI, "chat", "POST", None),
    (b"/v1/completions", Dialect.OPENAI, "completion", "POST", None),
    (b"/invocations", Dialect.MLFLOW, "predict", "POST", None),
    (b"/ping", Dialect.MLFLOW, "ready", "GET", None),
    (b"/health", Dialect.MLFLOW, "ready", "GET", None),
    (b"/version", Dialect.MLFLOW, "version", "GET", None),
    (b"/models", Dialect.TORCHSERVE, "models", "GET POST PUT DELETE", None),
    (b"/models/iris", Dialect.TORCHSERVE, "model_status", "GET POST PUT DELETE", IRIS),
    (b"/models/iris/3", Dialect.TORCHSERVE, "model_status", "GET POST PUT DELETE", THIRD),
    (b"/predictions/iris", Dialect.TORCHSERVE, "predict", "POST PUT", IRIS),
    (b"/predictions/iris/3", Dialect.TORCHSERVE, "predict", "POST PUT", THIRD),
    (b"/predictions/iris/3.0", Dialect.TORCHSERVE, "predict", "POST PUT", THIRD),
    (b"/predictions/iris@prod", Dialect.TORCHSERVE, "predict", "POST PUT", PROD),
]  # fmt: skip


@pytest.mark.parametrize(("path", "dialect", "verb", "method", "ref"), ROUTES)
def test_a_path_is_understood(
    path: bytes, dialect: Dialect, verb: str, method: str, ref: ModelRef | None
) -> None:
    route = match(path)
    assert (route.dialect, route.verb, [*route.handlers], route.ref) == (
        dialect, verb, method.split(), ref
    )  # fmt: skip
    assert family_of(path).dialect is dialect


def refused(path: bytes) -> MaasError:
    with pytest.raises(MaasError) as caught:
        match(path)
    return caught.value


NAMES = [
    b"..", b".", b"%2e%2e", b"%2E%2E", b".%2e", b"%252e%252e", b"..%2f", b"..%2Fetc",
    b"%2e%2e%2fetc%2fpasswd", b"..%5c", b"%2fetc%2fpasswd", b"iris%2f", b"iris%2F..", b"iris%5c",
    b"%00", b"iris%00", b"\x00iris", b"iris\x00", b"%20iris", b" iris", b"iris%20", b"iris%0a",
    b"iris%0d%0a", b"%09iris", b"file%3A%2F%2F%2Fetc%2Fpasswd", b"file:", b"http%3A%2F%2Fevil",
    b"", b"%", b"%zz", b"a" * 129, b"%3Cscript%3E", b"iris%3Fx=1", b"iris%23", b"-iris", b"_iris",
    b"iris:", b"iris@", b"iris@..", b"%E2%80%AEiris", b"%EF%BB%BFiris", b"a;b", b"'or'1", b"*",
]  # fmt: skip
SHAPES = [
    b"/%s/predict",
    b"/%s/classify",
    b"/v2/models/%s",
    b"/v2/models/%s/infer",
    b"/v2/models/%s/ready",
    b"/v2/models/%s/versions/1",
    b"/v2/models/%s/versions/1/infer",
    b"/v1/models/%s",
    b"/v1/models/%s:predict",
    b"/v1/models/%s/metadata",
    b"/v1/models/%s/versions/1",
    b"/v1/models/%s/versions/1:predict",
    b"/v1/models/%s/labels/prod",
    b"/v1/models/iris/labels/%s",
    b"/v1/models/iris/labels/%s:predict",
    b"/v1/models/iris/labels/%s:classify",
    b"/v1/models/%s:regress",
    b"/v1/models/iris/versions/%s",
    b"/v1/models/iris/versions/%s:predict",
    b"/v2/models/iris/versions/%s",
    b"/v2/models/iris/versions/%s/infer",
    b"/predictions/%s",
    b"/predictions/iris/%s",
    b"/models/%s",
]


@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_no_name_is_refused_on_every_route_that_takes_one(shape: bytes) -> None:
    for name in NAMES:
        path = shape % name
        assert (path, refused(path).kind) == (path, ErrorKind.INVALID_ARGUMENT)


@pytest.mark.parametrize("shape", SHAPES)
def test_bytes_that_are_not_utf_8_are_refused(shape: bytes) -> None:
    for name in (b"\xff", b"%ff", b"%c3", b"%ED%A0%80"):
        assert refused(shape % name).kind is ErrorKind.INVALID_ARGUMENT


TRAVERSALS = [
    b"/../predict", b"/../../etc/passwd", b"/..", b"/%2e%2e/predict", b"/%2e%2e%2f%2e%2e/predict",
    b"/iris/../api/predict", b"/iris/%2e%2e/predict", b"//iris/predict", b"/iris//predict",
    b"/iris/predict/", b"/iris/predict/..", b"/iris%2fpredict", b"/iris/predict%2f",
    b"/v2/models/../../api", b"/v2/models/iris/../infer", b"/v2/models/iris/%2e%2e/infer",
    b"/v2/models/iris/", b"/v2/models/iris/infer/", b"/v2/models/iris//infer", b"/v2/models/",
    b"/v2/models//infer", b"/v2/models/iris/versions/", b"/v2/models/iris/versions/1/",
    b"/v2/models/iris/versions/1/2/infer", b"/v2/../iris/predict", b"/v2/", b"/v2/health/live/",
    b"/v1/models/../../api", b"/v1/models/iris/", b"/v1/models/iris/../x:predict", b"/v1/models/",
    b"/v1/models//:predict", b"/v1/models/iris/versions/", b"/v1/models/iris/versions/1/",
    b"/file:///etc/passwd/predict", b"/v2/models/file:///etc/passwd/infer", b"/livez/",
    b"/readyz/..",
    b"/api/../iris/predict", b"/%2fapi", b"/v2%2fmodels/iris", b"\\iris\\predict",
    b"/iris\\predict",
    b"iris/predict", b"", b"*", b"http://localhost/iris/predict", b"/localhost/v1/models?",
]  # fmt: skip


@pytest.mark.parametrize("path", TRAVERSALS)
def test_no_encoding_moves_a_request_to_another_route(path: bytes) -> None:
    assert refused(path).kind in (ErrorKind.INVALID_ARGUMENT, ErrorKind.NOT_FOUND)


@pytest.mark.parametrize(
    "path", [b"/iris/predict/", b"/v2/models/iris/", b"/v2/models/iris/infer/",
             b"/v2/models/iris/versions/1/", b"/v1/models/iris/", b"/v1/models/iris/versions/1/"],
)  # fmt: skip
def test_a_trailing_slash_on_a_route_with_a_name_is_a_malformed_request(path: bytes) -> None:
    """Security's table: 400, on every route that takes a name."""
    assert refused(path).kind is ErrorKind.INVALID_ARGUMENT


MALFORMED = [
    b"/v1/models/iris:", b"/v1/models/iris:explode", b"/v1/models/iris:predict:predict",
    b"/v1/models/iris/versions", b"/v1/models/iris/versions/x", b"/v1/models/iris/versions/-1",
    b"/v1/models/iris/versions/1.0:predict", b"/v1/models/iris/versions/1/labels/prod",
    b"/v1/models/iris/labels", b"/v1/models/iris/stages/prod", b"/v1/models/iris/metadata:predict",
    b"/v1/models/iris/metadata/more", b"/v1/models/iris:predict/metadata", b"/v1/models/:predict",
    b"/v1/models/iris/versions/3/metadata/x", b"/v1/models/iris@prod:predict", b"/v1/models/iris:3",
]  # fmt: skip


@pytest.mark.parametrize("path", MALFORMED)
def test_a_malformed_tensorflow_serving_route_is_400(path: bytes) -> None:
    assert refused(path).kind is ErrorKind.INVALID_ARGUMENT
    assert family_of(path).dialect is Dialect.TFSERVING


def test_the_protocols_words_are_in_the_refusal() -> None:
    assert "expected /v1/models/NAME[/versions/N|/labels/L]" in refused(b"/v1/models/a/b/c").message


PLANNED = [
    b"/v1/embeddings", b"/v1/responses", b"/console", b"/console/x",
    b"/v1/models/iris/versions/3:explain",
]  # fmt: skip


@pytest.mark.parametrize("path", PLANNED)
def test_what_is_planned_is_not_built_yet(path: bytes) -> None:
    assert refused(path).kind is ErrorKind.UNIMPLEMENTED


@pytest.mark.parametrize(
    "path", [b"/favicon.ico", b"/nothing", b"/a/b", b"/a/b/predict", b"/v1", b"/v3/models",
             b"/v2/x", b"/v2/repository", b"/v2/repository/models/iris",
             b"/v2/repository/models/iris/x", b"/v2/systemsharedmemory/region//status",
             b"/v2/cudasharedmemory/x", b"/v2/models/iris/trace",
             b"/v2/models/iris/versions/3/trace/setting",
             b"/v2/models/iris/nothing", b"/v2/models", b"/v1/modelsx/iris", b"/iris/predictx"],
)  # fmt: skip
def test_what_is_no_route_is_not_found(path: bytes) -> None:
    assert refused(path).kind is ErrorKind.NOT_FOUND


def test_two_versions_in_one_path_are_one_too_many() -> None:
    for path in (b"/v2/models/iris:3/versions/3", b"/v2/models/iris@prod/versions/3/infer",
                 b"/predictions/iris:3/3"):  # fmt: skip
        assert "use one of them" in refused(path).message


def test_a_long_path_is_not_repeated_whole() -> None:
    assert len(refused(b"/" + b"x" * 30_000).message) < 300


@given(st.binary(max_size=60))
def test_any_bytes_are_a_route_or_an_error_of_ours(path: bytes) -> None:
    for prefix in (b"/", b"/v1/models/", b"/v2/models/", b""):
        try:
            route = match(prefix + path)
        except MaasError:
            continue
        assert route.ref is not None or prefix + path in {one[0] for one in ROUTES}


def test_only_probes_and_the_index_answer_without_a_key() -> None:
    without = [match(path) for path, *_ in ROUTES if match(path).open]
    assert {route.verb for route in without} == {"index", "live", "ready", "version"}
    assert all(route.ref is None for route in without)
    assert all(
        route.verb in ("index", "live", "ready", "version")
        for family in FAMILIES
        for route in family.fixed.values()
        if route.open
    )
