"""Reading the JSON object of one call while it is being written."""

from __future__ import annotations

import json
import re

from maas.dialects.openai.tools.events import CallArguments, CallStart, Event

MOST_NESTING = 100
"""Lists and objects within each other in a call's arguments."""
MOST_NAME = 256
MOST_HEAD = 64 * 1024
"""Characters of a call before it is known to be one: they are held back."""
BLANK = " \t\r\n"
_PLAIN = re.compile(r'[^"{}\[\]]+')
_IN_STRING = re.compile(r'[^"\\]+')
_SCALAR = re.compile(r"[-+.0-9A-Za-z]+")
_CONSTANT = re.compile(r"(true|false|null|-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?)\Z")


class Brackets:
    """Finds the end of a JSON object: it counts brackets outside of strings, and checks no more."""

    __slots__ = ("_depth", "_escaped", "_string", "failed")

    def __init__(self) -> None:
        self._depth = 0
        self._string = self._escaped = False
        self.failed = False

    def feed(self, text: str, start: int) -> int:
        """Reads on.

        Returns:
            The place after the value's last character; -1 where it is not in this text. With
            `failed` set, the place of what is nested too deep.
        """
        place, end = start, len(text)
        while place < end:
            if self._escaped:
                self._escaped = False
                place += 1
                continue
            match = (_IN_STRING if self._string else _PLAIN).match(text, place)
            if match:
                place = match.end()
                continue
            char = text[place]
            if self._string:
                self._escaped = char == "\\"
                self._string = self._escaped
            elif char == '"':
                self._string = True
            elif char in "{[":
                if self._depth == MOST_NESTING:
                    self.failed = True
                    return place
                self._depth += 1
            else:
                self._depth -= 1
                if self._depth <= 0:
                    return place + 1
            place += 1
        return -1


class CallScanner:
    """Reads `{"name": …, "arguments": {…}}`, with `parameters` for `arguments` as well.

    Its members come in any order, others among them. The arguments are given as they come once the
    name is known. They may be a string that holds the object.

    Args:
        index: of the call.
        bare: a name alone is a call, too: one without arguments.
    """

    __slots__ = (
        *("_arguments", "_bare", "_brackets", "_escaped", "_index", "_key", "_kind", "_name"),
        *("_read_so_far", "_state", "failed", "finished", "head", "started"),
    )

    def __init__(self, index: int, *, bare: bool):
        self._index = index
        self._bare = bare
        self._state = "open"
        self._key = ""
        self._kind = ""
        self._read_so_far = ""
        self._name: str | None = None
        self._arguments: str | None = None
        self._escaped = False
        self._brackets = Brackets()
        self.head = ""
        """What was read before the call began; it is to be shown where there is none."""
        self.started = False
        self.finished = False
        self.failed = False

    def feed(self, text: str, events: list[Event]) -> int:
        """Reads on, until the object ends or cannot be a call.

        Returns:
            How many characters were read.
        """
        place = 0
        while place < len(text) and not self.finished and not self.failed:
            before = place
            started = self.started
            place = self._read(text, place, events)
            if not started:
                self.head += text[before:place]
                if len(self.head) > MOST_HEAD and not self.started:
                    self.failed = True
        return place

    def _read(self, text: str, place: int, events: list[Event]) -> int:
        state, char = self._state, text[place]
        if state == "value":
            return self._value(text, place, events)
        if state in ("string", "key"):
            return self._string(text, place, events)
        if char in BLANK:
            return place + 1
        if state == "open":
            return self._turn("first", char == "{", place)
        if state in ("first", "member"):
            if char == "}" and state == "first":
                return self._finish(place, events)
            self._read_so_far = char
            return self._turn("key", char == '"', place)
        if state == "colon":
            return self._turn("begin", char == ":", place)
        if state == "begin":
            return self._begin(text, place, events)
        if char == "}":
            return self._finish(place, events)
        return self._turn("member", char == ",", place)

    def _turn(self, state: str, right: bool, place: int) -> int:
        if not right:
            self.failed = True
            return place
        self._state = state
        return place + 1

    def _begin(self, text: str, place: int, events: list[Event]) -> int:
        """A value's first character."""
        char = text[place]
        arguments = self._key in ("arguments", "parameters") and not self.started
        if self._key == "name" and char != '"':
            self.failed = True
        elif char == '"':
            self._read_so_far = char
            self._state = "string"
            return place + 1
        elif char in "{[":
            self.failed = arguments and (char == "[" or self._arguments is not None)
            self._kind = "arguments" if arguments else "object"
            self._brackets = Brackets()
            self._state = "value"
            if arguments and not self.failed:
                self._arguments = ""
                if self._name is not None:
                    self._start(events)
        elif arguments or not _SCALAR.match(char):
            self.failed = True
        else:
            self._read_so_far = ""
            self._kind = "scalar"
            self._state = "value"
        return place

    def _value(self, text: str, place: int, events: list[Event]) -> int:
        if self._kind == "scalar":
            match = _SCALAR.match(text, place)
            if match and len(self._read_so_far) < MOST_NAME:
                self._read_so_far += match[0]
                return match.end()
            self.failed = not _CONSTANT.match(self._read_so_far)
            self._state = "next"
            return place
        end = self._brackets.feed(text, place)
        if self._brackets.failed:
            self.failed = True
        stop = len(text) if end < 0 else end
        if self._kind == "arguments":
            if self.started:
                events.append(CallArguments(self._index, text[place:stop]))
            else:
                self._arguments = (self._arguments or "") + text[place:stop]
        if end >= 0:
            self._state = "next"
        return stop

    def _string(self, text: str, place: int, events: list[Event]) -> int:
        if self._escaped:
            self._escaped = False
            self._read_so_far += text[place]
            return place + 1
        match = _IN_STRING.match(text, place)
        stop = match.end() if match else place + 1
        self._read_so_far += text[place:stop]
        self._escaped = text[place] == "\\"
        if match or self._escaped:
            return stop
        read = _text_of(self._read_so_far)
        if read is None:
            self.failed = True
        elif self._state == "key":
            self._key = read
            self._state = "colon"
        else:
            self._state = "next"
            self._take(read, events)
        return place if self.failed else stop

    def _take(self, read: str, events: list[Event]) -> None:
        """A member that is a string."""
        if self.started:
            return
        if self._key == "name":
            self.failed = not 0 < len(read) <= MOST_NAME or self._name is not None
            self._name = read
        elif self._key in ("arguments", "parameters"):
            self.failed = self._arguments is not None or not _is_object(read)
            self._arguments = read
        if self._name is not None and self._arguments is not None and not self.failed:
            self._start(events)

    def _start(self, events: list[Event]) -> None:
        self.started = True
        events.append(CallStart(self._index, self._name or ""))
        if self._arguments:
            events.append(CallArguments(self._index, self._arguments))

    def _finish(self, place: int, events: list[Event]) -> int:
        if not self.started:
            if self._name is None or self._arguments is not None or not self._bare:
                self.failed = True
                return place
            self._arguments = "{}"
            self._start(events)
        self.finished = True
        return place + 1


def _text_of(written: str) -> str | None:
    """What a JSON string says; None where it is none, or holds half of a character."""
    try:
        found: str = json.loads(written)
        found.encode()
    except ValueError:
        return None
    return found


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False
