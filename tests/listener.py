"""Listens to a language model: takes what it delivers, and waits for the ends of calls."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Sequence

from msgspec import Struct

from maas.core.errors import MaasError
from maas.core.generation import Delta, GenerateRequest, TokenLogprob, Usage
from maas.core.ports import Generative

PATIENCE_S = 60.0


class Answer(Struct):
    """One choice, whole."""

    text: str
    tokens: int
    logprobs: tuple[TokenLogprob, ...]
    finish: str | None


class Listener:
    """The other end of `Generative.start`; its `deliver` may be called from any thread."""

    def __init__(self, model: Generative):
        self.model = model
        self.items: dict[int, list[Delta | MaasError]] = defaultdict(list)
        self.batches: list[list[int]] = []
        """The numbers in each call of `deliver`."""
        self._changed = threading.Condition()
        self._next = 0

    def deliver(self, items: Sequence[tuple[int, Delta | MaasError]]) -> None:
        """Takes what a step gave."""
        with self._changed:
            self.batches.append([number for number, _ in items])
            for number, item in items:
                self.items[number].append(item)
            self._changed.notify_all()

    def start(self, request: GenerateRequest) -> int:
        """Begins a call and gives its number."""
        with self._changed:
            number = self._next
            self._next += 1
        self.model.start(number, request, self.deliver)
        return number

    def until(self, reached: Callable[[], bool]) -> None:
        """Waits until what has been delivered is enough."""
        with self._changed:
            assert self._changed.wait_for(reached, PATIENCE_S), dict(self.items)

    def ended(self, number: int) -> bool:
        """Whether a call's end has come."""
        items = self.items.get(number)
        return bool(items) and (isinstance(items[-1], MaasError) or items[-1].usage is not None)

    def wait(self, *numbers: int) -> None:
        """Waits until these calls have ended."""
        self.until(lambda: all(map(self.ended, numbers)))

    def answers(self, number: int) -> list[Answer]:
        """A call's choices, once it has ended; an error is raised."""
        self.wait(number)
        found: dict[int, Answer] = {}
        for item in self.items[number]:
            if isinstance(item, MaasError):
                raise item
            answer = found.setdefault(item.index, Answer("", 0, (), None))
            assert answer.finish is None, "a delta after the end"
            answer.text += item.text
            answer.tokens += item.tokens
            answer.logprobs += item.logprobs or ()
            answer.finish = item.finish
        assert all(answer.finish for answer in found.values())
        return [found[index] for index in sorted(found)]

    def usage(self, number: int) -> Usage:
        """What a call took, once it has ended."""
        self.wait(number)
        last = self.items[number][-1]
        assert isinstance(last, Delta), last
        assert last.usage is not None
        return last.usage

    def ask(self, request: GenerateRequest) -> list[Answer]:
        """One call, from its beginning to its end."""
        return self.answers(self.start(request))
