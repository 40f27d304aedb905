"""HandleReloadConfigRequest: the configuration is replaced, with tensorflow-serving-api's stub."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.answers import bare_error, check_sentence

from maas.wire.envoy import why_not

SCRIPT = Path(__file__).with_name("stubs.py")
X = {"instances": [[1, 2]]}
PINNED = """
model_config_list {
  config { name: "counts" }
  config { name: "m" model_version_policy { specific { versions: 1 } } }
}
"""
BOTH = """
model_config_list {
  config { name: "counts" base_path: "/models/counts" model_platform: "tensorflow" }
  config { name: "m" version_labels { key: "prod" value: 1 } }
}
"""
ONE = """
model_config_list {
  config {
    name: "m"
    model_version_policy { specific { versions: 2 versions: 1 } }
    version_labels { key: "canary" value: 2 }
  }
}
"""


def reload(server: Any, config: str, key: str | None = None) -> tuple[str, str]:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(server.port), server.key if key is None else key, config],
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    code, sentence = json.loads(done.stdout)
    if code != "OK":
        check_sentence(sentence)
    return code, sentence


def test_a_configuration_is_replaced(start_any, small_home):
    pytest.importorskip("grpc", reason="needs grpcio")
    pytest.importorskip("tensorflow_serving", reason="needs tensorflow-serving-api")
    if why_not():
        pytest.skip(f"gRPC needs Envoy: {why_not()}")
    server = start_any(like=small_home)

    assert reload(server, ONE) == ("OK", "")
    answer = server.post("/v1/models/m:predict", X)
    assert (answer.headers["maas-model"], answer.json()) == ("m:2", {"predictions": [[2.0, 4.0]]})
    assert server.post("/v1/models/m/labels/canary:predict", X).headers["maas-model"] == "m:2"
    bare_error(server.post("/v1/models/m/labels/prod:predict", X), 404)
    bare_error(server.post("/v1/models/counts:predict", {"instances": [[1, 2, 3]]}), 503)
    states = [
        one["state"] for one in server.get("/v1/models/counts").json()["model_version_status"]
    ]
    assert states == ["END"]

    assert reload(server, PINNED) == ("OK", "")
    assert server.post("/v1/models/m:predict", X).headers["maas-model"] == "m:1"
    assert reload(server, BOTH) == ("OK", "")
    assert server.post("/v1/models/m:predict", X).headers["maas-model"] == "m:2"
    assert server.post("/v1/models/counts:predict", {"instances": [[1, 2, 3]]}).json() == {
        "predictions": [[6]]
    }
    assert server.post("/v1/models/m/labels/prod:predict", X).headers["maas-model"] == "m:1"
    bare_error(server.post("/v1/models/m/labels/canary:predict", X), 404)

    for config, key, code, word in (
        (BOTH, "", "UNAUTHENTICATED", "key"),
        ('model_config_list { config { name: "new" base_path: "/x" } }', None,
         "FAILED_PRECONDITION", "maas publish"),
        ('model_config_list { config { name: "m" version_labels { key: "a" value: 9 } } }', None,
         "FAILED_PRECONDITION", "no version 9"),
        ("custom_model_config {}", None, "INVALID_ARGUMENT", "model_config_list"),
    ):  # fmt: skip
        found, sentence = reload(server, config, key)
        assert (found, word in sentence) == (code, True), sentence
    assert server.post("/v1/models/m:predict", X).status_code == 200
