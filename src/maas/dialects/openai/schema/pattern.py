r"""`pattern` of a JSON schema, written anew so that every engine reads it and keeps it.

```
^\w-\d{2}$ ─▶ parse ─▶ sets without the characters that JSON escapes ─▶ ^[0-9A-Z_a-z]-[0-9]{2}$
```

Engines write what a pattern allows into a JSON string as it is, so a pattern that allows a
quotation mark, a backslash or a control character would let them end or break the string. Such
characters are taken out of sets; a pattern that needs one is refused. What is written matches from
end to end: where an anchor is missing, any text may stand.
"""

from __future__ import annotations

from msgspec import Struct

from maas.core.errors import MaasError, invalid

MOST_TEXT = 512
MOST_TIMES = 1000
MOST_ALTERNATIVES = 8
"""In one place: xgrammar mixes up more of them."""
MOST_GROUPS = 16
"""Groups within groups."""
LAST = 0x10FFFF
NARROW = 16
"""A repeated set of at most so many characters costs an engine little."""

FIXED = 1 / 256
"""What a character costs that stands alone."""

Range = tuple[int, int]
ESCAPED: tuple[Range, ...] = ((0, 0x1F), (0x22, 0x22), (0x5C, 0x5C))
"""What JSON escapes within strings."""
DIGITS: tuple[Range, ...] = ((0x30, 0x39),)
WORDS: tuple[Range, ...] = ((0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A))
SPACES: tuple[Range, ...] = ((0x09, 0x0D), (0x20, 0x20))
HANGUL_END, SURROGATES_END = 0xD7A3, 0xDFFF
SPECIAL = frozenset(".*+?()[]{}|^$/")


class Pattern(Struct, frozen=True):
    """A pattern that every engine keeps.

    Args:
        text: of it, without anchors; alternatives are in a group.
        least: characters that it takes at least.
        most: at most; None for any number.
        cost: how many places it has whose set is wide, repetitions counted out; narrow ones
            count a sixteenth.
    """

    text: str
    least: int
    most: int | None
    cost: float

    @property
    def anchored(self) -> str:
        """As a schema holds it."""
        return f"^{self.text}$"


def read_pattern(text: str, at: str) -> Pattern:
    """Reads a pattern and writes it anew.

    Args:
        text: ECMA 262's regular expressions without lookarounds, backreferences, word borders and
            properties of Unicode.
        at: where it stands, for errors.

    Raises:
        MaasError: INVALID_ARGUMENT: it cannot be read, or not be kept by every engine.
    """
    if len(text) > MOST_TEXT:
        raise invalid(f"{at}: the pattern has {len(text)} characters, at most {MOST_TEXT} are read")
    reader = _Reader(text, at)
    found = reader.alternatives(0)
    if reader.place < len(text):
        raise reader.error("a ')' without its '('")
    return found


ANYTHING = Pattern(r'[^\x00-\x1f"\\]*', 0, None, 1)


