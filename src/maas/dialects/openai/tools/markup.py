r"""Finding the calls that models write in the ways they have been taught.

```
hermes   text <tool_call>\n{"name": …, "arguments": {…}}\n</tool_call> …
mistral  text [TOOL_CALLS][{"name": …, "arguments": {…}}, …]
         text [TOOL_CALLS]name[ARGS]{…}[TOOL_CALLS]…
llama3   {"name": …, "parameters": {…}}; {…}   the whole answer, perhaps after <|python_tag|>
```

Each parser holds back only what may yet become markup. What turns out to be no call is text, as it
was written; blanks between calls are markup.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from maas.dialects.openai.tools.events import (
    CallArguments,
    CallStart,
    Content,
    Event,
    joined,
)
from maas.dialects.openai.tools.scan import BLANK, Brackets, CallScanner

MOST_CALLS = 128
"""In one answer; what follows is text."""
MOST_BLANKS = 1024
"""So many wait for what follows; more of them are text."""
MOST_NAMING = 600
"""Characters of a call's name and id in Mistral's newer way."""
_NAMING = re.compile(r"\s*([\w.-]{1,256})(?:\[CALL_ID\]\w{1,128})?(?:\[ARGS\])?\s*", re.ASCII)
_NO_NAMING = re.compile(r"[^\w.\[\]\s-]", re.ASCII)


class MarkupParser:
    """What the three have in common: text held back, and the state that reads it.

    A state reads what it can and says whether it read or changed anything.
    """

    def __init__(self) -> None:
        self._held = ""
        self._events: list[Event] = []
        self._state: Callable[[], bool] = self._text
        self._scanner: CallScanner | None = None
        self._markup = ""
        """What stood before the call that is being read, to be shown where it is none."""
        self._calls = 0

    def feed(self, text: str) -> Sequence[Event]:
        """Takes the next piece, and gives what is certain by now."""
        self._held += text
        while self._held and self._state():
            pass
        return self._given()

    def end(self) -> Sequence[Event]:
        """Gives the rest; nothing is fed afterwards."""
        self._last()
        return self._given()

    def _given(self) -> list[Event]:
        found, self._events = self._events, []
        return joined(found)

    def _last(self) -> None:
        if self._scanner is not None and not self._scanner.started:
            self._show(self._markup + self._scanner.head)
        self._show(self._held)

    def _rest(self) -> str | None:
        """What is held without the blanks that it begins with; None where those are too many."""
        rest = self._held.lstrip(BLANK)
        return rest if len(self._held) - len(rest) <= MOST_BLANKS else None

    def _show(self, text: str) -> None:
        if text:
            self._events.append(Content(text))

    def _text(self) -> bool:
        """Everything that follows is text."""
        self._show(self._held)
        self._held = ""
        return False

    def _scan(self, markup: str, after: Callable[[], bool], *, bare: bool) -> None:
        """What follows is a call, when it is one."""
        self._markup = markup
        self._scanner = CallScanner(self._calls, bare=bare)

        def read() -> bool:
            return self._call(after)

        self._state = read

    def _call(self, after: Callable[[], bool]) -> bool:
        scanner = self._scanner
        assert scanner is not None
        self._held = self._held[scanner.feed(self._held, self._events) :]
        if not scanner.finished and not scanner.failed:
            return False
        self._scanner = None
        if scanner.started:
            self._calls += 1
            self._state = after
        else:
            self._show(self._markup + scanner.head)
            self._state = self._otherwise()
        return True

    def _otherwise(self) -> Callable[[], bool]:
        """The state after what looked like a call and was none."""
        return self._text


class _Opened(MarkupParser):
    """Calls behind a marker, with text between them."""

    marker = ""

    def __init__(self) -> None:
        super().__init__()
        self._blank = True
        self._state = self._content

    def _content(self) -> bool:
        """Text up to the next marker. Blanks at its beginning wait for what follows."""
        held = self._held
        if self._calls >= MOST_CALLS:
            return self._text()
        found = held.find(self.marker)
        stop = len(held) - _overlap(held, self.marker) if found < 0 else found
        if not self._blank or stop > MOST_BLANKS or held[:stop].strip(BLANK):
            self._blank = False
            self._show(held[:stop])
            self._held = held[stop:]
        if found < 0:
            return False
        self._markup = held[:found] if self._blank else ""
        self._markup += self.marker
        self._held = held[found + len(self.marker) :]
        self._opened()
        return True

    def _opened(self) -> None:
        raise NotImplementedError

    def _otherwise(self) -> Callable[[], bool]:
        self._blank = False
        return self._content

    def _again(self) -> Callable[[], bool]:
        self._blank = True
        return self._content

    def _last(self) -> None:
        after_call = self._state == self._content and self._blank and self._calls > 0
        if after_call and not self._held.strip(BLANK):
            return
        super()._last()


class HermesParser(_Opened):
    """Hermes' way, and Qwen's."""

    marker = "<tool_call>"
    closing = "</tool_call>"

    def _opened(self) -> None:
        self._scan(self._markup, self._closed, bare=True)

    def _closed(self) -> bool:
        rest = self._rest()
        if rest is not None and rest.startswith(self.closing):
            self._held = rest[len(self.closing) :]
        elif rest is not None and self.closing.startswith(rest):
            return False
        self._state = self._again()
        return True

    def _last(self) -> None:
        if self._state == self._closed and self.closing.startswith(self._held.lstrip(BLANK)):
            return
        super()._last()


class MistralParser(_Opened):
    """Mistral's two ways."""

    marker = "[TOOL_CALLS]"

    def __init__(self) -> None:
        super().__init__()
        self._brackets = Brackets()

    def _opened(self) -> None:
        self._state = self._either

    def _either(self) -> bool:
        """A list of objects, or a name."""
        rest = self._rest()
        if rest == "":
            return False
        if rest is None:
            self._show(self._markup)
            self._state = self._otherwise()
        elif rest[0] == "[":
            start = len(self._held) - len(rest) + 1
            self._markup += self._held[:start]
            self._held = self._held[start:]
            self._scan(self._markup, self._next, bare=True)
        else:
            self._state = self._naming
        return True

    def _next(self) -> bool:
        """After a call in a list."""
        rest = self._rest()
        if rest == "":
            return False
        if rest is not None and rest[0] == "," and self._calls < MOST_CALLS:
            self._held = rest[1:]
            self._scan(",", self._next, bare=True)
            return True
        if rest is not None and rest[0] == "]":
            self._held = rest[1:]
        self._state = self._again()
        return True

    def _naming(self) -> bool:
        """The name of a call, up to its arguments."""
        brace = self._held.find("{")
        head = self._held if brace < 0 else self._held[:brace]
        if brace < 0 and len(head) <= MOST_NAMING and not _NO_NAMING.search(head):
            return False
        match = _NAMING.fullmatch(head)
        if brace < 0 or len(head) > MOST_NAMING or match is None:
            self._show(self._markup)
            self._state = self._otherwise()
            return True
        self._events.append(CallStart(self._calls, match[1]))
        self._held = self._held[brace:]
        self._brackets = Brackets()
        self._state = self._arguments
        return True

    def _arguments(self) -> bool:
        end = self._brackets.feed(self._held, 0)
        stop = len(self._held) if end < 0 else end
        self._events.append(CallArguments(self._calls, self._held[:stop]))
        self._held = self._held[stop:]
        if end >= 0:
            self._calls += 1
            self._state = self._again()
        return end >= 0

    def _last(self) -> None:
        if self._state in (self._either, self._naming):
            self._show(self._markup)
        elif self._state == self._next and not self._held.strip(BLANK):
            return
        super()._last()


