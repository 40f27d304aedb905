from __future__ import annotations

import threading
from collections.abc import Sequence

from maas.core.generation import ChatPrompt, GenerateRequest, Prompt, TextPrompt, TokenPrompt
from maas.runtimes.language.calls import Call
from maas.runtimes.language.preparing import LONG, Preparing

WAIT_S = 30.0


def call(number: int, prompt: Prompt) -> Call:
    return Call(number, GenerateRequest(prompt), lambda items: None)


class Work:
    """Notes what is prepared; a call with the number 0 takes until it is let go."""

    def __init__(self) -> None:
        self.done: list[int] = []
        self.go_on = threading.Event()
        self.some = threading.Semaphore(0)
        self.late = threading.Event()

    def __call__(self, call: Call) -> None:
        if call.number == 0:
            self.go_on.wait(WAIT_S)
        self.done.append(call.number)
        self.some.release()

    def wait(self, count: int) -> Sequence[int]:
        for _ in range(count):
            assert self.some.acquire(timeout=WAIT_S)
        return self.done


def test_short_prompts_go_past_long_ones() -> None:
    work = Work()
    preparing = Preparing(work, work.late.set)
    try:
        preparing.put(call(0, TextPrompt("x" * LONG)))
        preparing.put(call(1, ChatPrompt(b"[" + b" " * LONG + b"]")))
        preparing.put(call(2, TokenPrompt((1,) * LONG)))
        for number, prompt in enumerate((TextPrompt("x"), ChatPrompt(b"[]"), TokenPrompt((1,))), 3):
            preparing.put(call(number, prompt))
        assert work.wait(3) == [3, 4, 5]
        work.go_on.set()
        assert work.wait(3) == [3, 4, 5, 0, 1, 2]
    finally:
        work.go_on.set()
        preparing.close()
    assert not work.late.is_set()


def test_one_that_takes_too_long_is_told_of_once() -> None:
    work, told = Work(), []

    def late() -> None:
        told.append(True)
        work.late.set()

    preparing = Preparing(work, late, longest_s=0.1)
    try:
        preparing.put(call(0, TextPrompt("x")))
        assert work.late.wait(WAIT_S)
    finally:
        work.go_on.set()
        preparing.close()
    assert told == [True]
