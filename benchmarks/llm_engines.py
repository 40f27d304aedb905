"""Engines alone, as processes; and `maas` with the language model published."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.environments import MAAS_LLM, ROOT
from benchmarks.llm_load import Streams, whole
from benchmarks.peer import Launch, Peer, Place
from benchmarks.peers import MAAS, maas_launch, maas_variables
from benchmarks.processes import SHARED, Server, pinned, tail

KV_BYTES = 128 << 20
"""Of `maas`: so small that 200 streams fill the cache, or its growth would look like a leak."""
PUBLISH_TIMEOUT_S = 900
READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0


@dataclass(frozen=True)
class Answered:
    """One wave: seconds to its end, and to the first token of each answer."""

    wall_s: float
    first_s: tuple[float, ...]


class Bare:
    """An engine in a process of its own (`llm_bare.py`)."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self._process = process
        self._log = log

    def ask(self, prompts: list[list[int]], tokens: int) -> Answered:
        """Have it answer all prompts at once.

        Raises:
            RuntimeError: It ended.
        """
        self._tell({"prompts": prompts, "tokens": tokens})
        found = self.heard()
        return Answered(found["wall_s"], tuple(found["first_s"]))

    def heard(self) -> dict[str, float | list[float] | str]:
        """The next line it says."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.startswith("{"):
            raise RuntimeError(f"the engine ended:\n{tail(self._log)}")
        found: dict[str, float | list[float] | str] = json.loads(line)
        return found

    def _tell(self, message: dict[str, object]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()


@contextmanager
def bare(engine: str, model: Path, threads: int, folder: Path) -> Iterator[Bare]:
    """Run an engine for the length of a `with` block.

    Args:
        engine: `openvino` or `llamacpp`.
        model: The GGUF.
        threads: How many it may use.
        folder: For what it says.
    """
    log = folder / f"{engine}.log"
    command = [str(MAAS_LLM.python), "-m", "benchmarks.llm_bare", engine, str(model)]
    with log.open("w") as output:
        process = subprocess.Popen(
            pinned(SHARED.server, [*command, "--threads", str(threads)]),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
            text=True,
            cwd=ROOT,
        )
        try:
            found = Bare(process, log)
            found.heard()
            yield found
        finally:
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(timeout=STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def serving_model(
    model: Path, name: str, models: Path, folder: Path, port: int
) -> Iterator[Server]:
    """Serve the language model and iris with `maas` for the length of a `with` block.

    Args:
        model: The GGUF.
        name: What it is published as.
        models: The folder with `iris.onnx`.
        folder: Where the server may write.
        port: Where it listens.

    Raises:
        RuntimeError: It does not start, publish or answer.
    """
    peer = replace(MAAS, environment=MAAS_LLM, targets={}, launch=_launch)
    place = Place(port, folder, models)
    with peer.started(place, SHARED.server) as server:
        _publish(place, str(model), "--name", name, "--engine", "openvino-genai")
        _publish(place, str(models / "iris.onnx"), "--name", "iris")
        _wait(server, name)
        yield server


def _launch(peer: Peer, place: Place) -> Launch:
    launch = maas_launch(peer, place)
    variables = {**launch.environment, "MAAS_GENERATION_KV_BYTES": str(KV_BYTES)}
    return replace(launch, environment=variables)


def _publish(place: Place, *arguments: str) -> None:
    done = subprocess.run(
        [str(MAAS_LLM.python), "-m", "maas", "publish", *arguments],
        capture_output=True,
        text=True,
        timeout=PUBLISH_TIMEOUT_S,
        check=False,
        cwd=place.folder,
        env={**os.environ, **maas_variables(place)},
    )
    if done.returncode != 0:
        raise RuntimeError(f"publishing failed: {(done.stdout + done.stderr)[-2000:]}")


def _wait(server: Server, name: str) -> None:
    """Wait until the model answers."""
    end = time.monotonic() + READY_TIMEOUT_S
    while True:
        streams = Streams(server.url)
        (stream,) = streams.wave(name, [[1, 2, 3]], 2)
        streams.close()
        problem = whole(stream, 2)
        if not problem:
            return
        if time.monotonic() > end:
            raise RuntimeError(f"{name} does not answer: {problem}\n{tail(server.log)}")
        time.sleep(0.5)
