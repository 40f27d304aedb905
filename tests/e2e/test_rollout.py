"""Versions, aliases, roll-back and deletion, under calls that never stop."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from tests import zoo
from tests.answers import check_sentence, plain_error
from tests.load import Load
from tests.server import Server

ROW = {"input_data": [[1, 2]]}
COUNTER = itertools.count(1)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    folder = tmp_path_factory.mktemp("versions")
    return {factor: zoo.affine(folder / f"{factor}.onnx", factor) for factor in (1, 2, 3)}


@pytest.fixture
def name(server: Server) -> Iterator[str]:
    """A name of this test's own: the numbers of a deleted model are never used again."""
    name = f"m{next(COUNTER)}"
    yield name
    server.api("DELETE", f"/models/{name}")


@pytest.fixture
def model(server: Server, files: dict[int, Path], name: str) -> str:
    """A model with one version, which multiplies by one."""
    server.publish(files[1], name)
    return name


def who(answer) -> object:
    """An answer as who gave it and what it was: version n multiplies by n."""
    if answer.status_code != 200:
        return answer.status_code
    factor = answer.json()["prediction"][0][0]
    assert answer.headers["maas-model"].endswith(f":{factor:.0f}")
    return int(factor)


def ask(server: Server, name: str) -> object:
    return who(server.post(f"/{name}/predict", ROW))


def test_a_second_version_takes_over_without_a_failed_call(server, model, files):
    with Load(server, f"/{model}/predict", ROW, check=who) as load:
        load.more(50)
        operation = server.publish(files[2], model)
        assert operation.version.version == 2
        # When publishing returns, unversioned calls are there.
        assert ask(server, model) == 2
        load.more(50)
    assert load.failures == []
    assert set(load.answers) == {1, 2}
    assert ask(server, f"{model}:1") == 1


def test_a_version_that_is_not_promoted(server, model, files):
    with Load(server, f"/{model}/predict", ROW, check=who) as load:
        done = server.cli(
            "publish", str(files[2]), "--name", model, "--no-promote", "--alias", "canary"
        )
        assert done.code == 0, done
        load.more(50)
    assert load.failures == []
    assert set(load.answers) == {1}
    assert ask(server, f"{model}@canary") == 2
    assert ask(server, f"{model}:2") == 2


def test_rolling_back_and_forth(server, model, files):
    server.publish(files[2], model)
    server.publish(files[3], model)
    with Load(server, f"/{model}/predict", ROW, check=who) as load:
        for expected in (2, 1):
            done = server.cli("rollback", model)
            assert done.code == 0, done
            assert f"version {expected}" in done.out
            assert ask(server, model) == expected
        done = server.cli("rollback", model)
        assert done.code == 1
        assert "no earlier" in check_sentence(done.err.strip())
        answer = server.api("PUT", f"/deployments/{model}", {"traffic": {"3": 100}})
        assert answer.status_code == 200
        assert ask(server, model) == 3
        load.more(20)
    assert load.failures == []
    assert set(load.answers) == {1, 2, 3}


def test_weights_are_still_to_come(server, model, files):
    server.publish(files[2], model)
    for body in ({"traffic": {"1": 50, "2": 50}}, {"traffic": {"1": 100}, "shadow": 0.05}):
        plain_error(server.api("PUT", f"/deployments/{model}", body), 501)
    for traffic in ({"1": 90}, {"1": -1, "2": 101}, {"x": 100}, {}):
        plain_error(server.api("PUT", f"/deployments/{model}", {"traffic": traffic}), 400)
    plain_error(server.api("PUT", f"/deployments/{model}", {"traffic": {"9": 100}}), 404)
    assert ask(server, model) == 2


def test_an_alias_moves_only_when_told(server, model, files):
    assert server.cli("alias", model, "prod", "1").code == 0
    with Load(server, f"/{model}@prod/predict", ROW, check=who) as load:
        server.publish(files[2], model)
        load.more(50)
        assert set(load.answers) == {1}
        assert server.cli("alias", model, "prod", "2").code == 0
        assert ask(server, f"{model}@prod") == 2
        load.more(20)
    assert load.failures == []
    for path in (f"/v1/models/{model}/labels/prod", f"/v2/models/{model}@prod"):
        assert server.get(path).status_code == 200
    assert server.cli("alias", model, "prod", "--delete").code == 0
    assert ask(server, f"{model}@prod") == 404
    assert server.get(f"/v1/models/{model}/labels/prod").status_code == 404


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (("{}", "prod", "9"), 1, "no version 9"),
        (("nobody", "prod", "1"), 1, "nobody"),
        (("{}", "7", "1"), 1, "version number"),
        (("{}", "a/b", "1"), 2, "not an alias"),
        (("{}", "prod", "one"), 2, "integer"),
        (("{}", "prod"), 2, "VERSION"),
    ],
)
def test_aliases_that_cannot_be(server, model, arguments, code, word):
    done = server.cli("alias", *(one.format(model) for one in arguments))
    assert done.code == code, done
    assert word in done.err
    assert ask(server, model) == 1


