"""Turns a framework's exception into one sentence that may leave the server."""

from __future__ import annotations

import re

LONGEST = 240
_PATH = re.compile(r"(?:[A-Za-z]:)?(?:[/\\][\w.@+~=-]+){2,}(?::\d+)?")
_LINK = re.compile(r"https?://\S+")
_ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{4,}\b")
_ORT_PREFIX = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ")
_ANSI = re.compile(r"\x1b\[[0-9;]*m")


def one_sentence(error: BaseException | str, longest: int = LONGEST) -> str:
    """The error's own words on one line, without paths and addresses, at most `longest` long.

    Args:
        error: an exception, or what a process wrote before it died.
        longest: characters kept.
    """
    text = _ANSI.sub("", str(error))
    text = _ORT_PREFIX.sub("", text)
    text = _ADDRESS.sub("…", _PATH.sub("…", _LINK.sub("…", text)))
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    if not text:
        text = type(error).__name__ if isinstance(error, BaseException) else "nothing"
    if len(text) > longest:
        text = text[: longest - 1] + "…"
    return text.rstrip(". ")
