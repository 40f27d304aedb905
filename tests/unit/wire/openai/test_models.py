from __future__ import annotations

from urllib.parse import quote

import pytest
from maas_test_openai import SPEC, plan_of

ASK = {"prompt": "x"}
PATH = "/v1/completions"


async def ask(talker, **body):
    return await talker.say(PATH, {**ASK, **body})


@pytest.mark.parametrize(
    ("model", "servable"),
    [
        ("assistant", "assistant:1"),
        ("assistant:1", "assistant:1"),
        ("assistant@prod", "assistant:1"),
        ("gpt-4o-mini", "assistant:1"),
        ("meta/llama", "assistant:1"),
        ("simple", "easy:1"),
    ],
)
async def test_a_name_or_a_served_name(talker, model, servable):
    got = await ask(talker, model=model)
    assert got.headers["maas-model"] == servable
    assert got.json["model"] == model


@pytest.mark.parametrize(
    "model", ["nobody", "assistant:9", "assistant@x", "a/b", "", "Ω≈/x", "a:b"]
)
async def test_a_name_that_nobody_has(talker, model):
    got = await ask(talker, model=model or "..")
    assert got.status == 404
    error = got.json["error"]
    assert (error["param"], error["code"]) == ("model", "model_not_found")
    assert error["type"] == "invalid_request_error"


async def test_a_model_that_is_no_language_model(talker):
    got = await ask(talker, model="iris")
    assert got.status == 400
    assert got.json["error"]["param"] == "model"
    assert "/iris/predict" in got.json["error"]["message"]


@pytest.mark.parametrize("model", [{}, {"model": None}, {"model": ""}])
async def test_no_name_where_several_may_be_meant(talker, model):
    got = await ask(talker, **model)
    assert got.status == 400
    assert "assistant, base, easy" in got.json["error"]["message"]


async def test_no_name_where_the_settings_have_one(chatty):
    got = await ask(chatty)
    assert got.headers["maas-model"] == "easy:1"
    assert got.json["model"] == "easy"  # its own name, where none was asked for


async def test_no_name_where_there_is_one_language_model(talker):
    await talker.router.follow(plan_of(only=SPEC, iris=None))
    assert (await ask(talker)).headers["maas-model"] == "only:1"
    assert (await ask(talker, model="gpt-4o-mini")).headers["maas-model"] == "only:1"
    await talker.router.follow(plan_of(iris=None))
    assert (await ask(talker)).status == 400
    assert (await ask(talker, model="gpt-4o-mini")).status == 404


async def test_the_list_is_openais_and_kserves(talker):
    got = (await talker.say("/v1/models", b"", "GET")).json
    assert got["object"] == "list"
    assert got["models"] == ["assistant", "base", "easy", "iris"]
    assert [one["id"] for one in got["data"]] == [
        "assistant", "base", "easy", "gpt-4o-mini", "meta/llama", "simple"
    ]  # fmt: skip
    for one in got["data"]:
        assert (one["object"], one["owned_by"], one["max_model_len"]) == ("model", "maas", 64)
        assert isinstance(one["created"], int)


@pytest.mark.parametrize("name", ["assistant", "gpt-4o-mini"])
async def test_one_of_the_list(talker, name):
    got = (await talker.say(f"/v1/models/{quote(name)}", b"", "GET")).json
    assert (got["id"], got["object"], got["owned_by"]) == (name, "model", "maas")
    assert got["model_version_status"][0]["version"] == "1"
    assert got["name"] == "assistant"


async def test_a_model_that_is_not_in_the_list(talker):
    got = (await talker.say("/v1/models/iris", b"", "GET")).json
    assert "id" not in got
    assert (await talker.say("/v1/models/nobody", b"", "GET")).status == 404


async def test_a_key_is_wanted(guarded):
    for path in ("/v1/completions", "/v1/chat/completions"):
        got = await guarded.say(path, ASK)
        assert got.status == 401
        assert got.json["error"]["code"] == "invalid_api_key"
        assert got.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/chat/completions", 405),
        ("GET", "/v1/completions", 405),
        ("POST", "/v1/completions/", 404),
        ("POST", "/v1/chat/nothing", 404),
        ("POST", "/v1/embeddings", 501),
        ("POST", "/v1/responses", 501),
    ],
)
async def test_errors_of_paths_have_openais_shape(talker, method, path, status):
    got = await talker.say(path, b"{}", method)
    assert got.status == status
    assert set(got.json["error"]) == {"message", "type", "param", "code"}
    if status == 501:
        assert got.headers["x-should-retry"] == "false"
