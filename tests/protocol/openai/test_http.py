"""OpenAI's API over plain HTTP: framing, errors, clients that leave; `test_clients` has theirs."""

from __future__ import annotations

import json
import re
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.answers import bare_error, openai_error
from tests.server import wait_until

CHAT = "/v1/chat/completions"
TEXT = "/v1/completions"
HELLO = [{"role": "user", "content": "Hello 你好"}]
ASK = {"model": "assistant", "messages": HELLO, "max_tokens": 12, "temperature": 0}
LONG = {"model": "assistant", "prompt": "a", "max_tokens": 1500, "ignore_eos": True}


def chunks_of(answer) -> list[dict]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    *events, last = answer.content.decode().split("\n\n")
    assert last == ""
    assert events.pop() == "data: [DONE]"
    return [json.loads(event.removeprefix("data: ")) for event in events]


def running(server) -> float:
    text = server.get("/metrics", headers={"authorization": f"Bearer {server.key}"}).text
    found = re.findall(r"^maas_generations_(?:running|waiting)\{.*\} (\S+)$", text, re.MULTILINE)
    return sum(map(float, found))


def test_at_once_and_as_it_is_written_it_is_the_same(writers):
    whole = writers.post(CHAT, ASK)
    assert whole.headers["maas-model"] == "assistant:1"
    [choice] = whole.json()["choices"]
    options = {"stream": True, "stream_options": {"include_usage": True}}
    *chunks, last = chunks_of(writers.post(CHAT, {**ASK, **options}))
    text = "".join(one["choices"][0]["delta"].get("content", "") for one in chunks)
    assert text == choice["message"]["content"]
    assert chunks[-1]["choices"][0]["finish_reason"] == choice["finish_reason"]
    usage = whole.json()["usage"]
    assert last["usage"]["completion_tokens"] == usage["completion_tokens"]
    assert last["usage"]["prompt_tokens"] == usage["prompt_tokens"]


def test_a_seed_repeats_and_none_does_not(writers):
    def said(**about):
        answer = writers.post(CHAT, {**ASK, "temperature": 1, "max_tokens": 24, **about})
        return answer.json()["choices"][0]["message"]["content"]

    assert said(seed=5) == said(seed=5)
    assert len({said() for _ in range(3)}) > 1


def test_choices_and_prompts(writers):
    asked = {"model": "bare", "prompt": ["a", "b"], "n": 2, "max_tokens": 3, "ignore_eos": True}
    answer = writers.post(TEXT, asked).json()
    assert [one["index"] for one in answer["choices"]] == [0, 1, 2, 3]
    assert {one["finish_reason"] for one in answer["choices"]} == {"length"}
    assert answer["usage"]["completion_tokens"] == 12


def test_a_stop_string_is_not_part_of_the_answer(writers):
    whole = writers.post(TEXT, {**LONG, "max_tokens": 40, "temperature": 0}).json()["choices"][0]
    stop = whole["text"][20:23]
    cut = writers.post(TEXT, {**LONG, "max_tokens": 40, "temperature": 0, "stop": stop}).json()
    assert cut["choices"][0]["text"] == whole["text"][: whole["text"].index(stop)]
    assert cut["choices"][0]["finish_reason"] == "stop"


def test_characters_are_never_cut(writers):
    asked = {**LONG, "max_tokens": 200, "seed": 3, "stream": True}
    texts = [one["choices"][0]["text"] for one in chunks_of(writers.post(TEXT, asked))]
    whole = writers.post(TEXT, {**asked, "stream": False}).json()["choices"][0]["text"]
    assert "".join(texts) == whole


def test_json_that_is_demanded_parses(writers):
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"],
              "additionalProperties": False}  # fmt: skip
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    answer = writers.post(CHAT, {**ASK, "max_tokens": 200, "response_format": wanted})
    [choice] = answer.json()["choices"]
    assert choice["finish_reason"] == "stop"
    assert set(json.loads(choice["message"]["content"])) == {"ok"}


@pytest.mark.parametrize("model", ["assistant", "assistant:1", "assistant@prod", "gpt-4o-mini"])
def test_names(writers, model):
    answer = writers.post(CHAT, {**ASK, "model": model})
    assert answer.json()["model"] == model
    assert answer.headers["maas-model"] == "assistant:1"


