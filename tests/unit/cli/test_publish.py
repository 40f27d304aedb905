from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest
from maas_stub_server import KEY, Seen, Stub, make_version, untar

from maas.cli.progress import JobProgress
from maas.core.generation import Feature, GenerativeSpec
from maas.core.records import ErrorBody, Operation, OperationEvent, OperationState


@pytest.fixture
def model(tmp_path: Path) -> Path:
    file = tmp_path / "iris.onnx"
    file.write_bytes(b"onnx bytes")
    return file


def test_it_reports_steps_on_stderr_and_the_version_on_stdout(
    stub: Stub, maas: Any, model: Path
) -> None:
    result = maas("publish", str(model), "--name", "iris")
    assert result.code == 0
    assert result.out.splitlines()[0] == "iris:2 published: skops, served by onnx"
    assert "lowered to ONNX" in result.out
    assert "publishing iris: detect: a skops file" in result.err.splitlines()
    assert "warning: written with an older scikit-learn" in result.err
    assert "\x1b" not in result.err


def test_every_flag_reaches_the_server(stub: Stub, maas: Any, model: Path, tmp_path: Path) -> None:
    card = tmp_path / "card.md"
    card.write_text("# card")
    sample = tmp_path / "rows.csv"
    sample.write_text("1,2\n")
    module = tmp_path / "features.py"
    module.write_text("n = 1")
    result = maas(
        "publish", str(model), "--name", "iris", "--alias", "prod", "--alias", "best",
        "--description", "flowers", "--accuracy", "0.97", "--metric", "rmse=3.1",
        "--metric", "n=2", "--tag", "team=a=b", "--card", str(card), "--sample", str(sample),
        "--no-promote", "--trust", "--engine", "openvino", "--code", str(module),
        "--quantize", "q4_0", "--context", "4096", "--served-name", "gpt-4o-mini",
        "--served-name", "openai/gpt-4o", "--drop-params",
    )  # fmt: skip
    assert result.code == 0
    seen = stub.last("POST")
    assert seen.query == [
        ("description", "flowers"),
        ("accuracy", "0.97"),
        ("metric", "rmse=3.1"),
        ("metric", "n=2.0"),
        ("tag", "team=a=b"),
        ("alias", "prod"),
        ("alias", "best"),
        ("promote", "false"),
        ("trust", "true"),
        ("engine", "openvino"),
        ("quantize", "q4_0"),
        ("context", "4096"),
        ("served_name", "gpt-4o-mini"),
        ("served_name", "openai/gpt-4o"),
        ("drop_params", "true"),
    ]
    assert set(untar(seen.body)) == {
        "model/iris.onnx",
        "sample/rows.csv",
        "card/README.md",
        "code/features.py",
    }
    assert "call iris:2" in result.out


def test_code_without_trust_is_refused_before_anything_is_sent(
    stub: Stub, maas: Any, model: Path
) -> None:
    result = maas("publish", str(model), "--code", str(model))
    assert result.code == 2
    assert "--trust" in result.err
    assert not [path for path in stub.paths() if path.startswith("POST")]


def test_the_same_again_says_so(stub: Stub, maas: Any, model: Path) -> None:
    version = make_version("iris", 2)
    stub.publish_ends(Operation("op1", OperationState.SUCCEEDED, "iris", version=version))
    assert "already there" in maas("publish", str(model)).out
    assert json.loads(maas("publish", str(model), "--json").out)["created"] is False


def test_several_paths_are_named_after_their_files(
    stub: Stub, maas: Any, model: Path, tmp_path: Path
) -> None:
    stub.handlers["POST /api/models/花/versions"] = stub.handlers["POST /api/models/iris/versions"]
    (tmp_path / "花.skops").write_bytes(b"x")
    result = maas("publish", str(model), str(tmp_path / "花.skops"), "--json")
    assert len(json.loads(result.out)) == 2
    posts = [path for path in stub.paths() if path.startswith("POST")]
    assert posts == ["POST /api/models/iris/versions", "POST /api/models/花/versions"]
    result = maas("publish", str(model), str(tmp_path / "iris.skops"))
    assert result.code == 2
    (tmp_path / "iris.skops").write_bytes(b"x")
    assert "both be called 'iris'" in maas("publish", str(model), f"{tmp_path}/iris.skops").err


