"""What a server under test is: how it is started, what it is sent, whether it answers right."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.environments import Environment
from benchmarks.processes import Server, serving, tail

CHECK_TIMEOUT_S = 20.0
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Place:
    """Where a server may put its things.

    Attributes:
        port: The first of ten ports that are its own.
        folder: A folder for what it writes; it is the same in all rounds of a run.
        models: The folder of models and bodies (see models.py).
    """

    port: int
    folder: Path
    models: Path


@dataclass(frozen=True)
class Launch:
    """A command to start, and the variables it needs."""

    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Target:
    """One model behind one route.

    Attributes:
        path: The route.
        body: The file that is posted, without its ending.
    """

    path: str
    body: str


@dataclass(frozen=True)
class Peer:
    """One server under test.

    Attributes:
        name: What `--peers` calls it.
        label: What tables and charts call it.
        environment: Its virtual environment.
        ready_path: Answers 200 once the server is up.
        targets: Its routes by model, "iris" and "image".
        launch: Writes its configuration and says what to start.
        publish: What is left to do once it is ready, if anything.
    """

    name: str
    label: str
    environment: Environment
    ready_path: str
    targets: Mapping[str, Target]
    launch: Callable[[Peer, Place], Launch]
    publish: Callable[[Peer, Place], None] | None = None

    @contextmanager
    def running(self, place: Place, cores: str) -> Iterator[Server]:
        """Serve both models for the length of a `with` block, and check the answers first.

        Args:
            place: Where it may write and listen.
            cores: The cores it is held to.

        Yields:
            The server, which has given the right answer on every route.

        Raises:
            RuntimeError: It does not start, or answers something else than the model does.
        """
        with self.started(place, cores) as server:
            if self.publish is not None:
                self.publish(self, place)
            for model, target in self.targets.items():
                self._check(server, place, model, target)
            yield server

    @contextmanager
    def started(self, place: Place, cores: str) -> Iterator[Server]:
        """Start the server and nothing else; arguments and errors as `running` has them."""
        place.folder.mkdir(parents=True, exist_ok=True)
        launch = self.launch(self, place)
        with serving(
            launch.command,
            cores=cores,
            port=place.port,
            ready_path=self.ready_path,
            log=place.folder / "server.log",
            environment=launch.environment,
            folder=place.folder,
        ) as server:
            yield server

    def _check(self, server: Server, place: Place, model: str, target: Target) -> None:
        expected = json.loads((place.models / "expected.json").read_text())[model]
        body = (place.models / f"{target.body}.json").read_bytes()
        end = time.monotonic() + CHECK_TIMEOUT_S
        while True:
            try:
                values = numbers(_post(server.url + target.path, body))
            except (OSError, ValueError) as error:  # no answer yet, an error, no JSON
                problem = f"{error}"
                if isinstance(error, urllib.error.HTTPError):
                    problem += f": {error.read()[:500].decode(errors='replace')}"
            else:
                if holds(values, expected):
                    return
                problem = f"expected {expected[:3]} …, got {values[:5]} …"
            if time.monotonic() > end:
                log = tail(server.log)
                raise RuntimeError(f"{self.label} at {target.path}: {problem}\n{log}")
            time.sleep(0.2)


def _post(url: str, body: bytes) -> Any:
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=CHECK_TIMEOUT_S) as reply:
        return json.load(reply)


def numbers(answer: Any) -> list[float]:
    """All numbers of a JSON document, in order, whatever the dialect wraps around them."""
    if isinstance(answer, dict):
        answer = list(answer.values())
    if isinstance(answer, list):
        return [number for part in answer for number in numbers(part)]
    return [float(answer)] if isinstance(answer, int | float) else []


def holds(values: list[float], expected: list[float]) -> bool:
    """Whether the expected numbers stand side by side somewhere among the values."""
    size = len(expected)
    return any(
        all(abs(a - b) <= TOLERANCE for a, b in zip(values[at:], expected, strict=False))
        for at in range(len(values) - size + 1)
    )
