"""The filters, tests and functions that chat templates have here.

Those of Jinja that only look or take apart are kept and watched; those that could make something
huge of something small are measured first. What makes no sense in a prompt is not there.
"""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from functools import partial, wraps
from types import GeneratorType
from typing import Any

from jinja2 import filters as jinja_filters
from jinja2.exceptions import TemplateError
from jinja2.utils import pass_environment

from maas.core.errors import invalid
from maas.runtimes.language.template_meter import DEEPEST
from maas.runtimes.language.template_sandbox import (
    TemplateEnvironment,
    TemplateFunction,
    TemplateNamespace,
)
from maas.runtimes.language.template_text import GUARDED_METHODS, percent

KEPT = frozenset(
    {"abs", "attr", "batch", "capitalize", "count", "d", "default", "dictsort", "first", "float"}
    | {"groupby", "int", "items", "last", "length", "list", "lower", "map", "max", "min", "reject"}
    | {"rejectattr", "reverse", "round", "select", "selectattr", "slice", "sort", "title"}
    | {"truncate", "unique", "upper", "wordcount"}
)
"""Jinja's own, watched."""

_RANGE = 100_000
_PAGES = 10_000
_DIGITS = 100
_LONGEST_FORMAT = 200
_PAIRS = 1000
_LONGEST_SEPARATOR = 16


class RefusedError(TemplateError):
    """The template called `raise_exception`."""


def install(environment: TemplateEnvironment, now: Callable[[], datetime]) -> None:
    """Gives an environment its filters, tests and functions."""
    own: dict[str, Callable[..., Any]] = {
        "center": _center,
        "e": _escape,
        "escape": _escape,
        "forceescape": _escape,
        "format": _format,
        "indent": _indent,
        "join": _join,
        "replace": _replace,
        "safe": _string,  # nothing is escaped by itself, so nothing is marked either
        "string": _string,
        "sum": _sum,
        "tojson": _tojson,
        "trim": _trim,
    }
    kept: dict[str, Callable[..., Any]] = {name: jinja_filters.FILTERS[name] for name in KEPT}
    environment.filters.update(
        {name: _watched(environment, name, filter_) for name, filter_ in (kept | own).items()}
    )
    environment.tests.update(
        {name: _watched(environment, name, test) for name, test in environment.tests.items()}
    )
    environment.globals.update(
        {
            function.name: function
            for function in (
                TemplateFunction(_range, "range"),
                TemplateFunction(_dict, "dict"),
                TemplateFunction(TemplateNamespace, "namespace"),
                TemplateFunction(_refuse, "raise_exception"),
                TemplateFunction(partial(_time, now), "strftime_now"),
            )
        }
    )


def _watched(environment: TemplateEnvironment, name: str, function: Any) -> Callable[..., Any]:
    limit = {"batch": _PAGES, "slice": _PAGES, "round": _DIGITS}.get(name)

    @wraps(function)
    def watched(*args: Any, **kwargs: Any) -> Any:
        meter = environment.meter
        meter.tick()
        if limit is not None:
            for value in (*args[1:], *kwargs.values()):
                if isinstance(value, int) and abs(value) > limit:
                    raise invalid(f"the chat template uses '{name}' with {value}; at most {limit}")
        result = function(*args, **kwargs)
        if isinstance(result, GeneratorType):
            return _Once(meter.accept(list(_each(environment, result))))
        return meter.accept(result)

    return watched


class _Once:
    """What goes through a list once, as the generators do that Jinja's filters give."""

    def __init__(self, items: list[Any]):
        self._items = iter(items)

    def __iter__(self) -> Iterator[Any]:
        return self._items

    def __next__(self) -> Any:
        return next(self._items)

    def __repr__(self) -> str:
        return "<generator>"


