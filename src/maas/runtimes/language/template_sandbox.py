"""The Jinja that renders chat templates: what a template may read, call and compute.

Jinja's immutable sandbox forbids what is known to be bad. Here only what is known to be good is
allowed: a few methods of texts, lists and objects, and operators whose results are measured.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from functools import partial
from types import BuiltinMethodType, FunctionType, MethodType
from typing import Any

from jinja2.exceptions import SecurityError
from jinja2.ext import LoopControlExtension
from jinja2.filters import _GroupTuple
from jinja2.runtime import BlockReference, Context, LoopContext, Macro, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace, pass_context

from maas.runtimes.language.template_meter import CONTAINERS, ITEM_BYTES, Meter
from maas.runtimes.language.template_text import (
    GUARDED_METHODS,
    PLAIN_METHODS,
    formatted,
    formatted_map,
    parts_bytes,
    percent,
)

_PUBLIC: tuple[tuple[type, frozenset[str]], ...] = (
    (str, PLAIN_METHODS),
    (dict, frozenset({"copy", "get", "items", "keys", "values"})),
    (_GroupTuple, frozenset({"count", "grouper", "index", "list"})),
    (list, frozenset({"copy", "count", "index"})),
    (tuple, frozenset({"count", "index"})),
    (
        LoopContext,
        frozenset(
            {"changed", "cycle", "depth", "depth0", "first", "index", "index0", "last", "length"}
            | {"nextitem", "previtem", "revindex", "revindex0"}
        ),
    ),
    (Macro, frozenset({"arguments", "caller", "catch_kwargs", "catch_varargs", "name"})),
    (BlockReference, frozenset({"name", "super"})),
)
_METHODS = (BuiltinMethodType, FunctionType, MethodType, partial)
_OWN = ("_loop_vars", "_block_vars")
"""What compiled templates hand on with every call; no arguments of the template's."""


