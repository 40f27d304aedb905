"""Which signature of a model a call means."""

from __future__ import annotations

from maas.core.errors import invalid
from maas.core.messages import ModelView
from maas.core.signature import DEFAULT_SIGNATURE, Signature, main_signature


def pick_signature(view: ModelView, name: str = DEFAULT_SIGNATURE) -> Signature:
    """The signature of that name.

    An empty name is the default's, as in TensorFlow Serving; and so the name `serving_default`
    reaches the main signature of a model that has none of that name.

    Raises:
        MaasError: INVALID_ARGUMENT, naming the signatures there are.
    """
    signature = view.signatures.get(name)
    if signature is not None:
        return signature
    if name in ("", DEFAULT_SIGNATURE):
        return main_signature(view.signatures)
    raise invalid(
        f"{view.servable} has no signature {name!r}; "
        f"expected one of {', '.join(sorted(view.signatures))}"
    )