def _each(environment: TemplateEnvironment, values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        environment.meter.accept(value)
        yield value


@pass_environment
def _string(environment: TemplateEnvironment, value: Any) -> str:
    return environment.text(value)


@pass_environment
def _escape(environment: TemplateEnvironment, value: Any) -> str:
    text = environment.text(value)
    environment.meter.room(len(text) + 5 * sum(map(text.count, "&<>'\"")))
    return html.escape(text).replace("&#x27;", "&#39;").replace("&quot;", "&#34;")


@pass_environment
def _center(environment: TemplateEnvironment, value: Any, width: int = 80) -> Any:
    return GUARDED_METHODS["center"](environment.meter, environment.text(value), width)


@pass_environment
def _replace(
    environment: TemplateEnvironment, value: Any, old: Any, new: Any, count: int | None = None
) -> Any:
    texts = (environment.text(part) for part in (value, old, new))
    return GUARDED_METHODS["replace"](environment.meter, *texts, -1 if count is None else count)


@pass_environment
def _trim(environment: TemplateEnvironment, value: Any, chars: str | None = None) -> Any:
    return GUARDED_METHODS["strip"](environment.meter, environment.text(value), chars)


@pass_environment
def _join(
    environment: TemplateEnvironment,
    value: Iterable[Any],
    d: str = "",
    attribute: str | int | None = None,
) -> Any:
    if attribute is not None:
        value = map(jinja_filters.make_attrgetter(environment, attribute), value)
    texts = [environment.text(part) for part in value]
    return GUARDED_METHODS["join"](environment.meter, environment.text(d), texts)


@pass_environment
def _format(environment: TemplateEnvironment, value: Any, *args: Any, **kwargs: Any) -> str:
    if args and kwargs:
        raise TypeError("format takes values or names, not both")
    return percent(environment.meter, environment.text(value), kwargs or args)


@pass_environment
def _indent(
    environment: TemplateEnvironment,
    value: str,
    width: int | str = 4,
    first: bool = False,
    blank: bool = False,
) -> str:
    length = len(width) if isinstance(width, str) else width
    environment.meter.room(length)
    environment.meter.room(len(value) + length * (len(value.splitlines()) + 2))
    made: str = jinja_filters.do_indent(value, width, first, blank)
    return made


@pass_environment
def _sum(
    environment: TemplateEnvironment,
    value: Iterable[Any],
    attribute: str | int | None = None,
    start: Any = 0,
) -> Any:
    if attribute is not None:
        value = map(jinja_filters.make_attrgetter(environment, attribute), value)
    for item in value:
        start = environment.meter.accept(start + item)
    return start


@pass_environment
def _tojson(
    environment: TemplateEnvironment,
    value: Any,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """As transformers has it: without HTML's escapes, and letters as they are."""
    meter = environment.meter
    held = meter.weigh((value,))
    step = len(indent) if isinstance(indent, str) else int(indent or 0)
    if step > _LONGEST_SEPARATOR or any(len(s) > _LONGEST_SEPARATOR for s in separators or ()):
        raise invalid(f"tojson takes an indent or separators of at most {_LONGEST_SEPARATOR}")
    if step > 0:
        meter.room(held * step * min(_depth(value), DEEPEST))
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _depth(value: Any) -> int:
    """How deep lists and objects are in one another."""
    depth, level = 0, [value]
    while level := [v for v in level if isinstance(v, (dict, list, tuple))]:
        depth += 1
        level = [
            item
            for container in level
            for item in (container.values() if isinstance(container, dict) else container)
        ]
    return depth


def _range(*args: int) -> range:
    made = range(*args)
    if len(made) > _RANGE:
        raise invalid(f"the chat template counts to {len(made)}; expected at most {_RANGE}")
    return made


def _dict(*args: Any, **kwargs: Any) -> dict[Any, Any]:
    """Numbers can be chosen so that an object of many of them takes very long to be made."""
    if args and not isinstance(args[0], dict) and len(args[0]) > _PAIRS:
        raise invalid(
            f"the chat template makes an object of {len(args[0])} pairs; at most {_PAIRS}"
        )
    return dict(*args, **kwargs)


def _refuse(message: Any) -> None:
    raise RefusedError(str(message))


def _time(now: Callable[[], datetime], format_: str) -> str:
    if len(format_) > _LONGEST_FORMAT:
        raise invalid(f"strftime_now takes a format of at most {_LONGEST_FORMAT} characters")
    return now().strftime(format_)
