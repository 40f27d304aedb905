"""What an inference request asks besides its tensors: outputs, id, parameters."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from maas.core.errors import ErrorKind, MaasError, invalid
from maas.core.signature import Signature
from maas.core.tensor import Tensors
from maas.dialects.tensorjson.document import is_array, is_object

MOST_PRIORITY = (1 << 32) - 1
MOST_TIMEOUT = (1 << 63) - 1
SEQUENCE = ("sequence_id", "sequence_start", "sequence_end")
"""Parameters of calls that belong together, which no model here keeps the state of."""


class InferRequest(Struct, frozen=True, gc=False):
    """One inference request.

    Args:
        signature: the model's main one.
        inputs: arrays of the signature's dtypes and shapes.
        rows: as `check_inputs` counts them.
        outputs: names wanted, in order; None for all.
        classes: for each of `outputs`, how many classes to answer instead of its scores; 0 for
            the scores. Empty where no output asks for classes.
        id: the caller's id, echoed.
        timeout_s: the request's own deadline, in seconds from now, where it sets one.
        priority: 1 is the highest; 0 where the request sets none.
        binary: for each of `outputs`, whether it is to be answered in binary; empty for none.
        all_binary: whether all are, where `outputs` names none.
    """

    signature: Signature
    inputs: Tensors
    rows: int
    outputs: tuple[str, ...] | None = None
    classes: tuple[int, ...] = ()
    id: str | None = None
    timeout_s: float | None = None
    priority: int = 0
    binary: tuple[bool, ...] = ()
    all_binary: bool = False


class Wishes(Struct, frozen=True, gc=False):
    """The parameters of a request that mean something here.

    Args:
        timeout_s: its deadline, in seconds from now; None for the server's.
        priority: 1 is the highest; 0 where it sets none.
        binary: whether outputs are to be answered in binary that do not say so themselves.
    """

    timeout_s: float | None = None
    priority: int = 0
    binary: bool = False


_NO_WISHES = Wishes()


def shared_memory_unimplemented(what: str) -> MaasError:
    """Says that the shared-memory extensions are not built."""
    return MaasError(
        ErrorKind.UNIMPLEMENTED,
        f"{what} in shared memory is not read here: this server maps no memory of its callers. "
        "Send and ask for tensors in the body, in binary (binary_data_size)",
    )


def read_parameters(owner: Any, what: str) -> Any:
    """The `parameters` of a request, input or output: an object, empty where there are none.

    Raises:
        MaasError: INVALID_ARGUMENT where they are no object.
    """
    parameters = owner.get("parameters")
    if parameters is None:
        return {}
    if not is_object(parameters):
        raise invalid(f"parameters of {what} must be an object")
    return parameters


def read_id(root: Any) -> str | None:
    """The request's `id`.

    Raises:
        MaasError: INVALID_ARGUMENT where it is no string.
    """
    identity = root.get("id")
    if identity is not None and not isinstance(identity, str):
        raise invalid("id must be a string")
    return identity


def read_wishes(root: Any) -> Wishes:
    """What the request's own parameters ask for; those of no meaning here are ignored.

    Raises:
        MaasError: INVALID_ARGUMENT where `timeout` (microseconds, 0 is none) or `priority` is no
            whole number, `binary_data_output` no truth value, or the request is part of a
            sequence, which no model here keeps the state of.
    """
    parameters = read_parameters(root, "the request")
    if not parameters:
        return _NO_WISHES
    for name in SEQUENCE:
        if parameters.get(name):
            raise invalid(
                f"parameters.{name} is set, and models here keep no state between calls; leave it "
                "out"
            )
    timeout = _whole(parameters, "timeout", "a whole number of microseconds", MOST_TIMEOUT)
    priority = _whole(parameters, "priority", "a whole number", MOST_PRIORITY)
    binary = parameters.get("binary_data_output", False)
    if not isinstance(binary, bool):
        raise invalid("parameters.binary_data_output must be true or false")
    return Wishes(timeout / 1e6 if timeout else None, priority, binary)


def _whole(parameters: Any, name: str, what: str, most: int) -> int:
    """A parameter that is a whole number; 0 where it is missing."""
    value = parameters.get(name)
    if value is None:
        return 0
    if type(value) is not int or not 0 <= value <= most:
        raise invalid(f"parameters.{name} must be {what}, 0 to {most}")
    return value


def read_outputs(
    root: Any, signature: Signature, *, binary: bool
) -> tuple[tuple[str, ...] | None, tuple[int, ...], tuple[bool, ...]]:
    """The outputs wanted, how many classes of each and whether in binary, as `InferRequest` has it.

    Args:
        root: the request.
        signature: whose outputs there are.
        binary: whether those are to be in binary that do not say so.

    Raises:
        MaasError: INVALID_ARGUMENT for an unknown or repeated output or a wrong parameter;
            UNIMPLEMENTED for shared memory.
    """
    wanted = root.get("outputs")
    if wanted is None:
        return None, (), ()
    if not is_array(wanted):
        raise invalid("outputs must be a list of objects with a name each")
    names: list[str] = []
    classes: list[int] = []
    forms: list[bool] = []
    for index, output in enumerate(wanted):
        name = output.get("name") if is_object(output) else None
        if not isinstance(name, str):
            raise invalid(f"outputs[{index}] must be an object with a name")
        if not any(spec.name == name for spec in signature.outputs):
            known = ", ".join(spec.name for spec in signature.outputs)
            raise invalid(f"there is no output {name!r}; expected some of {known}")
        if name in names:
            raise invalid(f"output {name!r} is asked for twice; name each output once")
        names.append(name)
        count, form = _read_output_parameters(output, f"output {name!r}", binary)
        classes.append(count)
        forms.append(form)
    if not names:
        return None, (), ()
    return (
        tuple(names),
        tuple(classes) if any(classes) else (),
        tuple(forms) if any(forms) else (),
    )


def _read_output_parameters(output: Any, what: str, binary: bool) -> tuple[int, bool]:
    parameters = read_parameters(output, what)
    if not parameters:
        return 0, binary
    if "shared_memory_region" in parameters:
        raise shared_memory_unimplemented(what)
    form = parameters.get("binary_data", binary)
    if not isinstance(form, bool):
        raise invalid(f"binary_data of {what} must be true or false")
    count = parameters.get("classification")
    if count is None:
        return 0, form
    if type(count) is not int or count < 1:
        raise invalid(f"classification of {what} must be a whole number, 1 or more")
    return count, form
