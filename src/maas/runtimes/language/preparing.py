"""The threads that make tokens of prompts, in two lanes, and the eye that is kept on them.

    put ─▶ short prompts ─▶ a thread ─┐
       └─▶ long ones ─────▶ a thread ─┴─▶ work; one that takes too long ─▶ late

A long prompt takes seconds, and many may come at once: short ones go past them. How long a text
takes is the tokenizer's to say, whose patterns come with the model and can be such that a text
takes for ever. Nothing can stop that but the end of the process.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable

from maas.core.generation import ChatPrompt, Prompt, TextPrompt
from maas.runtimes.language.calls import Call

LONG = 64 << 10
"""Characters, or bytes of messages, from which on a prompt is a long one."""
LONGEST_S = 60.0
"""How long one prompt may take; the longest that is let in takes a tenth of it."""


class Preparing:
    """Two threads that prepare calls, and one that looks after them.

    Args:
        work: prepares a call; must not raise.
        late: called once, on a thread of its own, where a call takes longer than it may.
        longest_s: how long that is; `LONGEST_S` where it is not said.
    """

    def __init__(
        self,
        work: Callable[[Call], object],
        late: Callable[[], object],
        longest_s: float | None = None,
    ):
        self._work, self._late = work, late
        self._longest_s = longest_s or LONGEST_S
        self._closed = threading.Event()
        self._short, self._long = _Lane(), _Lane()
        self._threads = [
            threading.Thread(target=self._run, args=(lane,), name=name, daemon=True)
            for lane, name in ((self._short, "prompts"), (self._long, "long-prompts"))
        ]
        self._eye = threading.Thread(target=self._look, name="prompts-eye", daemon=True)
        for thread in (*self._threads, self._eye):
            thread.start()

    def put(self, call: Call) -> None:
        """Takes a call; those of a lane are prepared in turn."""
        lane = self._long if _size(call.request.prompt) >= LONG else self._short
        lane.calls.put(call)

    def close(self) -> None:
        """Ends the threads after the call under way; does not wait for one that hangs."""
        self._closed.set()
        for lane in (self._short, self._long):
            lane.calls.put(None)
        self._eye.join()
        for thread in self._threads:
            thread.join(self._longest_s)

    def _run(self, lane: _Lane) -> None:
        while (call := lane.calls.get()) is not None:
            lane.since = time.monotonic()
            self._work(call)
            lane.since = None

    def _look(self) -> None:
        while not self._closed.wait(self._longest_s / 8):
            now = time.monotonic()
            for since in (self._short.since, self._long.since):
                if since is not None and now - since > self._longest_s:
                    self._late()
                    return


class _Lane:
    """Calls that wait, and since when one is being prepared."""

    def __init__(self) -> None:
        self.calls: queue.SimpleQueue[Call | None] = queue.SimpleQueue()
        self.since: float | None = None


def _size(prompt: Prompt) -> int:
    if isinstance(prompt, ChatPrompt):
        return len(prompt.messages) + len(prompt.tools) + len(prompt.variables)
    return len(prompt.text if isinstance(prompt, TextPrompt) else prompt.tokens)
