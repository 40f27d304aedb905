from __future__ import annotations

import json
from typing import Any

from maas_stub_server import Stub, make_model

from maas.core.states import ServableState


def test_models_is_a_table_with_state_and_reason(stub: Stub, maas: Any) -> None:
    reason = "the file is damaged: " + "x" * 300
    broken = make_model("坏", (1,), state=ServableState.END, reason=reason, serving_version=None,
                        aliases={})  # fmt: skip
    stub.on("GET /api/models", 200, {"models": [make_model("iris"), broken], "cursor": None})
    result = maas("models")
    header, iris, other = result.out.splitlines()
    assert header.split() == [
        "NAME",
        "SERVING",
        "DEFAULT",
        "VERSIONS",
        "ALIASES",
        "STATE",
        "REASON",
    ]
    assert iris.split() == ["iris", "2", "2", "2,", "1", "prod=1", "AVAILABLE", "-"]
    # Nothing is cut or folded in a pipe.
    assert other.split()[:3] == ["坏", "-", "1"]
    assert other.rstrip().endswith(reason)


def test_models_json_is_the_records(stub: Stub, maas: Any) -> None:
    (model,) = json.loads(maas("models", "--json").out)
    assert model["name"] == "iris"
    assert model["versions"][0]["report"]["engine"] == "onnx"


def test_no_models_says_what_to_do_on_stderr(stub: Stub, maas: Any) -> None:
    stub.on("GET /api/models", 200, {"models": [], "cursor": None})
    result = maas("models")
    assert result.out == ""
    assert "maas publish" in result.err
    assert json.loads(maas("models", "--json").out) == []


def test_delete(stub: Stub, maas: Any) -> None:
    assert maas("delete", "iris:2", "--yes").out == "deleted version 2 of iris\n"
    assert maas("delete", "iris", "-y").out == "deleted iris\n"
    assert [p for p in stub.paths() if p.startswith("DELETE")] == [
        "DELETE /api/models/iris/versions/2",
        "DELETE /api/models/iris",
    ]


def test_delete_says_where_nothing_takes_unversioned_calls_any_more(stub: Stub, maas: Any) -> None:
    stub.on("GET /api/models/iris", 200, make_model("iris"))
    stub.on("DELETE /api/models/iris/versions/1", 204, b"")
    result = maas("delete", "iris:2", "-y")
    assert "maas deploy iris --traffic 1=100" in result.err
    assert maas("delete", "iris:1", "-y").err == ""
    assert json.loads(maas("delete", "iris:2", "--json").out) == {"name": "iris", "version": 2}
    stub.on("GET /api/models/iris", 200, make_model("iris", previous_version=1))
    assert maas("delete", "iris:2", "-y").err == ""


def test_alias(stub: Stub, maas: Any) -> None:
    assert maas("alias", "iris", "prod", "2").out == "iris@prod is version 2\n"
    assert stub.last("PUT").body == b'{"version":2}'
    assert maas("alias", "iris", "prod", "--delete").out == "iris has no alias prod any more\n"
    assert stub.last("DELETE").path == "/api/models/iris/aliases/prod"


def test_rollback(stub: Stub, maas: Any) -> None:
    assert maas("rollback", "iris").out == "iris goes back to version 1\n"
    assert json.loads(maas("rollback", "iris", "--json").out)["default_version"] == 1


def test_ps(stub: Stub, maas: Any) -> None:
    header, row = maas("ps").out.splitlines()
    assert "STATE" in header.split()
    assert "REASON" in header.split()
    for text in ("host-1", "42", "ready", "iris:2", "50.0 MB", "1.5 s", "killed by signal 9"):
        assert text in row
    assert json.loads(maas("ps", "--json").out)[0]["memory_bytes"] == 50_000_000


def test_logs(stub: Stub, maas: Any) -> None:
    lines = maas("logs", "iris").out.splitlines()
    assert lines[0] == "t1 info    host-1 [iris] 花"
    assert stub.last("GET").query == [("lines", "200"), ("follow", "false")]
    lines = maas("logs", "-f", "-n", "5", "--json").out.splitlines()
    assert json.loads(lines[0])["message"] == "花"
    assert stub.last("GET").path == "/api/logs"
    assert stub.last("GET").query == [("lines", "5"), ("follow", "true")]


def test_keys(stub: Stub, maas: Any) -> None:
    result = maas("keys", "create", "--name", "anna", "--role", "publisher")
    # The key alone is on stdout, so that KEY=$(maas keys create …) holds it.
    assert result.out == "maas_new\n"
    assert "only now" in result.err
    assert json.loads(stub.last("POST").body) == {"name": "anna", "role": "publisher"}
    assert json.loads(maas("keys", "create", "--name", "a", "--json").out)["key"] == "maas_new"
    listed = maas("keys", "list").out
    assert "anna" in listed
    assert "maas_" not in listed
    assert json.loads(maas("keys", "list", "--json").out)[0]["role"] == "caller"
    assert maas("keys", "revoke", "k1").out == "revoked key k1 of anna\n"
