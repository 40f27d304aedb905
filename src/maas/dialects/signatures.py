"""Which signature of a model a call means."""

from __future__ import annotations

from maas.core.errors import invalid
from maas.core.messages import ModelView
from maas.core.signature import DEFAULT_SIGNATURE, Signature


def pick_signature(view: ModelView, name: str = DEFAULT_SIGNATURE) -> Signature:
    """The signature of that name; an empty name is the default's, as in TensorFlow Serving.

    Raises:
        MaasError: INVALID_ARGUMENT, naming the signatures there are.
    """
    signature = view.signatures.get(name or DEFAULT_SIGNATURE)
    if signature is None:
        raise invalid(
            f"{view.servable} has no signature {name or DEFAULT_SIGNATURE!r}; "
            f"expected one of {', '.join(sorted(view.signatures))}"
        )
    return signature
