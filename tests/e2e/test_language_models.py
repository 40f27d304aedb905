"""A language model from its file to its end, as somebody meets it who comes from OpenAI's API."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import OpenAI
from tests.answers import bare_error, check_sentence, openai_error, plain_error
from tests.language import tiny_gguf
from tests.server import Server, serving, wait_until

from maas.wire.envoy import why_not

HELLO: Any = [{"role": "user", "content": "Hello 你好"}]
SCHEMA = {
    "type": "object",
    "properties": {"ok": {"type": "boolean"}, "kind": {"enum": ["a", "b"]}},
    "required": ["ok", "kind"],
    "additionalProperties": False,
}
TOOL: Any = {"type": "function", "function": {"name": "look", "parameters": SCHEMA}}
DRAWS = 4
"""Answers of random weights: one may end at its first token, four do not."""
FRONT = "uvicorn" if why_not() else "envoy"


@pytest.fixture(scope="module")
def server(writers_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("language")
    shutil.copytree(writers_home, folder / "home")
    with serving(folder / "home", FRONT) as running:
        yield running


@pytest.fixture(scope="module")
def locked(writers_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The same where predictions want a key."""
    folder = tmp_path_factory.mktemp("locked")
    shutil.copytree(writers_home, folder / "home")
    with serving(folder / "home", FRONT, "--auth", "required") as running:
        yield running


def client(server: Server, key: str = "none") -> OpenAI:
    return OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0)


def test_from_a_file_to_its_end(server, tmp_path):
    published = server.cli(
        *("publish", str(tiny_gguf(tmp_path / "writer.gguf")), "--name", "writer"),
        *("--served-name", "gpt-5-nano", "--engine", "openvino-genai"),
    )
    assert published.code == 0, published
    with client(server) as ours:
        converses(ours)
        streams(ours)
        calls_a_tool(ours)
        writes_json(ours)
        named = ours.chat.completions.create(model="gpt-5-nano", messages=HELLO, max_tokens=3)
        assert named.model == "gpt-5-nano"
        assert {"writer", "gpt-5-nano"} <= {one.id for one in ours.models.list()}
    text = continues(server)
    if FRONT == "envoy":
        continues_over_grpc(server, text)
    is_counted(server)
    is_replaced_and_rolled_back(server, tmp_path, text)
    is_deleted(server)


def converses(ours: OpenAI) -> None:
    answer = ours.chat.completions.create(
        model="writer", messages=HELLO, max_tokens=20, temperature=0
    )
    [choice] = answer.choices
    assert choice.finish_reason in ("stop", "length")
    assert answer.usage is not None
    assert answer.usage.completion_tokens <= 20
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def streams(ours: OpenAI) -> None:
    about: dict[str, Any] = {"model": "writer", "messages": HELLO, "max_tokens": 20}
    whole = ours.chat.completions.create(**about, temperature=0)
    options: Any = {"include_usage": True}
    with ours.chat.completions.create(
        **about, temperature=0, stream=True, stream_options=options
    ) as stream:
        *chunks, last = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == whole.choices[0].message.content
    assert chunks[-1].choices[0].finish_reason == whole.choices[0].finish_reason
    assert (last.choices, last.usage.prompt_tokens) == ([], whole.usage.prompt_tokens)


def calls_a_tool(ours: OpenAI) -> None:
    answer = ours.chat.completions.create(
        model="writer", messages=HELLO, max_tokens=200, tools=[TOOL], tool_choice="required",
        parallel_tool_calls=False,
    )  # fmt: skip
    [choice] = answer.choices
    assert choice.finish_reason == "tool_calls"
    for call in choice.message.tool_calls:
        assert call.function.name == "look"
        assert set(json.loads(call.function.arguments)) == {"ok", "kind"}


def writes_json(ours: OpenAI) -> None:
    wanted: Any = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}
    answer = ours.chat.completions.create(
        model="writer", messages=HELLO, max_tokens=200, response_format=wanted
    )
    [choice] = answer.choices
    assert choice.finish_reason == "stop"
    assert set(json.loads(choice.message.content)) == {"ok", "kind"}


