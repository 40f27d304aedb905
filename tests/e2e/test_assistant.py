"""The example assistant, as `scripts/serve` publishes it, and `maas chat` in a real terminal."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import pytest
from tests.server import Server, serving
from tests.terminal import CTRL_D, Terminal, terminal

from maas.wire.envoy import why_not

pytest.importorskip("openvino_genai")
pytest.importorskip("tokenizers")

EXAMPLES = Path(__file__).parents[2] / "examples"
FILE = EXAMPLES / "assistant" / "assistant.gguf"
FRONT = "uvicorn" if why_not() else "envoy"


def module(path: Path) -> ModuleType:
    """An example's module; examples are no package."""
    spec = importlib.util.spec_from_file_location(f"example_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = found
    spec.loader.exec_module(found)
    return found


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    then = f"'{sys.executable}' '{EXAMPLES / 'assistant.py'}'"
    folder = tmp_path_factory.mktemp("assistant")
    with serving(folder / "home", FRONT, "--then", then) as running:
        yield running


@pytest.fixture
def talk(server: Server) -> Iterator[Terminal]:
    argv = [sys.executable, "-m", "maas", "chat", "assistant", "--temperature", "0", "--verbose"]
    with terminal(argv, {**server.client_env, "TERM": "dumb"}) as person:
        person.wait_for(">>> ")
        yield person


def test_it_is_small_and_published_with_what_was_measured(server: Server) -> None:
    assert FILE.stat().st_size < 6_000_000
    with server.client as client:
        version = client.model("assistant").versions[0]
    measured = json.loads(FILE.with_suffix(".json").read_text(encoding="utf-8"))
    assert version.accuracy == measured["accuracy"]
    assert version.report.generative is not None
    assert server.cli("show", "assistant").code == 0


def test_held_out_questions_are_answered_as_its_accuracy_says(server: Server) -> None:
    topics = module(EXAMPLES / "assistant" / "questions.py").read_topics()
    asked = [(topic, question) for topic in topics for question in topic.held_out]
    with server.client as client, ThreadPoolExecutor(4) as pool:
        answers = list(
            pool.map(
                lambda each: client.chat("assistant", each[1], temperature=0, max_tokens=120).text,
                asked,
            )
        )
        version = client.model("assistant").versions[0]
    right = sum(answer == topic.answer for answer, (topic, _) in zip(answers, asked, strict=True))
    assert version.accuracy is not None
    # An engine that rounds otherwise than the one that measured.
    assert abs(right / len(asked) - version.accuracy) < 0.03


def test_a_conversation_in_a_terminal(talk: Terminal) -> None:
    talk.type("How do I publish a model?\n")
    assert "maas publish PATH" in talk.wait_for(">>> ").partition("\n")[2]
    talk.type("怎么回滚？\n")
    assert "maas rollback" in talk.wait_for(">>> ")
    assert "a second" in talk.shown
    talk.type("How do I call a model?\n")
    talk.wait_for(">>> ")
    talk.type("and in python\n")
    assert "Client().predict" in talk.wait_for(">>> ")
    talk.type("/clear\n")
    talk.wait_for(">>> ")
    talk.type("What is the capital of Hungary?\n")
    assert "I do not know that" in talk.wait_for(">>> ")
    talk.type(CTRL_D)
    assert talk.end() == 0


def test_ctrl_c_does_not_end_the_conversation(server: Server, talk: Terminal) -> None:
    talk.type("Which formats are supported?\n")
    talk.wait_for("tokens read")
    talk.wait_for(">>> ")
    talk.interrupt()
    talk.wait_for("(Ctrl-C once more, Ctrl-D or /exit ends)\r\n>>> ")
    talk.type("Thank you\n")
    talk.wait_for("tokens read")
    talk.wait_for(">>> ")
    talk.type("/exit\n")
    assert talk.end() == 0


def test_a_conversation_that_outgrows_the_context_goes_on(talk: Terminal) -> None:
    context = 1024
    long = "what does it do " * (context // 8)
    for _ in range(3):
        talk.type(f"{long[:3000]}\n")
        talk.wait_for(">>> ")
    assert "what was said first is left out" in talk.shown
    talk.type("/exit\n")
    assert talk.end() == 0


def test_one_question(server: Server) -> None:
    result = server.cli("chat", "assistant", "怎么回滚？", "--temperature", "0")
    assert (result.code, "maas rollback NAME" in result.out) == (0, True)
    result = server.cli("chat", "assistant", "--json", stdin="谢谢\n".encode())
    assert json.loads(result.out)["finish_reason"] == "stop"
    result = server.cli("chat", "nobody", "Hello")
    assert (result.code, "nobody" in result.err) == (1, True)


def test_a_prediction_is_an_answer(server: Server) -> None:
    result = server.cli("predict", "assistant", "-i", '"Hello"', "--json")
    assert (result.code, list(json.loads(result.out))) == (0, ["text"])


@pytest.mark.parametrize("language", ["curl", "python", "openai"])
def test_snippets_run(server: Server, language: str) -> None:
    code = server.cli("show", "assistant", "--code", language).out
    command = ["bash", "-c", code] if language == "curl" else [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip()  # at the API's own temperature it may say one thing or another
