"""Parameters and requested outputs of a ModelInferRequest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from maas.core.errors import invalid
from maas.core.signature import Signature
from maas.dialects.oip.request import (
    MOST_PRIORITY,
    MOST_TIMEOUT,
    SEQUENCE,
    shared_memory_unimplemented,
)


def read_parameters(parameters: Mapping[str, Any]) -> tuple[float | None, int]:
    """The deadline in seconds (None where there is none) and the priority (0 is the usual one).

    `timeout` is in microseconds, and 0 is none; `priority` 1 is the highest. Others are ignored.

    Raises:
        MaasError: INVALID_ARGUMENT for one of another type or size, or a sequence, which no model
            here keeps the state of.
    """
    if not parameters:
        return None, 0
    for name in SEQUENCE:
        if name in parameters and _value(parameters[name]) not in (0, "", False):
            raise invalid(
                f"{name} is set, and models here keep no state between calls; leave it out"
            )
    timeout = _whole(parameters, "timeout", MOST_TIMEOUT)
    return (timeout / 1e6 if timeout else None), _whole(parameters, "priority", MOST_PRIORITY)


def read_outputs(
    requested: Sequence[Any], signature: Signature
) -> tuple[tuple[str, ...] | None, tuple[int, ...]]:
    """The outputs wanted, and how many classes of each, as `InferRequest` has them.

    Raises:
        MaasError: INVALID_ARGUMENT for an unknown or repeated output, or a wrong parameter.
    """
    if not requested:
        return None, ()
    names: list[str] = []
    classes: list[int] = []
    known = [spec.name for spec in signature.outputs]
    for output in requested:
        name = output.name
        if name not in known:
            raise invalid(f"there is no output {name[:80]!r}; expected some of {', '.join(known)}")
        if name in names:
            raise invalid(f"output {name!r} is asked for twice; name each output once")
        if "shared_memory_region" in output.parameters:
            raise shared_memory_unimplemented(f"output {name!r}")
        names.append(name)
        count = _whole(output.parameters, "classification", MOST_PRIORITY)
        if not count and "classification" in output.parameters:
            raise invalid(f"classification of output {name!r} must be 1 or more")
        classes.append(count)
    return tuple(names), tuple(classes) if any(classes) else ()


def _value(parameter: Any) -> Any:
    choice = parameter.WhichOneof("parameter_choice")
    return None if choice is None else getattr(parameter, choice)


def _whole(parameters: Mapping[str, Any], name: str, most: int) -> int:
    """A parameter that is a whole number; 0 where it is missing."""
    if name not in parameters:
        return 0
    value = _value(parameters[name])
    if type(value) is not int or not 0 <= value <= most:
        raise invalid(f"parameter {name} must be a whole number, 0 to {most}")
    return value
