"""What a model's text says, piece by piece: texts, and calls of tools."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct


class Content(Struct, frozen=True, gc=False):
    """Text for the reader."""

    text: str


class CallStart(Struct, frozen=True, gc=False):
    """A call begins.

    Args:
        index: among the calls of this answer, from 0.
        name: of the function; it need not be one that was offered.
    """

    index: int
    name: str


class CallArguments(Struct, frozen=True, gc=False):
    """The next part of a call's arguments: JSON as the model writes it, which may be cut short."""

    index: int
    text: str


Event = Content | CallStart | CallArguments


class ToolParser(Protocol):
    """Finds the calls in one answer's text. How the text is cut into pieces changes nothing."""

    def feed(self, text: str) -> Sequence[Event]:
        """Takes the next piece, and gives what is certain by now."""
        ...

    def end(self) -> Sequence[Event]:
        """Gives the rest; nothing is fed afterwards."""
        ...


def joined(events: Sequence[Event]) -> list[Event]:
    """The same with neighbouring pieces of one thing put together, and without empty ones."""
    found: list[Event] = []
    for event in events:
        last = found[-1] if found else None
        if isinstance(event, Content):
            if not event.text:
                continue
            if isinstance(last, Content):
                found[-1] = Content(last.text + event.text)
                continue
        elif isinstance(event, CallArguments):
            if not event.text:
                continue
            if isinstance(last, CallArguments) and last.index == event.index:
                found[-1] = CallArguments(event.index, last.text + event.text)
                continue
        found.append(event)
    return found
