from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import Any

import msgspec
import pytest
from maas_stub_server import IRIS, Seen, Stub, make_model, make_version

from maas.cli.snippets import snippet
from maas.core.errors import ErrorKind, MaasError
from maas.core.generation import Feature, GenerativeSpec
from maas.core.identity import ModelRef, parse_ref
from maas.core.records import ServerInfo, VersionRecord
from maas.core.signature import Signature, check_inputs
from maas.core.tensor import DType, TensorSpec


def test_a_version_in_full(stub: Stub, maas: Any) -> None:
    version = make_version(
        "iris", 2, description="花", accuracy=0.97, metrics={"rmse": 3.1}, tags={"team": "a"},
        aliases=("prod",), reason="restarted once", process="host-1",
    )  # fmt: skip
    stub.on("GET /api/models/iris/versions/2", 200, version)
    result = maas("show", "iris:2")
    assert result.code == 0
    for text in (
        "iris:2",
        "AVAILABLE: restarted once",
        "花",
        "0.97",
        "rmse = 3.1",
        "team = a",
        "x FP32 [n, 4]",
        "label INT64 [n]; labels setosa, versicolor, virginica",
        "serving_default, batched",
        "onnx (onnxruntime_onnx), shared host",
        "lowered to ONNX",
        "scikit-learn 1.7.2, read with 1.9.1",
        "agrees on 512 samples",
        "3 different answers",
        "3.5 µs alone",
        "written with an older scikit-learn",
        "sha256:abab",
        "1.2 kB, 5.0 MB in memory",
        "host-1",
    ):
        assert text in result.out, text


def test_a_model_shows_what_serves(stub: Stub, maas: Any) -> None:
    model = make_model("iris", (3, 2, 1), serving_version=2, previous_version=1)
    stub.on("GET /api/models/iris", 200, model)
    out = maas("show", "iris").out
    assert "serving       2" in out
    assert "default       3" in out
    assert "rollback to   1" in out
    assert "alias         prod = 1" in out
    assert "version       iris:2" in out
    assert "version       iris:1" in maas("show", "iris@prod").out
    assert json.loads(maas("show", "iris", "--json").out)["serving_version"] == 2
    assert json.loads(maas("show", "iris@prod", "--json").out)["version"] == 1


def test_an_alias_there_is_not(stub: Stub, maas: Any) -> None:
    result = maas("show", "iris@best")
    assert result.code == 1
    assert result.err == "error: iris has no alias 'best'; there is: prod\n"


def test_a_model_that_does_not_serve_shows_its_newest(stub: Stub, maas: Any) -> None:
    stub.on(
        "GET /api/models/iris", 200, make_model("iris", serving_version=None, default_version=None)
    )
    assert "version       iris:2" in maas("show", "iris").out


def test_openai_says_that_there_is_no_chat(stub: Stub, maas: Any) -> None:
    result = maas("show", "iris", "--code", "openai")
    assert result.code == 1
    assert "no chat interface" in result.err
    assert maas("show", "iris", "--code", "cobol").code == 2


SIGNATURES = {
    "floats": (TensorSpec("x", DType.FP32, (None, 4)),),
    "text": (TensorSpec("it's", DType.BYTES, (None,)),),
    "image": (TensorSpec("images", DType.FP32, (None, 29, 29, 3)),),
    "several": (
        TensorSpec("age", DType.INT64, (None, 1)),
        TensorSpec("城市", DType.BYTES, (None, 1)),
        TensorSpec("flags", DType.BOOL, (None, 100)),
    ),
    "scalar": (TensorSpec("x", DType.UINT8, ()),),
}


def version_with(inputs: tuple[TensorSpec, ...]) -> VersionRecord:
    signature = Signature("serving_default", inputs, IRIS.outputs, batched=True)
    return msgspec.structs.replace(
        make_version("iris", 2), signatures={"serving_default": signature}
    )


def run_snippet(language: str, code: str) -> Any:
    env = {**os.environ, "MAAS_API_KEY": "maas_k", "no_proxy": "*"}
    command = ["bash", "-c", code] if language == "curl" else [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=env, check=True)
    return done.stdout


@pytest.mark.parametrize("language", ["curl", "python"])
@pytest.mark.parametrize("name", SIGNATURES)
def test_snippets_run_and_their_input_fits(stub: Stub, language: str, name: str) -> None:
    if language == "curl" and shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    stub.on("POST /鸢尾花/predict", 200, {"prediction": [0]})
    version = version_with(SIGNATURES[name])
    code = snippet(language, stub.url, ModelRef("鸢尾花"), version, locked=False)
    assert len(code) < 2_000
    assert "prediction" in run_snippet(language, code)
    import numpy as np

    body = json.loads(stub.last("POST").body)
    inputs = SIGNATURES[name]
    values = {inputs[0].name: body["input_data"]} if len(inputs) == 1 else body
    arrays = {spec.name: np.array(values[spec.name], dtype=spec.dtype.numpy) for spec in inputs}
    signature = Signature("s", inputs, IRIS.outputs, batched=False)
    assert check_inputs(signature, arrays) == 1
    assert "authorization" not in stub.last("POST").headers