class _Reader:
    """One pass over one pattern."""

    def __init__(self, text: str, at: str):
        self._text = text
        self._at = at
        self.place = 0

    def error(self, why: str) -> MaasError:
        return invalid(f"{self._at}: the pattern cannot be kept: {why}, at character {self.place}")

    def alternatives(self, depth: int) -> Pattern:
        """Sequences with `|` between them, to the end of the text or of the group."""
        if depth > MOST_GROUPS:
            raise self.error(f"more than {MOST_GROUPS} groups within each other")
        found = [self._sequence(depth)]
        while self._peek() == "|":
            self.place += 1
            found.append(self._sequence(depth))
        if len(found) == 1:
            return found[0]
        if len(found) > MOST_ALTERNATIVES:
            raise self.error(
                f"more than {MOST_ALTERNATIVES} alternatives; enumerate them with enum"
            )
        most = [one.most for one in found]
        return Pattern(
            f"({'|'.join(one.text for one in found)})",
            min(one.least for one in found),
            None if None in most else max(count or 0 for count in most),
            sum(one.cost for one in found),
        )

    def _sequence(self, depth: int) -> Pattern:
        parts = []
        if depth == 0 and self._peek() == "^":
            self.place += 1
        elif depth == 0:
            parts.append(ANYTHING)
        while (char := self._peek()) not in ("", "|", ")"):
            if char == "$" and depth == 0 and self._text[self.place + 1 :][:1] in ("", "|"):
                self.place += 1
                break
            parts.append(self._repeated(self._atom(char, depth)))
        else:
            if depth == 0:
                parts.append(ANYTHING)
        most: int | None = 0
        for part in parts:
            most = None if most is None or part.most is None else most + part.most
        return Pattern(
            "".join(part.text for part in parts),
            sum(part.least for part in parts),
            most,
            sum(part.cost for part in parts),
        )

    def _atom(self, char: str, depth: int) -> Pattern:
        if char == "(":
            return self._group(depth)
        if char == "[":
            return self._set_of(self._class())
        if char in "^$":
            raise self.error(f"{char!r} is read at its beginning and end alone")
        if char in "*+?{":
            raise self.error(f"{char!r} repeats nothing; write \\{char} for the character itself")
        if char in "]}":
            raise self.error(f"write \\{char} for {char!r}")
        self.place += 1
        if char == ".":
            return self._set_of(_complement(ESCAPED))
        if char != "\\":
            return self._literal(ord(char))
        found = self._escape()
        return self._literal(found) if isinstance(found, int) else self._set_of(found)

    def _group(self, depth: int) -> Pattern:
        self.place += 1
        if self._peek() == "?":
            rest = self._text[self.place :]
            if rest.startswith("?:"):
                self.place += 2
            elif rest.startswith(("?<", "?P<")) and not rest.startswith(("?<=", "?<!")):
                end = rest.find(">")
                name = rest[rest.index("<") + 1 : end]
                if end < 0 or not name.isidentifier():
                    raise self.error("a group's name is not ended")
                self.place += end + 1
            else:
                raise self.error("lookarounds and flags are not read")
        found = self.alternatives(depth + 1)
        if self._peek() != ")":
            raise self.error("a '(' without its ')'")
        self.place += 1
        if found.text.startswith("(") and found.text.endswith(")") and _whole(found.text):
            return found
        return Pattern(f"({found.text})", found.least, found.most, found.cost)

    def _repeated(self, atom: Pattern) -> Pattern:
        char = self._peek()
        if char == "" or char not in "*+?{":
            return atom
        if char == "{":
            least, most = self._counts()
        else:
            self.place += 1
            least, most = {"*": (0, None), "+": (1, None), "?": (0, 1)}[char]
        if self._peek() == "?":  # lazy: the same texts are allowed
            self.place += 1
        if self._peek() != "" and self._peek() in "*+?{":
            raise self.error("a repetition is repeated; put it into a group")
        suffix = char if char != "{" else _times(least, most)
        if not atom.text:
            return atom
        longest = None if most is None or atom.most is None else atom.most * most
        times = max(least, 1) if most is None else most
        return Pattern(atom.text + suffix, atom.least * least, longest, atom.cost * times)

    def _counts(self) -> tuple[int, int | None]:
        end = self._text.find("}", self.place)
        inside = self._text[self.place + 1 : end] if end >= 0 else ""
        first, comma, second = inside.partition(",")
        texts = [first, second] if second else [first]
        if not all(text.isascii() and text.isdigit() and len(text) < 5 for text in texts):
            raise self.error(
                "'{' is read as {2}, {2,} or {2,3}; write \\{ for the character itself"
            )
        least = int(first)
        most = int(second) if second else None if comma else least
        if max(least, most or 0) > MOST_TIMES:
            raise self.error(f"more than {MOST_TIMES} repetitions")
        if most is not None and most < least:
            raise self.error(f"{{{inside}}} allows nothing")
        self.place = end + 1
        return least, most

    def _class(self) -> tuple[Range, ...]:
        self.place += 1
        negated = self._peek() == "^"
        self.place += negated
        found: list[Range] = []
        while (char := self._peek()) != "]":
            if char == "":
                raise self.error("a '[' without its ']'")
            first = self._member()
            if not isinstance(first, int):
                found += first
                continue
            last = first
            if self._peek() == "-" and self._text[self.place + 1 :][:1] not in ("", "]"):
                self.place += 1
                end = self._member()
                if not isinstance(end, int) or end < first:
                    raise self.error("a range of characters ends before it begins")
                last = end
            found.append((first, last))
        self.place += 1
        merged = _merged(found)
        return _complement(merged) if negated else merged

    def _member(self) -> int | tuple[Range, ...]:
        char = self._peek()
        if char == "":
            raise self.error("a '[' without its ']'")
        self.place += 1
        if char != "\\":
            return ord(char)
        if self._peek() == "-":
            self.place += 1
            return ord("-")
        return self._escape()

    def _escape(self) -> int | tuple[Range, ...]:
        char = self._peek()
        self.place += 1
        sets = {"d": DIGITS, "w": WORDS, "s": SPACES}
        if char != "" and char in "dDwWsS":
            found = sets[char.lower()]
            return found if char.islower() else _complement(found)
        if char != "" and char in "nrtfv":
            return {"n": 10, "r": 13, "t": 9, "f": 12, "v": 11}[char]
        if char != "" and char in "xu":
            length = 2 if char == "x" else 4
            digits = self._text[self.place : self.place + length]
            if len(digits) < length or not all(
                digit in "0123456789abcdefABCDEF" for digit in digits
            ):
                raise self.error(f"\\{char} wants {length} hexadecimal digits")
            self.place += length
            return int(digits, 16)
        if char == "" or char.isalnum():
            raise self.error(f"\\{char} is not read" if char else "it ends within an escape")
        return ord(char)

    def _literal(self, code: int) -> Pattern:
        if _holds(ESCAPED, code) or HANGUL_END < code <= SURROGATES_END:
            raise self.error(
                "it needs a quotation mark, a backslash, a control character or a surrogate"
            )
        char = chr(code)
        return Pattern("\\" + char if char in SPECIAL else char, 1, 1, FIXED)

    def _set_of(self, ranges: tuple[Range, ...]) -> Pattern:
        allowed = _complement(_merged([*_complement(ranges), *ESCAPED]))
        open_end = bool(allowed) and allowed[-1][1] == LAST
        if not open_end:
            allowed = _without_surrogates(allowed)
        if not allowed:
            raise self.error("a set has no character that a JSON string holds as it is")
        if open_end and allowed[-1][0] > 0x80:
            raise self.error("a set cannot exclude other characters than those of ASCII")
        inside = _listed(_complement(allowed) if open_end else allowed)
        size = sum(last - first + 1 for first, last in allowed)
        cost = 1 / 16 if size <= NARROW else 1
        return Pattern(f"[{'^' if open_end else ''}{inside}]", 1, 1, cost)

    def _peek(self) -> str:
        return self._text[self.place : self.place + 1]


