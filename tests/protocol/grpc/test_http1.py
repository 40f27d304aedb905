"""What a method's path answers over HTTP/1.1, which has no trailers to end a gRPC answer with."""

from __future__ import annotations

import pytest
import requests

INFER = "/inference.GRPCInferenceService/ModelInfer"


@pytest.mark.parametrize("path", [INFER, "/nobody.Knows/It"])
@pytest.mark.parametrize("kind", ["application/grpc", "application/json"])
def test_a_method_is_no_route_of_http_1(server, path, kind):
    answer = requests.post(server.url + path, b"{}", headers={"content-type": kind}, timeout=10)
    assert answer.status_code == 404
    assert "no such route" in answer.json()["error"]["message"]
    assert "Unexpected ASGI message" not in server.log()
