"""A host's connection to control: a thread that reads, a lock around what is said.

The connection is made again when it is lost; what matters is then said again (`greet`).
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

from maas.serving.messages import (
    LENGTH,
    MAX_MESSAGE,
    Changed,
    FromProcess,
    Hello,
    Recount,
    decode_from_control,
    encode,
)

log = logging.getLogger("maas.control-link")

RETRY_S = 0.1


class ControlClient:
    """Blocking client of the control socket.

    Args:
        path: the control socket.
        hello: said first on every connection.
    """

    def __init__(self, path: Path, hello: Hello):
        self._path = path
        self._hello = hello
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None

    def say(self, message: FromProcess) -> None:
        """Sends, or drops the message where control is away: `greet` says it again."""
        with self._lock:
            if self._socket is None:
                return
            try:
                self._socket.sendall(encode(message))
            except OSError as error:
                log.info("control went away: %s", error)

    def run(
        self,
        greet: Callable[[], None],
        changed: Callable[[Changed], None],
        recount: Callable[[], None],
    ) -> None:
        """Connects, reads and connects again, for ever.

        Args:
            greet: called after every Hello.
            changed: called with what control says, on this thread.
            recount: called where control wants to know what has been counted, likewise.
        """
        while True:
            connection = socket.socket(socket.AF_UNIX)
            try:
                connection.connect(str(self._path))
                connection.sendall(encode(self._hello))
                with self._lock:
                    self._socket = connection
                greet()
                self._read(connection, changed, recount)
            except (OSError, ValueError) as error:
                log.debug("control is not there: %s", error)
            with self._lock:
                self._socket = None
            connection.close()
            time.sleep(RETRY_S)

    def _read(
        self,
        connection: socket.socket,
        changed: Callable[[Changed], None],
        recount: Callable[[], None],
    ) -> None:
        reader = connection.makefile("rb")
        while len(prefix := reader.read(LENGTH.size)) == LENGTH.size:
            (size,) = LENGTH.unpack(prefix)
            if size > MAX_MESSAGE:
                raise OSError(f"a message of {size} bytes")
            data = reader.read(size)
            if len(data) < size:
                return
            message = decode_from_control(data)
            if isinstance(message, Changed):
                changed(message)
            elif isinstance(message, Recount):
                recount()
