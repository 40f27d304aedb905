"""What the program prints: tables, JSON, errors, and the exit codes that go with them."""

from __future__ import annotations

import io
import os
import sys
import unicodedata
from collections.abc import Sequence
from enum import IntEnum
from typing import Any, TextIO

from maas.core.errors import ErrorKind, MaasError

IN_TEXTS = frozenset("\n\t\u200c\u200d")
"""What may stand in a text beside printable characters: lines, and joiners within a character."""


class ExitCode(IntEnum):
    """How a command ended."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    UNREACHABLE = 3
    KEY = 4
    INTERRUPTED = 130


def exit_code(error: MaasError) -> ExitCode:
    """The exit code of an error: what was wrong before anything was sent is a matter of usage."""
    from maas.client.errors import ApiError, ServerUnreachable

    if isinstance(error, ServerUnreachable):
        return ExitCode.UNREACHABLE
    if error.kind in (ErrorKind.UNAUTHENTICATED, ErrorKind.PERMISSION_DENIED):
        return ExitCode.KEY
    if error.kind is ErrorKind.INVALID_ARGUMENT and not isinstance(error, ApiError):
        return ExitCode.USAGE
    return ExitCode.FAILURE


def make_streams_safe() -> None:
    """Lets stdout and stderr print `?` for what they cannot encode, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def silence_stdout() -> None:
    """Keeps the interpreter from complaining at exit that nobody reads stdout any more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def printable(text: str) -> str:
    """Makes text from a server safe for a terminal: one line, no control or escape sequences."""
    if text.isprintable():
        return text
    return "".join(_safe(character) for character in text)


def _safe(character: str) -> str:
    if character in "\r\n\t":
        return " "
    category = unicodedata.category(character)
    # Cc: escape sequences. Cf: invisible and right-to-left marks. Cs: broken surrogates.
    return "\ufffd" if category in ("Cc", "Cf", "Cs") else character


def say(text: str = "", *, file: TextIO | None = None) -> None:
    """Prints one line."""
    print(printable(text), file=file or sys.stdout, flush=True)  # the one place


def say_piece(text: str) -> None:
    """Prints a piece of a text of several lines that came from elsewhere; nothing is added.

    A terminal gets it without control sequences, anything else exactly as it is.
    """
    if sys.stdout.isatty() and not text.isprintable():
        text = "".join(each if each in IN_TEXTS else _safe(each) for each in text)
    sys.stdout.write(text)
    sys.stdout.flush()


def note(text: str) -> None:
    """Prints one line to people, on stderr, so that stdout stays what a script reads."""
    say(text, file=sys.stderr)


def print_error(message: str, hint: str = "") -> None:
    """Prints an error: what was wrong, and under it what to do."""
    note(f"error: {message}")
    if hint:
        note(hint)


def print_json(value: Any) -> None:
    """Prints structs, lists and plain values as indented JSON in raw UTF-8."""
    import json

    import msgspec

    say_json(json.dumps(msgspec.to_builtins(value), ensure_ascii=False, indent=2))


def say_json(text: str) -> None:
    """Prints JSON. JSON escapes control characters itself, save DEL and those from 0x80 on."""
    say_raw(text.translate({code: f"\\u{code:04x}" for code in range(0x7F, 0xA0)}))


def say_raw(text: str) -> None:
    """Prints text of several lines that is this program's own."""
    print(text, flush=True)  # noqa: T201  # the one place


def print_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints a table: folded to a terminal's width, never cut in a pipe."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    terminal = sys.stdout.isatty()
    console = Console(file=sys.stdout, width=None if terminal else 100_000, soft_wrap=False)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for header in headers:
        table.add_column(header, overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    console.print(table)


def size_text(count: int) -> str:
    """Writes a number of bytes as people read it."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"
