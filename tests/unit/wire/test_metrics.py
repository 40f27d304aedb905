from __future__ import annotations

from litestar import Litestar, Response
from litestar.testing import TestClient
from prometheus_client.parser import text_string_to_metric_families

from maas.core.errors import ErrorKind, MaasError
from maas.telemetry.exposition import Merged, render
from maas.telemetry.series import Series
from maas.wire.metrics import metrics_route


def test_metrics_are_prometheus_text_for_whoever_may_read_them() -> None:
    merged = Merged()
    merged.update("p", (Series("maas_rows_total", ("模型", "1", "oip"), 3.0),))

    def allowed(headers: list[tuple[bytes, bytes]]) -> None:
        if (b"authorization", b"Bearer k") not in headers:
            raise MaasError(ErrorKind.UNAUTHENTICATED, "no key")

    route = metrics_route(lambda: render(merged.series(), ()), allowed)
    refuse = {MaasError: lambda request, error: _refusal(error)}
    with TestClient(Litestar([route], exception_handlers=refuse)) as client:
        assert client.get("/metrics").status_code == 401
        got = client.get("/metrics", headers={"authorization": "Bearer k"})
        head = client.head("/metrics", headers={"authorization": "Bearer k"})
    assert (head.status_code, head.content) == (200, b"")
    assert got.status_code == 200
    assert got.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    found = {family.name: family for family in text_string_to_metric_families(got.text)}
    [sample] = found["maas_rows"].samples
    assert (sample.labels["model"], sample.value) == ("模型", 3)


def _refusal(error: MaasError) -> Response[str]:
    return Response(error.message, status_code=401)
