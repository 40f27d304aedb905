"""What templates may do with texts that could make a huge one, or take very long, of small ones.

Each is asked for its room first; then Python's own does it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from jinja2.sandbox import SandboxedFormatter

from maas.core.errors import invalid
from maas.runtimes.language.template_meter import Meter

if TYPE_CHECKING:
    from maas.runtimes.language.template_sandbox import TemplateEnvironment

PLAIN_METHODS = frozenset(
    {"capitalize", "casefold", "count", "endswith", "find", "index", "isalnum", "isalpha"}
    | {"isascii", "isdecimal", "isdigit", "isidentifier", "islower", "isnumeric", "isprintable"}
    | {"isspace", "istitle", "isupper", "lower", "partition", "removeprefix", "removesuffix"}
    | {"split", "splitlines", "startswith", "swapcase", "title", "upper"}
)
"""Methods of `str` that make nothing longer and take time in proportion."""

_WIDEST = 9999
_DIGITS = re.compile(r"\d+")
_CONVERSION = re.compile(r"[#0\- +]*(\*|\d*)(?:\.(\*|\d*))?")
_SPLIT_BYTES = 64
_SLOWEST = 1 << 26


def _replace(meter: Meter, text: str, old: str, new: str, count: int = -1) -> str:
    found = text.count(old)
    times = found if count < 0 else min(found, count)
    meter.room(len(text) + times * (len(new) - len(old)))
    return text.replace(old, new, count)


def _join(meter: Meter, text: str, parts: Iterable[str]) -> str:
    known = list(parts)
    meter.room(sum(map(len, known)) + len(text) * max(len(known) - 1, 0))
    return text.join(known)


def _padded(method: Callable[..., str]) -> Callable[..., str]:
    def padded(meter: Meter, text: str, width: int, *fill: str) -> str:
        meter.room(width)
        return method(text, width, *fill)

    return padded


def _backwards(method: Callable[..., Any]) -> Callable[..., Any]:
    """Methods that compare one text at every place of the other."""

    def searched(meter: Meter, text: str, part: str | None = None, *limits: int) -> Any:
        meter.tick()
        if part is not None and len(part) * len(text) > _SLOWEST:
            raise invalid("the chat template searches too long a text for too long a text")
        return method(text, part, *limits)

    return searched


GUARDED_METHODS: Mapping[str, Callable[..., Any]] = {
    "center": _padded(str.center),
    "join": _join,
    "ljust": _padded(str.ljust),
    "lstrip": _backwards(str.lstrip),
    "replace": _replace,
    "rfind": _backwards(str.rfind),
    "rindex": _backwards(str.rindex),
    "rjust": _padded(str.rjust),
    "rpartition": _backwards(str.rpartition),
    "rsplit": _backwards(str.rsplit),
    "rstrip": _backwards(str.rstrip),
    "strip": _backwards(str.strip),
    "zfill": _padded(str.zfill),
}
"""Others, with the meter as their first argument. `format` and `format_map` are `formatted`."""


def parts_bytes(name: str, result: Any) -> int:
    """What the pieces of a text take besides their characters, where a method has split one."""
    return _SPLIT_BYTES * len(result) if name in ("split", "rsplit", "splitlines") else 0


def percent(meter: Meter, text: str, values: Any) -> str:
    """`text % values`."""
    held = len(values) if isinstance(values, str) else meter.weigh((values,))
    widths = list(_conversions(meter, text))
    repeated = 1 if isinstance(values, tuple) else len(widths)
    meter.room(len(text) + sum(widths) + repeated * held)
    made: str = text % values
    return made


def _conversions(meter: Meter, text: str) -> Iterator[int]:
    """The widths and precisions that a format of `%` asks for, added up for each conversion."""
    place = text.find("%") + 1
    while place:
        meter.tick()
        place = _behind_key(text, place)
        found = _CONVERSION.match(text, place)
        sizes = found.groups() if found else ()
        if "*" in sizes:
            raise invalid("the chat template formats with '*' for a width; expected a number")
        yield sum(_width(size) for size in sizes if size)
        end = found.end() if found else place
        place = text.find("%", end + 1) + 1


def _behind_key(text: str, start: int) -> int:
    """Where a `(name)` ends; a name may have parentheses in pairs."""
    depth = 0
    for place in range(start, len(text)):
        depth += (text[place] == "(") - (text[place] == ")")
        if not depth:
            return place + (place > start)
    return len(text)


class _Formatter(SandboxedFormatter):
    """`str.format`, which sees only what a template may, with widths that are not huge."""

    def __init__(self, environment: TemplateEnvironment):
        super().__init__(environment)
        self._meter = environment.meter

    def format_field(self, value: Any, format_spec: str) -> Any:
        for digits in _DIGITS.findall(format_spec):
            _width(digits)
        return self._meter.accept(super().format_field(value, format_spec))


def formatted(environment: TemplateEnvironment, text: str) -> Callable[..., str]:
    """The method `format` of a text."""

    def method(*args: Any, **kwargs: Any) -> str:
        return _Formatter(environment).vformat(text, args, kwargs)

    return method


def formatted_map(environment: TemplateEnvironment, text: str) -> Callable[..., str]:
    """The method `format_map` of a text."""

    def method(mapping: Mapping[str, Any]) -> str:
        return _Formatter(environment).vformat(text, (), mapping)

    return method


def _width(digits: str) -> int:
    if len(digits) > len(str(_WIDEST)):
        raise invalid(f"the chat template formats with the width {digits[:20]}; at most {_WIDEST}")
    return int(digits)