def continues(server: Server) -> str:
    """Every protocol of tensors, and Triton's own for texts."""
    asked = {"text_input": "Hello", "parameters": {"max_tokens": 8, "temperature": 0}}
    short = server.post("/v2/models/writer/generate", asked).json()
    assert (short["model_name"], short["model_version"]) == ("writer", "1")
    events = server.post("/v2/models/writer/generate_stream", asked).text.strip().split("\n\n")
    pieces = [json.loads(event.removeprefix("data: "))["text_output"] for event in events]
    assert "".join(pieces) == short["text_output"]

    answer = server.post("/writer/predict", {"input_text": "Hello"})
    assert answer.status_code == 200, answer.text
    assert answer.headers["maas-model"] == "writer:1"
    tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["Hello"]}
    texts = []
    for _ in range(DRAWS):
        answer = server.post("/v2/models/writer/infer", {"inputs": [tensor]}).json()
        [output] = answer["outputs"]
        assert (output["name"], output["datatype"], output["shape"]) == ("text", "BYTES", [1])
        texts += output["data"]
    assert max(map(len, texts)) > len(short["text_output"])
    return str(short["text_output"])


def continues_over_grpc(server: Server, text: str) -> None:
    triton = pytest.importorskip("tritonclient.grpc")
    import numpy as np

    given = triton.InferInput("text", [1], "BYTES")
    given.set_data_from_numpy(np.array([b"Hello"], np.object_))
    with triton.InferenceServerClient(f"127.0.0.1:{server.port}") as opened:
        found = opened.get_model_metadata("writer")
        assert [(one.name, one.datatype) for one in found.inputs] == [("text", "BYTES")]
        answers = [opened.infer("writer", [given]).as_numpy("text")[0] for _ in range(DRAWS)]
    assert all(isinstance(answer, bytes) for answer in answers)
    assert max(len(answer.decode()) for answer in answers) > len(text)


def is_counted(server: Server) -> None:
    def counted() -> set[str]:
        text = server.get("/metrics", headers={"authorization": f"Bearer {server.key}"}).text
        lines = [line for line in text.splitlines() if 'model="writer"' in line]
        return {
            line.split('dialect="')[1].split('"')[0]
            for line in lines
            if line.startswith("maas_generated_tokens_total")
        }

    wanted = {"openai", "plain", "oip"} | ({"grpc"} if FRONT == "envoy" else set())
    wait_until(lambda: len(counted()) >= len(wanted), 10, "every protocol's tokens")


def is_replaced_and_rolled_back(server: Server, folder: Path, text: str) -> None:
    second = tiny_gguf(folder / "second.gguf", seed=3)
    asked = {"text_input": "Hello", "parameters": {"max_tokens": 8, "temperature": 0}}

    def says(name: str) -> tuple[str, str]:
        body = {"model": name, "prompt": "Hello", "max_tokens": 8, "temperature": 0}
        answer = server.post("/v1/completions", body)
        assert answer.status_code == 200, answer.text
        return answer.headers["maas-model"], answer.json()["choices"][0]["text"]

    published = server.cli(
        *("publish", str(second), "--name", "writer", "--engine", "openvino-genai"),
        *("--alias", "next"),
    )
    assert published.code == 0, published
    served, other = says("writer")
    assert served == "writer:2"
    assert other != text
    assert says("writer@next") == ("writer:2", other)
    assert says("writer:1") == ("writer:1", text)
    assert server.cli("rollback", "writer").code == 0
    assert says("writer") == ("writer:1", text)
    assert server.post("/v2/models/writer/generate", asked).json()["text_output"] == text
    assert says("writer@next") == ("writer:2", other)
    assert server.cli("alias", "writer", "next", "1").code == 0
    assert says("writer@next") == ("writer:1", text)


def is_deleted(server: Server) -> None:
    pids = {row["pid"] for row in server.processes().values() if "writer:1" in row["models"]}
    assert len(pids) == 1
    assert server.cli("delete", "writer", "--yes").code == 0
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), 20, "their end")
    for name in ("writer", "writer@next", "writer:1", "gpt-5-nano"):
        body = {"model": name, "messages": HELLO}
        openai_error(server.post("/v1/chat/completions", body), 404)
    plain_error(server.post("/writer/predict", {"input_text": "Hello"}), 404)
    with client(server) as ours:
        assert "writer" not in {one.id for one in ours.models.list()}
        assert ours.chat.completions.create(model="assistant", messages=HELLO, max_tokens=2)


def test_names(server):
    with client(server) as ours:
        for name in ("assistant", "assistant:1", "assistant@prod", "gpt-4o-mini", "meta/llama"):
            raw = ours.chat.completions.with_raw_response.create(
                model=name, messages=HELLO, max_tokens=2
            )
            assert raw.headers["maas-model"] == "assistant:1"
            assert raw.parse().model == name


