"""One server for every client, and the clients' checks, each script run once."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from tests.conformance import models
from tests.conformance.rules import ROOT, SCRIPTS, Script
from tests.language import tiny_folder, tiny_gguf
from tests.server import Server, clean_environment, serving

SCRIPT_S = 180
Outcomes = Callable[[Script], Mapping[str, str]]


@pytest.fixture(scope="session")
def place(zoo_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with the whole zoo, models of every datatype, language models, and iris for who
    names no model."""
    folder = tmp_path_factory.mktemp("conformance")
    shutil.copytree(zoo_home, folder / "home")
    with serving(folder / "home", "auto", MAAS_DEFAULTS_PREDICT="iris") as running:
        for name, kinds in models.MODELS.items():
            running.publish(models.identity(folder / f"{name}.onnx", kinds), name)
        running.publish(models.mean(folder / "mean.onnx"), "mean")
        running.publish(models.total(folder / "total.onnx"), "total")
        _publish_assistants(running, folder)
        yield running


def _publish_assistants(place: Server, folder: Path) -> None:
    """One tiny language model in each engine, and once more for who asks for what it lacks."""
    gguf = tiny_gguf(folder / "assistant.gguf")
    place.publish(gguf, "assistant", engine="openvino-genai", served_names=("gpt-4o-mini",))
    place.publish(gguf, "assistant-lenient", engine="openvino-genai", drop_params=True)
    place.publish(gguf, "assistant-llamacpp", engine="llamacpp")
    place.publish(
        tiny_folder(folder / "assistant"), "assistant-transformers", engine="transformers"
    )


@pytest.fixture(scope="session")
def outcomes(place: Server, tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    """What each check of a script came to; the script runs at the first question."""
    found: dict[Script, Mapping[str, str]] = {}
    folder = tmp_path_factory.mktemp("clients")

    def of(script: Script) -> Mapping[str, str]:
        if script not in found:
            found[script] = _run(script, place, folder)
        return found[script]

    return of


def _run(script: Script, place: Server, folder: Path) -> Mapping[str, str]:
    apart = ROOT / ".venv-clients" / "bin" / "python"
    if script.apart and not apart.exists():
        pytest.skip("needs .venv-clients, which scripts/test makes")
    if script.grpc:
        from maas.wire.envoy import why_not

        missing = why_not()
        if missing:
            pytest.skip(missing)
    program = str(apart) if script.apart else sys.executable
    result = folder / f"{script.name}.json"
    environment = clean_environment() | {
        "MAAS_API_KEY": place.key,
        "no_proxy": "*",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "TOKENIZER": str(place.home.parent / "assistant"),
    }
    done = subprocess.run(
        [program, str(script.path), f"127.0.0.1:{place.port}", str(result)],
        capture_output=True,
        timeout=SCRIPT_S,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-4000:]
    outcomes: Mapping[str, str] = json.loads(result.read_text())
    return outcomes


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All on one worker of pytest-xdist: they share the server."""
    assert len({script.name for script in SCRIPTS}) == len(SCRIPTS)
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.xdist_group("conformance"))