@pytest.mark.parametrize("language", ["curl", "python"])
@pytest.mark.parametrize("ref", ["iris", "iris:2", "iris@prod"])
def test_snippets_send_a_key_where_one_is_needed(stub: Stub, language: str, ref: str) -> None:
    if language == "curl" and shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    seen: list[Seen] = []

    def answer(request: Seen) -> tuple[int, bytes]:
        seen.append(request)
        return 200, b"{}"

    stub.handlers[f"POST /{ref}/predict"] = answer
    code = snippet(language, stub.url, parse_ref(ref), make_version("iris", 2), locked=True)
    run_snippet(language, code)
    assert seen[0].headers["authorization"] == "Bearer maas_k"
    assert "maas_k" not in code


@pytest.mark.parametrize(("language", "module"), [("triton", "http"), ("triton-grpc", "grpc")])
@pytest.mark.parametrize("name", SIGNATURES)
def test_the_triton_snippet_is_a_program(language: str, module: str, name: str) -> None:
    version = version_with(SIGNATURES[name])
    for ref in ("iris", "iris:2", "iris@prod"):
        for locked in (False, True):
            code = snippet(language, "https://host:8080", parse_ref(ref), version, locked)
            compile(code, "snippet", "exec")
            assert f"import tritonclient.{module} as triton" in code
            assert "'host:8080', ssl=True" in code
            assert ("model_version='2'" in code) == (ref == "iris:2")
            assert ("MAAS_API_KEY" in code) == locked


@pytest.mark.parametrize("dtype", DType)
def test_the_triton_snippet_makes_arrays_that_the_client_takes(dtype: DType) -> None:
    triton = pytest.importorskip("tritonclient.http")
    version = version_with((TensorSpec("x", dtype, (None, 2)),))
    code = snippet("triton", "http://host:8080", ModelRef("iris"), version, locked=False)
    names: dict[str, Any] = {"triton": triton}
    exec(code[: code.index("result =")], names)
    assert names["tensor"].shape() == [1, 2]


def test_grpc_that_is_not_answered_is_not_advised(stub: Stub, maas: Any) -> None:
    assert "tritonclient.grpc" in maas("show", "iris", "--code", "triton-grpc").out
    started = "2026-01-02T03:04:05Z"
    info = ServerInfo("0.1.0", stub.url, "uvicorn", False, "open", "", True, started)
    stub.on("GET /api", 200, info)
    result = maas("show", "iris", "--code", "triton-grpc")
    assert result.code == 1
    assert "its front is uvicorn; use --code triton" in result.err


def test_the_code_option_uses_what_the_server_says(stub: Stub, maas: Any) -> None:
    out = maas("show", "iris:2", "--code", "curl").out
    assert f"{stub.url}/iris:2/predict" in out
    assert "Authorization" not in out
    assert '"input_data": [[0.5, 0.5, 0.5, 0.5]]' in out


def test_what_is_no_chat_model_keeps_its_kind() -> None:
    with pytest.raises(MaasError) as caught:
        snippet("openai", "http://h", ModelRef("m"), make_version("m", 1), locked=False)
    assert caught.value.kind is ErrorKind.FAILED_PRECONDITION


def language_model(**about: Any) -> VersionRecord:
    text = TensorSpec("text", DType.BYTES, (None,))
    signature = Signature("serving_default", (text,), (text,), batched=False, method="generate")
    version = make_version("assistant", 1)
    report = msgspec.structs.replace(version.report, generative=GenerativeSpec(512, 2048, **about))
    return msgspec.structs.replace(version, signatures={signature.name: signature}, report=report)


CHAT = {"role": "assistant", "content": "Good day"}


@pytest.mark.parametrize("language", ["curl", "python", "openai"])
@pytest.mark.parametrize("locked", [False, True])
def test_a_language_model_is_talked_to(stub: Stub, language: str, locked: bool) -> None:
    if language == "curl" and shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    if language == "openai":
        pytest.importorskip("openai")
        chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "assistant",
                 "choices": [{"index": 0, "delta": CHAT, "finish_reason": "stop"}]}  # fmt: skip
        frames = [b"data: " + json.dumps(chunk).encode() + b"\n\n", b"data: [DONE]\n\n"]
        stub.headers["Content-Type"] = "text/event-stream"
        stub.on("POST /v1/chat/completions", 200, frames)
    else:
        stub.on("POST /v1/chat/completions", 200, {"choices": [{"message": CHAT}]})
    ref = parse_ref("assistant@prod")
    code = snippet(language, stub.url, ref, language_model(), locked)
    assert "Good day" in run_snippet(language, code)
    body = json.loads(stub.last("POST").body)
    assert body["model"] == "assistant@prod"
    assert body["messages"] == [{"role": "user", "content": "Hello"}]
    sent = stub.last("POST").headers.get("authorization", "")
    assert ("maas_k" in sent) == locked
    assert "maas_k" not in code


@pytest.mark.parametrize("language", ["curl", "python"])
def test_a_language_model_without_a_template_continues_a_text(stub: Stub, language: str) -> None:
    if language == "curl" and shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    stub.on("POST /v1/completions", 200, {"choices": [{"text": " world"}]})
    version = language_model(lacks=(Feature.CHAT,))
    code = snippet(language, stub.url, parse_ref("base"), version, locked=False)
    assert " world" in run_snippet(language, code)
    assert json.loads(stub.last("POST").body)["prompt"] == "Hello"
    code = snippet("openai", stub.url, parse_ref("base"), version, locked=False)
    assert "client.completions.create" in code
    compile(code, "snippet", "exec")


def test_a_language_model_also_has_its_tensors() -> None:
    code = snippet("triton", "http://h", ModelRef("assistant"), language_model(), locked=False)
    compile(code, "snippet", "exec")
    assert "InferInput('text'" in code
