"""What a worker prints: read by its host with a bound, and logged as the model's own lines."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable

from maas.runtimes.wording import one_sentence

log = logging.getLogger("maas.model")

LINE = 2000
"""Characters of a line that are logged."""
BURST = 128 << 10
"""Bytes that are logged at once …"""
RATE = 16 << 10
"""… and bytes a second after that. The rest is read, counted and dropped."""
LINE_COST = 64
"""Bytes that a line counts for beside its own: a record of the log has a head."""
KEPT = 4096
LAST = 160


class WorkerOutput:
    """Reads a pipe to its end, on a thread of its own.

    Args:
        descriptor: the read end; closed at its end.
        model: `name:version`, in every line.
        clock: monotonic seconds.
    """

    def __init__(
        self, descriptor: int, model: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._descriptor = descriptor
        self._extra = {"model": model}
        self._clock = clock
        self._tail = b""
        self._rest = b""
        self._left = float(BURST)
        self._at = clock()
        self._dropped = 0
        self._thread = threading.Thread(target=self._run, name=f"{model} output", daemon=True)
        self._thread.start()

    def join(self, timeout_s: float) -> None:
        """Waits until the other end has closed."""
        self._thread.join(timeout_s)

    @property
    def last_line(self) -> str:
        """The last line of text, on one line, without paths; empty where there is none."""
        lines = self._tail.decode("utf-8", "replace").strip().splitlines()
        return one_sentence(lines[-1], LAST) if lines else ""

    def _run(self) -> None:
        while data := os.read(self._descriptor, 1 << 16):
            self._take(data)
        self._tell_dropped()
        if self._rest:
            self._log(self._rest)
        os.close(self._descriptor)

    def _take(self, data: bytes) -> None:
        self._tail = (self._tail + data)[-KEPT:]
        now = self._clock()
        self._left = min(self._left + RATE * (now - self._at), float(BURST))
        self._at = now
        cost = len(data) + LINE_COST * data.count(b"\n")
        if cost > self._left:
            if not self._dropped:
                log.warning(
                    "the model prints too much: what follows is left out", extra=self._extra
                )
            self._dropped += len(data)
            return
        self._left -= cost
        self._tell_dropped()
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()[:KEPT]
        for line in lines:
            self._log(line)

    def _tell_dropped(self) -> None:
        if self._dropped:
            log.warning(
                "%d bytes of its output are left out here", self._dropped, extra=self._extra
            )
            self._dropped = 0
            self._rest = b""

    def _log(self, line: bytes) -> None:
        # Whoever reads the log in a terminal is not to be spoken to in its control codes.
        decoded = line[: 4 * LINE].decode("utf-8", "replace")
        text = "".join(c if c.isprintable() or c == "\t" else " " for c in decoded).rstrip()
        if text:
            log.info("%s", text[:LINE], extra=self._extra)
