"""What an inference request asks besides its tensors: outputs, id, parameters."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from maas.core.errors import ErrorKind, MaasError, invalid
from maas.core.signature import Signature
from maas.core.tensor import Tensors
from maas.dialects.tensorjson.document import is_array, is_object


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
    """

    signature: Signature
    inputs: Tensors
    rows: int
    outputs: tuple[str, ...] | None = None
    classes: tuple[int, ...] = ()
    id: str | None = None
    timeout_s: float | None = None
    priority: int = 0


def binary_unimplemented(what: str) -> MaasError:
    """Says that the binary extension is not built."""
    return MaasError(
        ErrorKind.UNIMPLEMENTED,
        f"{what} in binary form is not supported here; send and ask for tensors in JSON "
        "(with tritonclient: binary_data=False)",
    )


def shared_memory_unimplemented(what: str) -> MaasError:
    """Says that the shared-memory extensions are not built."""
    return MaasError(
        ErrorKind.UNIMPLEMENTED,
        f"{what} in shared memory is not supported here; send and ask for tensors in JSON",
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


def read_timeout(root: Any) -> float | None:
    """The deadline in `parameters.timeout` (µs; 0 is none), in seconds.

    Raises:
        MaasError: INVALID_ARGUMENT where it is no whole number of microseconds; UNIMPLEMENTED
            where the parameters ask for outputs in binary form.
    """
    parameters = read_parameters(root, "the request")
    if not parameters:
        return None
    if parameters.get("binary_data_output"):
        raise binary_unimplemented("binary_data_output: an answer")
    timeout = parameters.get("timeout")
    if timeout is None:
        return None
    if type(timeout) is not int or timeout < 0:
        raise invalid("parameters.timeout must be a whole number of microseconds, 0 or more")
    return timeout / 1e6 if timeout else None


def read_outputs(root: Any, signature: Signature) -> tuple[tuple[str, ...] | None, tuple[int, ...]]:
    """The outputs wanted and how many classes of each, as `InferRequest` has them.

    Raises:
        MaasError: INVALID_ARGUMENT for an unknown or repeated output or a wrong classification
            parameter; UNIMPLEMENTED for binary form or shared memory.
    """
    wanted = root.get("outputs")
    if wanted is None:
        return None, ()
    if not is_array(wanted):
        raise invalid("outputs must be a list of objects with a name each")
    names: list[str] = []
    classes: list[int] = []
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
        classes.append(_read_output_parameters(output, f"output {name!r}"))
    if not names:
        return None, ()
    return tuple(names), tuple(classes) if any(classes) else ()


def _read_output_parameters(output: Any, what: str) -> int:
    parameters = read_parameters(output, what)
    if not parameters:
        return 0
    if "shared_memory_region" in parameters:
        raise shared_memory_unimplemented(what)
    if parameters.get("binary_data"):
        raise binary_unimplemented(what)
    count = parameters.get("classification")
    if count is None:
        return 0
    if type(count) is not int or count < 1:
        raise invalid(f"classification of {what} must be a whole number, 1 or more")
    return count
