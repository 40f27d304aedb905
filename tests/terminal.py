"""A program in a terminal of its own: a pseudo-terminal, and somebody who types and reads."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

CTRL_C = "\x03"
CTRL_D = "\x04"
WAIT_S = 60.0
LOOKS = 20
LOOK_S = 0.02


class Terminal:
    """What a person at the terminal sees and does.

    Args:
        process: the program.
        master: the person's end.
    """

    def __init__(self, process: subprocess.Popen[bytes], master: int):
        self.process = process
        self._master = master
        self.shown = ""
        self._seen = 0

    def type(self, text: str) -> None:
        """Presses keys; `\\n` is Return."""
        os.write(self._master, text.encode())

    def interrupt(self) -> None:
        """Presses Ctrl-C at a prompt, once the program waits there.

        CPython's `input` sleeps through a signal that comes between its prompt and its wait.
        """
        seen, until = 0, time.monotonic() + WAIT_S
        while seen < LOOKS and time.monotonic() < until:
            seen = seen + 1 if self._sleeps() else 0
            time.sleep(LOOK_S)
        self.type(CTRL_C)

    def wait_for(self, text: str) -> str:
        """Waits until a text is shown after what was waited for before; gives all up to it.

        Raises:
            AssertionError: it did not come.
        """
        until = time.monotonic() + WAIT_S
        while (place := self.shown.find(text, self._seen)) < 0:
            assert self._read(until), f"{text!r} did not come; shown is:\n{self.shown}"
        before = self.shown[self._seen : place + len(text)]
        self._seen = place + len(text)
        return before

    def end(self) -> int:
        """Waits for the program's end, reads the rest and gives the exit code."""
        until = time.monotonic() + WAIT_S
        while self._read(until):
            pass
        return self.process.wait(WAIT_S)

    def _sleeps(self) -> bool:
        """Whether its main thread waits for something else than the processor."""
        stat = Path(f"/proc/{self.process.pid}/stat").read_text()
        return stat.rpartition(")")[2].split()[0] == "S"

    def _read(self, until: float) -> bool:
        ready, _, _ = select.select([self._master], [], [], max(0.0, until - time.monotonic()))
        if not ready:
            return False
        try:
            got = os.read(self._master, 65536)
        except OSError:  # EIO: the program has closed its end
            return False
        self.shown += got.decode("utf-8", "replace")
        return bool(got)


@contextmanager
def terminal(argv: Sequence[str], env: Mapping[str, str]) -> Iterator[Terminal]:
    """Runs a program in a terminal, and ends it afterwards if it has not ended."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        argv, env=dict(env), stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
        preexec_fn=lambda: _take(0),
    )  # fmt: skip
    os.close(slave)
    try:
        yield Terminal(process, master)
    finally:
        process.kill()
        process.wait()
        os.close(master)


def _take(descriptor: int) -> None:
    """Makes the terminal the new session's own, so that Ctrl-C reaches the program."""
    import fcntl
    import termios

    fcntl.ioctl(descriptor, termios.TIOCSCTTY, 0)
