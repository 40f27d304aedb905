"""Callers that never stop, for what must not fail a single call."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import orjson
import requests
from tests.server import Server, wait_until


class Load:
    """Callers that go on calling until told to stop; every answer is counted.

    Args:
        server: whom.
        path: what.
        body: JSON, sent each time.
        callers: threads, each with a connection of its own.
        check: gives what to count an answer under; its status where None.
        headers: sent each time.
    """

    def __init__(
        self,
        server: Server,
        path: str,
        body: Any,
        callers: int = 4,
        check: Callable[[requests.Response], object] | None = None,
        headers: Mapping[str, str] | None = None,
    ):
        self._server = server
        self._url = server.url + path
        self._body = orjson.dumps(body)
        self._check = check
        self._headers = headers
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._call) for _ in range(callers)]
        self._lock = threading.Lock()
        self.answers: Counter[object] = Counter()
        self.failures: list[str] = []

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        try:
            self.more(20)
        except AssertionError:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def more(self, count: int = 50, timeout_s: float = 30) -> None:
        """Waits until so many further calls have been answered."""
        goal = self.answers.total() + count
        wait_until(lambda: self.answers.total() >= goal, timeout_s, f"{count} further answers")

    def _call(self) -> None:
        with requests.Session() as session:
            session.trust_env = False
            while not self._stopping.is_set():
                try:
                    answer = session.post(
                        self._url, data=self._body, headers=self._headers, timeout=60
                    )
                    found = answer.status_code if self._check is None else self._check(answer)
                except Exception as error:  # noqa: BLE001  # whatever it is, it is counted
                    found = type(error).__name__
                    self._note(f"{found}: {error}")
                else:
                    if answer.status_code != 200:
                        self._note(f"{answer.status_code}: {answer.text[:300]}")
                with self._lock:
                    self.answers[found] += 1

    def _note(self, text: str) -> None:
        with self._lock:
            if len(self.failures) < 20:
                self.failures.append(text)
