"""A language model that is real and says what it was told: one word a step to every call.

As a program it is a host: `python parrot.py SOCKET NAME:VERSION…` holds a `Parrot` for each.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from maas.core.errors import ErrorKind, MaasError, invalid
from maas.core.generation import (
    ChatPrompt,
    Delta,
    GenerateRequest,
    GenerationCounts,
    TextPrompt,
    TokenPrompt,
    Usage,
)
from maas.core.ports import Artifact, Deliver, Device, Resources
from maas.serving.hostsocket import HostSocket

DIE = "die"
"""A word at which its process is killed."""
STALL = "stall"
"""A word that it never gets over."""
REFUSED = "refused"
"""A prompt that begins with it is refused."""
BROKEN = "broken"
"""A word at which the call fails."""
LEAVING = "leaving"
"""A prompt that begins with it finds the model closed the first time."""
CROWDED = "crowded"
"""A prompt that begins with it is to come again later."""


class Parrot:
    """A `Generative`. `pace_s` is how long a step takes."""

    def __init__(self, pace_s: float = 0.001):
        self._pace_s = pace_s
        self._lock = threading.Condition()
        self._calls: dict[tuple[int, Deliver], list[str]] = {}
        self._said: dict[tuple[int, Deliver], int] = {}
        self._open = True
        self._left = False
        self.cancelled = 0
        self.on_failure: Callable[[], object] = lambda: None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def start(self, number: int, request: GenerateRequest, deliver: Deliver) -> None:
        words = _words(request)
        if words[:1] == [REFUSED]:
            deliver([(number, invalid("it does not say that"))])
            return
        if words[:1] == [CROWDED]:
            error = MaasError(ErrorKind.RESOURCE_EXHAUSTED, "too many", retry_after_s=2.5)
            deliver([(number, error)])
            return
        if words[:1] == [LEAVING] and not self._left:
            self._left = True
            raise MaasError(ErrorKind.UNAVAILABLE, "it is gone")
        most = request.sampling.max_tokens
        with self._lock:
            self._calls[number, deliver] = words[:most]
            self._said[number, deliver] = 0
            self._lock.notify()

    def cancel(self, number: int, deliver: Deliver) -> None:
        with self._lock:
            if self._calls.pop((number, deliver), None) is not None:
                self.cancelled += 1

    def counts(self) -> GenerationCounts:
        with self._lock:
            return GenerationCounts(len(self._calls), 0, len(self._calls) / 8, 10, 4)

    def close(self) -> None:
        with self._lock:
            self._open = False
            self._lock.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._lock:
                while self._open and not self._calls:
                    self._lock.wait()
                if not self._open:
                    return
                out: dict[Deliver, list[tuple[int, Delta | MaasError]]] = {}
                for (number, deliver), words in list(self._calls.items()):
                    item = self._step(number, deliver, words)
                    if item is not None:
                        out.setdefault(deliver, []).append((number, item))
            for deliver, items in out.items():
                deliver(items)
            time.sleep(self._pace_s)

    def _step(self, number: int, deliver: Deliver, words: list[str]) -> Delta | MaasError | None:
        said = self._said[number, deliver]
        word = words[said] if said < len(words) else ""
        if word == DIE:
            os.kill(os.getpid(), signal.SIGKILL)
        if word == STALL:
            return None
        last = said + 1 >= len(words)
        if last or word == BROKEN:
            del self._calls[number, deliver]
        if word == BROKEN:
            return MaasError(ErrorKind.UNAVAILABLE, "it lost its voice")
        self._said[number, deliver] += 1
        text = word if not said else f" {word}"
        if last:
            return Delta(0, text, 1, finish="stop", usage=Usage(len(words), said + 1, 1))
        return Delta(0, text, 1)


class ParrotRuntime:
    """A `Runtime` that makes parrots of any file."""

    name = "parrot"
    platform = "parrot"
    formats = frozenset({"parrot"})
    host = "dedicated"
    confined = False

    def estimate(self, artifact: Artifact) -> Resources:
        return Resources(1 << 20)

    def load(self, artifact: Artifact, device: Device) -> Parrot:
        if artifact.file.read_text(encoding="utf-8") == "mute":
            raise MaasError(ErrorKind.FAILED_PRECONDITION, "it does not speak")
        return Parrot()


def _words(request: GenerateRequest) -> list[str]:
    prompt = request.prompt
    if isinstance(prompt, TextPrompt):
        return prompt.text.split()
    if isinstance(prompt, TokenPrompt):
        return [str(token) for token in prompt.tokens]
    assert isinstance(prompt, ChatPrompt)
    return ["chat:", *prompt.messages.decode().split()]


def main() -> None:
    models = {}
    for servable in sys.argv[2:]:
        name, _, version = servable.rpartition(":")
        models[name, int(version)] = Parrot(0.01)
    HostSocket(Path(sys.argv[1]), lambda name, version: models.get((name, version)), 1 << 28)
    print("ready", flush=True)
    signal.pause()


if __name__ == "__main__":
    main()