def _times(least: int, most: int | None) -> str:
    if most is None:
        return f"{{{least},}}"
    return f"{{{least}}}" if least == most else f"{{{least},{most}}}"


def _whole(text: str) -> bool:
    """Whether the first parenthesis is closed by the last character."""
    depth, place, inside = 0, 0, False
    while place < len(text):
        char = text[place]
        if char == "\\":
            place += 1
        elif inside:
            inside = char != "]"
        elif char == "[":
            inside = True
        elif char in "()":
            depth += 1 if char == "(" else -1
            if depth == 0:
                return place == len(text) - 1
        place += 1
    return False


def _merged(ranges: list[Range]) -> tuple[Range, ...]:
    found: list[Range] = []
    for first, last in sorted(ranges):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(last, found[-1][1]))
        else:
            found.append((first, last))
    return tuple(found)


def _complement(ranges: tuple[Range, ...]) -> tuple[Range, ...]:
    found, start = [], 0
    for first, last in ranges:
        if first > start:
            found.append((start, first - 1))
        start = last + 1
    if start <= LAST:
        found.append((start, LAST))
    return tuple(found)


def _holds(ranges: tuple[Range, ...], code: int) -> bool:
    return any(first <= code <= last for first, last in ranges)


def _without_surrogates(ranges: tuple[Range, ...]) -> tuple[Range, ...]:
    """Moves ends of ranges away from the surrogates, where xgrammar's automata go wrong."""
    found = []
    for first, last in ranges:
        start = SURROGATES_END + 1 if HANGUL_END < first <= SURROGATES_END else first
        end = HANGUL_END if HANGUL_END < last <= SURROGATES_END else last
        if start <= end:
            found.append((start, end))
    return tuple(found)


def _listed(ranges: tuple[Range, ...]) -> str:
    return "".join(
        _written(first) if first == last else f"{_written(first)}-{_written(last)}"
        for first, last in ranges
    )


def _written(code: int) -> str:
    char = chr(code)
    if code < 0x20 or code == 0x7F:
        return f"\\x{code:02x}"
    return "\\" + char if char in "[]^-\\" else char
