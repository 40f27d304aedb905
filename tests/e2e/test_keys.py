"""Two planes: the control API always wants a key, predictions where the setting says so."""

from __future__ import annotations

import re

import pytest
from tests import zoo
from tests.answers import bare_error, error, plain_error

FLOWER = {"input_data": [zoo.FLOWER]}
DATA_PLANE = [
    ("POST", "/iris/predict"),
    ("POST", "/iris/classify"),
    ("POST", "/predict"),
    ("POST", "/classify"),
    ("GET", "/v2"),
    ("GET", "/v2/models/iris"),
    ("GET", "/v2/models/iris/ready"),
    ("GET", "/v2/models/iris/versions/1"),
    ("GET", "/v2/models/iris/versions/1/ready"),
    ("POST", "/v2/models/iris/infer"),
    ("POST", "/v2/models/iris/versions/1/infer"),
    ("GET", "/v1/models/iris"),
    ("GET", "/v1/models/iris/metadata"),
    ("GET", "/v1/models/iris/versions/1"),
    ("GET", "/v1/models/iris/labels/prod"),
    ("POST", "/v1/models/iris:predict"),
    ("POST", "/v1/models/iris/versions/1:predict"),
    ("POST", "/v1/models/iris/labels/prod:predict"),
    ("POST", "/v2/models/iris/generate"),
    ("POST", "/v2/models/iris/versions/1/generate_stream"),
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/completions"),
    ("GET", "/v1/models"),
    ("GET", "/metrics"),
]
PROBES = ["/", "/livez", "/readyz", "/healthz", "/v2/health/live", "/v2/health/ready"]
WRONG = {"authorization": "Bearer maas-wrong-key"}


def refused(path: str, answer) -> str:
    assert answer.headers["www-authenticate"].startswith("Bearer")
    return error(path, answer, 401)


@pytest.mark.parametrize(("method", "path"), DATA_PLANE)
def test_every_route_of_predictions_wants_a_key(guarded, method, path):
    assert "no key" in refused(path, guarded.ask(method, path, json=FLOWER)) or True
    refused(path, guarded.ask(method, path, json=FLOWER, headers=WRONG))
    near = {"authorization": f"Bearer {guarded.key[:-1]}"}
    refused(path, guarded.ask(method, path, json=FLOWER, headers=near))
    good = {"authorization": f"Bearer {guarded.key}"}
    # The bodies above fit some routes only; what counts is that they are let through.
    assert guarded.ask(method, path, json=FLOWER, headers=good).status_code in (200, 400)


def test_the_sentences_say_what_to_do(guarded):
    none = refused("/", guarded.post("/iris/predict", FLOWER))
    assert "Authorization: Bearer" in none
    assert "not valid" in refused("/", guarded.post("/iris/predict", FLOWER, headers=WRONG))


@pytest.mark.parametrize("path", PROBES)
def test_probes_want_none(guarded, path):
    assert guarded.get(path).status_code == 200
    assert guarded.get(path, headers=WRONG).status_code == 200


@pytest.mark.parametrize(
    "headers",
    ["authorization: Bearer {}", "authorization: bearer {}", "x-api-key: {}", "api-key: {}"],
)
def test_where_a_key_may_stand(guarded, headers):
    name, _, value = headers.format(guarded.key).partition(": ")
    assert guarded.post("/iris/predict", FLOWER, headers={name: value}).status_code == 200


@pytest.mark.parametrize(
    "value", ["Basic {}", "{}", "Bearer", "Bearer  ", "Bearer {} x", "Bearer x{}"]
)
def test_where_it_may_not(guarded, value):
    headers = {"authorization": value.format(guarded.key)}
    refused("/", guarded.post("/iris/predict", FLOWER, headers=headers))


def test_a_key_in_the_query_is_none(guarded):
    refused("/", guarded.post(f"/iris/predict?key={guarded.key}&api-key={guarded.key}", FLOWER))


def test_an_open_server_takes_any_key(server):
    assert server.post("/iris/predict", FLOWER, headers=WRONG).status_code == 200


def api_routes(server) -> list[tuple[str, str]]:
    """Every route and method of the control API, from its own schema."""
    schema = server.get("/docs/openapi.json").json()
    return [
        (method.upper(), re.sub(r"\{(.*?)\}", "1", path))
        for path, item in schema["paths"].items()
        for method in item
        if method in ("get", "put", "post", "patch", "delete")
    ]


def test_every_route_of_the_control_api_wants_a_key(server):
    routes = api_routes(server)
    assert len(routes) > 15
    before = server.models()
    for method, path in [*routes, *(("GET", f"/api/{p}") for p in ("usage", "audit", "events"))]:
        for headers in ({}, WRONG):
            answer = server.ask(method, path, json={}, headers=headers)
            assert answer.status_code == 401, (method, path, answer.text)
            plain_error(answer, 401)
    assert server.models() == before


def test_what_the_control_api_still_lacks(server):
    for path in ("/usage", "/audit", "/tenants", "/costs", "/efficiency", "/events"):
        plain_error(server.api("GET", path), 501)