class TemplateFunction:
    """A function or method that a template may call. It is written without its address.

    Args:
        function: what it does.
        name: the method's name.
    """

    def __init__(self, function: Callable[..., Any], name: str):
        self.name = name
        self._function = function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Calls it; `TemplateEnvironment.call` has looked at the arguments."""
        return self._function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<function {self.name}>"


_CALLABLE = (BlockReference, LoopContext, Macro, TemplateFunction, Undefined)


class TemplateNamespace(Namespace):
    """`namespace()`: names that begin with an underscore are refused, and it tells no contents."""

    def __init__(*args: Any, **kwargs: Any) -> None:
        self, rest = args[0], args[1:]
        attributes = dict(*rest, **kwargs)
        for name in attributes:
            _check_name(name)
        Namespace.__init__(self, attributes)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_name(name)
        super().__setitem__(name, value)

    def __repr__(self) -> str:
        return "<namespace>"


class TemplateEnvironment(ImmutableSandboxedEnvironment):
    """Compiles templates once; each rendering has a meter of its own, on its own thread.

    Args:
        extensions: further ones than `break` and `continue`.
    """

    intercepted_binops = frozenset(ImmutableSandboxedEnvironment.default_binop_table)

    def __init__(self, extensions: list[Any]):
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=[LoopControlExtension, *extensions],
            optimized=False,  # nothing is computed before there is a meter
            finalize=_written,
            cache_size=0,
        )
        self._local = threading.local()
        self.globals.clear()
        self.filters.clear()

    @property
    def meter(self) -> Meter:
        """That of the rendering on this thread."""
        meter: Meter = self._local.meter
        return meter

    @meter.setter
    def meter(self, meter: Meter) -> None:
        self._local.meter = meter

    def text(self, value: Any) -> str:
        """Writes a value as output does, and counts it."""
        if isinstance(value, str):
            return str(self.meter.accept(value))
        if value is None or isinstance(value, (int, float, complex, range, Undefined, *CONTAINERS)):
            return str(self.meter.accept(str(value)))
        return f"<{type(value).__name__}>"

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Whether a template may read it; a namespace shows all that it was given."""
        if attr.startswith("_"):
            return False
        return isinstance(obj, Namespace) or any(
            attr in names for kind, names in _PUBLIC if isinstance(obj, kind)
        )

    def getattr(self, obj: Any, attribute: str) -> Any:
        """`obj.attribute`: what it has, else its item of that name."""
        self.meter.tick()
        try:
            value = getattr(obj, attribute)
        except AttributeError:
            try:
                return obj[attribute]
            except (TypeError, LookupError):
                return self.undefined(obj=obj, name=attribute)
        return self._shown(obj, attribute, value)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """`obj[argument]`: the item, else what it has of that name."""
        self.meter.tick()
        try:
            return obj[argument]
        except (TypeError, LookupError):
            if isinstance(argument, str) and hasattr(obj, argument):
                return self._shown(obj, argument, getattr(obj, argument))
        return self.undefined(obj=obj, name=argument)

    def _shown(self, obj: Any, name: str, value: Any) -> Any:
        if isinstance(obj, str) and name in GUARDED_METHODS:
            value = partial(GUARDED_METHODS[name], self.meter, obj)
        elif isinstance(obj, str) and name in ("format", "format_map"):
            value = (formatted if name == "format" else formatted_map)(self, obj)
        elif not self.is_safe_attribute(obj, name, value):
            return self.unsafe_undefined(obj, name)
        return TemplateFunction(value, name) if isinstance(value, _METHODS) else value

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        """Calls a macro, a function of `template_filters` or a method that was shown."""
        meter = __self.meter
        meter.tick()
        if not isinstance(__obj, _CALLABLE):
            raise SecurityError(f"a {type(__obj).__name__} cannot be called")
        meter.weigh(args)
        meter.weigh(value for name, value in kwargs.items() if name not in _OWN)
        result = super().call(__context, __obj, *args, **kwargs)
        if isinstance(__obj, TemplateFunction):
            meter.spend(parts_bytes(__obj.name, result))
        return meter.accept(result)

    def call_filter(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """What `map` calls: any filter but those that `template_tree` puts in."""
        if name.startswith(" "):
            raise SecurityError(f"No filter named {name!r}.")
        return super().call_filter(name, *args, **kwargs)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """`left operator right`, where the result is not too large."""
        self.meter.tick()
        check = _CHECKS.get(operator)
        if check is not None:
            check(self.meter, left, right)
        if operator == "%" and isinstance(left, str):
            return self.meter.accept(percent(self.meter, left, right))
        return self.meter.accept(self.binop_table[operator](left, right))


@pass_context
def _written(context: Context, value: Any) -> str:
    environment = context.environment
    assert isinstance(environment, TemplateEnvironment)
    return environment.text(value)


def _room(value: str | list[Any] | tuple[Any, ...]) -> int:
    return len(value) if isinstance(value, str) else ITEM_BYTES * len(value)


def _sum(meter: Meter, left: Any, right: Any) -> None:
    if isinstance(left, (str, list, tuple)) and isinstance(right, (str, list, tuple)):
        meter.room(_room(left) + _room(right))


def _product(meter: Meter, left: Any, right: Any) -> None:
    for one, times in ((left, right), (right, left)):
        if isinstance(one, (str, list, tuple)) and isinstance(times, int):
            meter.room(_room(one) * times)


def _power(meter: Meter, left: Any, right: Any) -> None:
    if isinstance(left, int) and isinstance(right, int):
        meter.room(left.bit_length() * abs(right))


_CHECKS: Mapping[str, Callable[[Meter, Any, Any], None]] = {
    "+": _sum,
    "*": _product,
    "**": _power,
}


def _check_name(name: Any) -> None:
    if not isinstance(name, str) or name.startswith("_"):
        raise SecurityError(f"a namespace cannot have {str(name)[:50]!r}")