def test_the_list(writers):
    answer = writers.get("/v1/models").json()
    assert [one["id"] for one in answer["data"]] == [
        "assistant", "bare", "gpt-4o-mini", "meta/llama"
    ]  # fmt: skip
    assert answer["models"] == ["assistant", "bare", "counts"]
    assert writers.get("/v1/models/gpt-4o-mini").json()["id"] == "gpt-4o-mini"


def test_a_prompt_beyond_the_context(writers):
    long = [{"role": "user", "content": "word " * 5000}]
    for stream in (False, True):
        answer = writers.post(CHAT, {**ASK, "messages": long, "stream": stream})
        openai_error(answer, 400)
        assert answer.json()["error"]["code"] == "context_length_exceeded"


def test_what_is_wrong_has_openais_shape(writers):
    assert "counts" in openai_error(writers.post(CHAT, {**ASK, "model": "counts"}), 400)
    openai_error(writers.post(CHAT, {**ASK, "model": "nobody"}), 404)
    openai_error(writers.post(CHAT, {**ASK, "temperature": 3}), 400)
    openai_error(writers.post(CHAT, b"{"), 400)
    openai_error(writers.post(CHAT, {"messages": HELLO}), 400)
    openai_error(writers.get(CHAT), 405)
    openai_error(writers.post(CHAT, {**ASK, "model": "bare"}), 400)
    openai_error(writers.post("/v1/embeddings", {}), 501)


def test_what_an_engine_lacks(writers):
    asked = {**ASK, "logprobs": True, "top_logprobs": 2}
    assert "openvino" in openai_error(writers.post(CHAT, asked), 400)
    asked = {"model": "bare", "prompt": "a", "max_tokens": 2, "logprobs": 2}
    answer = writers.post(TEXT, asked)
    assert answer.status_code == 200
    assert answer.headers["maas-dropped-params"] == "logprobs"


def test_streams_are_not_compressed(writers):
    answer = writers.post(CHAT, {**ASK, "stream": True}, headers={"accept-encoding": "gzip"})
    assert "content-encoding" not in answer.headers
    assert chunks_of(answer)


def open_stream(port: int, path: str, body: dict) -> socket.socket:
    """Begins a stream, and reads as far as its first event."""
    text = json.dumps(body).encode()
    opened = socket.create_connection(("127.0.0.1", port), 60)
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(text)}\r\n\r\n"
    opened.sendall(head.encode() + text)
    got = b""
    while b"data: " not in got:
        piece = opened.recv(4096)
        assert piece, got
        got += piece
    return opened


def test_a_client_that_leaves_frees_its_place(writers):
    for path, body in ((TEXT, {**LONG, "stream": True}), (CHAT, {**ASK, **LONG, "stream": True})):
        opened = open_stream(writers.port, path, body)
        opened.close()
        wait_until(lambda: running(writers) == 0, 10, "an end of what nobody reads")


def test_a_client_that_leaves_before_the_end_of_an_answer_at_once(writers):
    text = json.dumps({**LONG, "n": 100}).encode()
    with socket.create_connection(("127.0.0.1", writers.port), 60) as opened:
        head = f"POST {TEXT} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(text)}\r\n\r\n"
        opened.sendall(head.encode() + text)
        wait_until(lambda: running(writers) > 0, 10, "a beginning")
    wait_until(lambda: running(writers) == 0, 10, "an end of what nobody waits for")


def test_many_streams_of_which_half_are_left(writers):
    def one(number: int) -> bool:
        if number % 2:
            open_stream(writers.port, TEXT, {**LONG, "stream": True}).close()
            return True
        asked = {**LONG, "max_tokens": 20, "seed": number, "stream": True}
        found = chunks_of(writers.post(TEXT, asked))
        return found[-1]["choices"][0]["finish_reason"] == "length"

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(one, range(48)))
    wait_until(lambda: running(writers) == 0, 20, "an end")


def test_tritons_generate(writers):
    asked = {"text_input": "a", "parameters": {"max_tokens": 5, "temperature": 0}}
    whole = writers.post("/v2/models/bare/generate", asked).json()
    assert (whole["model_name"], whole["model_version"]) == ("bare", "1")
    answer = writers.post("/v2/models/bare/versions/1/generate_stream", asked)
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    events = answer.content.decode().removesuffix("\n\n").split("\n\n")
    texts = [json.loads(event.removeprefix("data: "))["text_output"] for event in events]
    assert "".join(texts) == whole["text_output"]
    bare_error(writers.post("/v2/models/counts/generate", asked), 400)