def test_roles(guarded):
    made = {
        role: guarded.api("POST", "/keys", {"name": role, "role": role}).json()
        for role in ("caller", "publisher")
    }
    try:
        for role, can_publish in (("caller", False), ("publisher", True)):
            headers = {"authorization": f"Bearer {made[role]['key']}"}
            assert guarded.post("/iris/predict", FLOWER, headers=headers).status_code == 200
            assert guarded.get("/api/models", headers=headers).status_code == 200
            plain_error(guarded.ask("GET", "/api/keys", headers=headers), 403)
            plain_error(guarded.ask("POST", "/api/keys", json={}, headers=headers), 403)
            body = {"version": 99}
            answer = guarded.ask("PUT", "/api/models/iris/aliases/x", json=body, headers=headers)
            message = plain_error(answer, 404 if can_publish else 403)
            assert ("version 99" in message) is can_publish
            answer = guarded.get("/api/processes", headers=headers)
            assert answer.status_code == (200 if can_publish else 403)
    finally:
        for one in made.values():
            guarded.api("DELETE", f"/keys/{one['record']['id']}")


def test_a_key_counts_from_when_it_is_made_until_it_is_revoked(guarded):
    made = guarded.cli("keys", "create", "--name", "anna", "--role", "caller", "--json")
    assert made.code == 0, made
    key = re.search(r'"key": "([^"]+)"', made.out)[1]
    key_id = re.search(r'"id": "([^"]+)"', made.out)[1]
    headers = {"authorization": f"Bearer {key}"}
    assert guarded.post("/iris/predict", FLOWER, headers=headers).status_code == 200
    listed = guarded.cli("keys", "list")
    assert "anna" in listed.out
    assert key not in listed.out
    assert guarded.api("DELETE", f"/keys/{key_id}").status_code == 200
    # When this has returned, it opens nothing any more: no waiting here.
    refused("/", guarded.post("/iris/predict", FLOWER, headers=headers))
    answer = guarded.post("/v2/models/iris/infer", FLOWER, headers=headers)
    bare_error(answer, 401)
    assert guarded.get("/api/models", headers=headers).status_code == 401
    assert guarded.cli("keys", "revoke", "nobody").code == 1


def test_keys_are_nowhere_in_the_data_folder(guarded):
    made = guarded.api("POST", "/keys", {"name": "ben", "role": "caller"}).json()
    wanted = made["key"].encode()
    for path in guarded.home.rglob("*"):
        if path.is_file():
            assert wanted not in path.read_bytes(), path
    guarded.api("DELETE", f"/keys/{made['record']['id']}")


def test_the_command_line_without_a_key(guarded, tmp_path):
    for key in ("", "maas-wrong-key"):
        done = guarded.cli("models", MAAS_HOME=str(tmp_path), MAAS_API_KEY=key)
        assert done.code == 4, done
        assert done.err.startswith("error: ")
    assert guarded.cli("models", MAAS_HOME=str(tmp_path), MAAS_API_KEY=guarded.key).code == 0


def test_the_owners_key_is_the_owners_alone(guarded):
    assert (guarded.home / "owner.key").stat().st_mode & 0o777 == 0o600
    assert guarded.home.stat().st_mode & 0o777 == 0o700


def test_the_banner_says_that_keys_are_needed(guarded, server):
    assert "need a key" in guarded.banner
    assert '-H "Authorization: Bearer $MAAS_API_KEY"' in guarded.banner
    assert "need no key" in server.banner
    for one in (guarded, server):
        assert one.key not in one.banner
        assert one.key not in one.err.read_text()


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("127.0.0.1", 200),
        ("127.9.9.9:1", 200),
        ("[::1]", 200),
        ("evil.example", 400),
        ("127.evil.example", 400),
        ("localhost.evil.example", 400),
        ("localhost/v1/models?", 400),
        ("localhost@evil.example", 400),
        ("2130706433", 400),
        ("0.0.0.0", 400),
        ("", 400),
    ],
)
def test_the_control_api_goes_by_its_own_names(server, host, status):
    # A name that an attacker points at this machine (DNS rebinding) is not one of them.
    answer = server.api("GET", "/models", headers={"host": host})
    assert answer.status_code == status, answer.text


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://evil.example", 403),
        ("null", 403),
        ("http://127.0.0.1:1", 403),
        ("https://127.0.0.1:{port}", 200),
        ("http://127.0.0.1:{port}", 200),
    ],
)
def test_a_page_of_another_origin_does_not_drive_it(server, origin, status):
    origin = origin.format(port=server.port)
    answer = server.api("GET", "/models", headers={"origin": origin})
    assert answer.status_code == status
    assert "access-control-allow-origin" not in answer.headers


def test_nothing_allows_another_origin(server):
    headers = {"origin": "http://evil.example", "access-control-request-method": "POST"}
    for path in ("/iris/predict", "/api/models", "/v2/models/iris/infer"):
        answer = server.ask("OPTIONS", path, headers=headers)
        assert "access-control-allow-origin" not in answer.headers
        assert answer.status_code >= 400