def test_what_is_asked_of_the_wrong_model(server):
    with client(server) as ours:
        for name in ("nobody", "assistant:9", "assistant@nobody"):
            with pytest.raises(openai.NotFoundError) as missing:
                ours.chat.completions.create(model=name, messages=HELLO)
            assert missing.value.code == "model_not_found"
            check_sentence(missing.value.body["message"])
        with pytest.raises(openai.BadRequestError, match="counts"):
            ours.chat.completions.create(model="counts", messages=HELLO)
        with pytest.raises(openai.BadRequestError, match="counts"):
            ours.completions.create(model="counts", prompt="a", stream=True)
        with pytest.raises(openai.BadRequestError, match="template"):
            ours.chat.completions.create(model="bare", messages=HELLO)
    plain_error(server.post("/assistant/predict", {"input_data": [[1, 2]]}), 400)
    tensor = {"name": "text", "shape": [1], "datatype": "FP32", "data": [1.0]}
    bare_error(server.post("/v2/models/assistant/infer", {"inputs": [tensor]}), 400)


@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_beyond_the_context(server, stream):
    long: Any = [{"role": "user", "content": "word " * 4000}]
    with client(server) as ours:
        with pytest.raises(openai.BadRequestError) as caught:
            ours.chat.completions.create(model="assistant", messages=long, stream=stream)
        assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "messages")
        assert "2048" in check_sentence(caught.value.body["message"])
        with pytest.raises(openai.BadRequestError) as caught:
            ours.completions.create(model="assistant", prompt="word " * 4000, stream=stream)
        assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "prompt")
    plain_error(server.post("/assistant/predict", {"input_text": "word " * 4000}), 400)
    asked = {"text_input": "word " * 4000}
    bare_error(server.post("/v2/models/assistant/generate", asked), 400)


def test_what_the_engine_lacks_is_refused_or_left_out(server):
    with client(server) as ours:
        about: dict[str, Any] = {"prompt": "a", "max_tokens": 2, "logprobs": 3, "temperature": 0}
        with pytest.raises(openai.BadRequestError, match="logprobs"):
            ours.completions.create(model="assistant", **about)
        raw = ours.completions.with_raw_response.create(model="bare", **about)
        assert raw.headers["maas-dropped-params"] == "logprobs"
        assert raw.parse().choices[0].text
        raw = ours.completions.with_raw_response.create(model="bare", **about, stream=True)
        assert raw.headers["maas-dropped-params"] == "logprobs"
        assert list(raw.parse())[-1].choices[0].finish_reason == "length"


def test_where_keys_are_wanted(locked):
    made = locked.api("POST", "/keys", {"name": "app", "role": "caller"}).json()
    bodies = {
        "/v1/chat/completions": {"model": "assistant", "messages": HELLO, "max_tokens": 2},
        "/v1/completions": {"model": "assistant", "prompt": "a", "max_tokens": 2},
    }
    for path, body in bodies.items():
        for stream in (False, True):
            asked = {**body, "stream": stream}
            openai_error(locked.post(path, asked), 401)
            wrong = {"authorization": "Bearer sk-wrong"}
            openai_error(locked.post(path, asked, headers=wrong), 401)
            right = {"authorization": f"Bearer {made['key']}"}
            assert locked.post(path, asked, headers=right).status_code == 200
    for key in ("none", "sk-wrong", made["key"][:-1]):
        with client(locked, key) as stranger:
            with pytest.raises(openai.AuthenticationError) as caught:
                stranger.chat.completions.create(model="assistant", messages=HELLO)
            assert caught.value.code == "invalid_api_key"
    with client(locked, made["key"]) as caller:
        answer = caller.chat.completions.create(model="gpt-4o-mini", messages=HELLO, max_tokens=2)
        assert answer.choices[0].finish_reason
        assert "assistant" in {one.id for one in caller.models.list()}
    for path in ("/v2/models/assistant/generate", "/v2/models/assistant/generate_stream"):
        bare_error(locked.post(path, {"text_input": "a"}), 401)
    # A caller may call, and nothing else.
    headers = {"authorization": f"Bearer {made['key']}"}
    for method, path in (("DELETE", "/models/assistant"), ("POST", "/models/assistant/rollback")):
        plain_error(locked.ask(method, f"/api{path}", headers=headers), 403)
    assert locked.api("DELETE", f"/keys/{made['record']['id']}").status_code == 200
    wait_until(
        lambda: locked.post("/v1/completions", bodies["/v1/completions"], headers=headers)
        .status_code == 401, 10, "the end of the key"
    )  # fmt: skip