def test_deleting_a_version(server, model, files):
    server.publish(files[2], model, alias=("prod",))
    done = server.cli("delete", f"{model}:2", "--yes")
    assert done.code == 1
    assert "prod" in check_sentence(done.err.strip())
    assert server.cli("alias", model, "prod", "--delete").code == 0
    with Load(server, f"/{model}/predict", ROW, check=who) as load:
        assert server.cli("delete", f"{model}:2", "--yes").code == 0
        load.more(50)
    assert load.failures == []
    assert ask(server, model) == 1
    assert ask(server, f"{model}:2") == 404
    # A number is never used again.
    assert server.publish(files[3], model).version.version == 3


def test_deleting_a_model_takes_its_files(server, files, name):
    server.publish(files[1], name)
    artifacts = set(server.home.glob("artifacts/*/*"))
    with Load(server, "/counts/predict", {"input_data": [[1, 2, 3]]}) as load:
        assert server.cli("delete", name, "--yes").code == 0
        load.more(20)
    assert load.failures == []
    assert name in plain_error(server.post(f"/{name}/predict", ROW), 404)
    assert name not in [model["name"] for model in server.models()]
    assert len(set(server.home.glob("artifacts/*/*"))) == len(artifacts) - 1
    done = server.cli("delete", name, "--yes")
    assert done.code == 1
    assert name in check_sentence(done.err.strip())


def test_publishing_the_same_again_changes_nothing(server, model, files):
    again = server.publish(files[1], model)
    assert again.created is False
    assert again.version.version == 1
    other = server.publish(files[1], model, description="another description")
    assert other.created is True


def test_what_is_said_about_a_version(server, tmp_path, files, name):
    card = tmp_path / "card.md"
    card.write_text("# 模型\nMultiplies.", encoding="utf-8")
    done = server.cli(
        "publish", str(files[1]), "--name", name, "--card", str(card),
        "--accuracy", "0.97", "--metric", "rmse=3.1", "--tag", "team=vision", "--tag", "owner=安娜",
    )  # fmt: skip
    assert done.code == 0, done
    [version] = orjson.loads(server.cli("show", name, "--json").out)["versions"]
    assert version["description"] == "# 模型\nMultiplies."
    assert version["accuracy"] == 0.97
    assert version["metrics"] == {"rmse": 3.1}
    assert version["tags"] == {"team": "vision", "owner": "安娜"}
    assert "安娜" in server.cli("show", name).out
    answer = server.api("PATCH", f"/models/{name}/versions/1", {"accuracy": 0.5})
    assert answer.json()["accuracy"] == 0.5
    assert answer.json()["metrics"] == {"rmse": 3.1}


def test_an_idempotency_key(server, files, name):
    def publish(query: str = ""):
        headers = {"authorization": f"Bearer {server.key}", "idempotency-key": f"key-{name}"}
        path = f"/api/models/{name}/versions{query}"
        return server.ask("POST", path, data=files[1].read_bytes(), headers=headers)

    first, again = publish(), publish()
    assert first.status_code == again.status_code == 202
    assert first.json()["id"] == again.json()["id"]
    assert first.headers["location"] == f"/api/operations/{first.json()['id']}"
    plain_error(publish("?description=other"), 409)
    events = server.api("GET", f"/operations/{first.json()['id']}/events").text
    assert events.index("event: step") < events.index("event: done")
    assert orjson.loads(events.rpartition("data: ")[2])["state"] == "succeeded"


def test_versions_that_nobody_needs_are_unloaded_and_come_back_when_asked(server, model, files):
    for factor in (2, 3):
        server.publish(files[factor], model)
    states = {
        version["version"]: version["state"]
        for version in server.api("GET", f"/models/{model}").json()["versions"]
    }
    assert states[3] == states[2] == "AVAILABLE"
    assert states[1] in ("UNLOADING", "END")
    assert ask(server, f"{model}:1") == 1
    assert server.get(f"/v2/models/{model}/versions/1/ready").status_code == 200