class LlamaParser(MarkupParser):
    """Llama 3's way: the whole answer is calls, or none of it is."""

    marker = "<|python_tag|>"

    def __init__(self) -> None:
        super().__init__()
        self._state = self._begun

    def _begun(self) -> bool:
        """Before a call: blanks, the marker or not, `;` between calls."""
        rest = self._held.lstrip(BLANK)
        blanks = self._held[: len(self._held) - len(rest)]
        if self._calls and rest[:1] == ";":
            blanks += ";"
            rest = rest[1:]
            more = rest.lstrip(BLANK)
            blanks += rest[: len(rest) - len(more)]
            rest = more
        if self._calls >= MOST_CALLS or len(blanks) > MOST_BLANKS:
            self._state = self._text
            return True
        if rest.startswith(self.marker):
            blanks += self.marker
            rest = rest[len(self.marker) :]
        elif self.marker.startswith(rest):
            return False
        elif rest[0] != "{":
            self._state = self._text
            return True
        self._held = rest
        self._scan(blanks, self._begun, bare=False)
        return True

    def _last(self) -> None:
        if self._calls and self._state == self._begun and not self._held.strip(BLANK + ";"):
            return
        super()._last()


def _overlap(text: str, marker: str) -> int:
    """How many of a text's last characters may begin the marker."""
    for size in range(min(len(text), len(marker) - 1), 0, -1):
        if marker.startswith(text[-size:]):
            return size
    return 0
