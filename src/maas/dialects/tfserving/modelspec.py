"""`tensorflow.serving.ModelSpec` ↔ which model, version and signature."""

from __future__ import annotations

from typing import Any

from maas.core.errors import invalid
from maas.core.identity import ModelRef, ServableId, check_name


def read_ref(spec: Any) -> ModelRef:
    """The model, and its version or label, that a request names.

    Raises:
        MaasError: INVALID_ARGUMENT for no name, a name that none may have, or a negative version.
    """
    if not spec.name:
        raise invalid("model_spec has no name; expected the name of a model")
    name = check_name(spec.name)
    choice = spec.WhichOneof("version_choice")
    if choice == "version":
        number = spec.version.value
        if number < 0:
            raise invalid(f"model_spec.version is {number}; expected a version such as 3")
        return ModelRef(name, version=number)
    if choice == "version_label":
        return ModelRef(name, alias=check_name(spec.version_label, "label"))
    return ModelRef(name)


def write_spec(spec: Any, servable: ServableId, signature: str = "") -> None:
    """Says which version answered, and by which signature.

    Args:
        spec: an empty `tensorflow.serving.ModelSpec`.
        servable: the version.
        signature: its name; empty where the answer is of none.
    """
    spec.name = servable.name
    spec.version.value = servable.version
    spec.signature_name = signature