def test_a_url_is_named_after_the_model_there(stub: Stub, maas: Any) -> None:
    result = maas("publish", "triton+http://models.example/iris")
    assert result.code == 0, result
    assert stub.last("POST").path == "/api/models/iris/versions"
    assert stub.last("POST").body == b'{"upstream":"triton+http://models.example:8000/iris"}'
    result = maas("publish", "http://models.example/iris")
    assert result.code == 2
    assert "is no upstream's URL; expected PROTOCOL+TRANSPORT" in result.err


def test_a_job_that_fails_is_exit_1_and_one_sentence(stub: Stub, maas: Any, model: Path) -> None:
    error = ErrorBody("internal", "something broke", "req-7")
    stub.publish_ends(Operation("op1", OperationState.FAILED, "iris", error=error))
    assert maas("publish", str(model)).err.splitlines()[-1] == "request id: req-7"
    error = ErrorBody("invalid_argument", "this is a pickle; publish skops instead", "req-8")
    stub.publish_ends(Operation("op1", OperationState.FAILED, "iris", error=error))
    result = maas("publish", str(model))
    assert result.code == 1
    assert result.out == ""
    assert result.err.splitlines()[-1] == "error: this is a pickle; publish skops instead"


def test_wait_ready_waits_and_the_key_is_read_after_that(
    stub: Stub, maas: Any, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAAS_API_KEY", "maas_key-of-another-server")
    key_file = tmp_path / "owner.key"
    asked = threading.Semaphore(0)

    def readiness(_seen: Seen) -> tuple[int, bytes]:
        asked.release()
        if not key_file.exists():
            key_file.write_text(KEY + "\n")
            return 503, b"{}"
        return 200, b"{}"

    stub.handlers["GET /readyz"] = readiness
    result = maas("publish", str(model), "--wait-ready", "--key-file", str(key_file))
    assert result.code == 0, result
    assert stub.paths()[:3] == ["GET /readyz", "GET /readyz", "POST /api/models/iris/versions"]


def test_wait_ready_gives_up(
    stub: Stub, maas: Any, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("maas.cli.publish.READY_WAIT_S", 0.05)
    stub.on("GET /readyz", 503, b"{}")
    result = maas("publish", str(model), "--wait-ready")
    assert result.code == 3
    assert "not ready" in result.err


def test_a_key_file_that_is_not_there(stub: Stub, maas: Any, model: Path) -> None:
    result = maas("publish", str(model), "--key-file", "/no/such/key")
    assert result.code == 1
    assert result.err == "error: /no/such/key: No such file or directory\n"


@pytest.mark.parametrize("lacks", [(), (Feature.CHAT,)])
def test_a_language_model_can_be_talked_to(
    stub: Stub, maas: Any, model: Path, lacks: tuple[Feature, ...]
) -> None:
    version = make_version("iris", 2)
    report = msgspec.structs.replace(version.report, generative=GenerativeSpec(512, 600, "", lacks))
    version = msgspec.structs.replace(version, report=report)
    stub.publish_ends(Operation("op1", OperationState.SUCCEEDED, "iris", (), version, created=True))
    assert ("talk to it: maas chat iris" in maas("publish", str(model)).out) is not bool(lacks)


@pytest.mark.parametrize(
    ("flag", "value", "said"),
    [("--quantize", "q9", "'q9' is no quantisation"), ("--context", "-5", "--context")],
)
def test_what_cannot_be_is_refused_before_anything_is_sent(
    stub: Stub, maas: Any, model: Path, flag: str, value: str, said: str
) -> None:
    result = maas("publish", str(model), flag, value)
    assert (result.code, result.out) == (2, "")
    assert said in result.err
    assert not [path for path in stub.paths() if path.startswith("POST")]


def test_what_is_not_promoted_is_called_by_its_number(stub: Stub, maas: Any, model: Path) -> None:
    assert (
        "call it: maas show iris:2 --code curl" in maas("publish", str(model), "--no-promote").out
    )


def test_a_step_that_goes_on_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    with JobProgress("publishing a") as progress:
        for fraction in (0.1, 0.2, 0.3):
            progress(OperationEvent(1, "lower", "writing", fraction))
        progress(OperationEvent(2, "prove", "reading", 0.4))
    assert capsys.readouterr().err.splitlines() == [
        "publishing a: lower: writing",
        "publishing a: prove: reading",
    ]
