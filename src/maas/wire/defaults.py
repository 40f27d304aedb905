"""Which model a call goes to that names none."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from maas.core.errors import invalid
from maas.core.identity import ModelRef, parse_ref
from maas.core.signature import Signature, main_signature
from maas.core.tensor import DType
from maas.wire.exchange import Server

LISTED = 8
"""Most candidates that an error names."""


def default_model(
    server: Server,
    configured: str,
    *,
    texts: bool | None = None,
    writes: bool | None = None,
    how: str = 'with "model" in the body',
) -> ModelRef:
    """The model that the settings name, else the only one that can be meant.

    Args:
        server: whose settings and models.
        configured: of `[defaults]`, for this kind of call; empty where it names none.
        texts: whether the call holds texts, so that a model of texts is meant; None where that is
            not known, so that any model may be.
        writes: True where a language model is meant, if there is one; False where none is; None
            where that is not known.
        how: a caller can name one, for the error.

    Raises:
        MaasError: INVALID_ARGUMENT naming the candidates.
    """
    if configured:
        return parse_ref(configured)
    possible = {
        name: model.versions[model.default].generative is not None
        for name, model in sorted(server.router.plan.models.items())
        if model.default is not None
        and texts in (None, _takes_texts(model.versions[model.default].signatures))
    }
    if writes and not any(possible.values()):
        writes = None
    candidates = [name for name, written in possible.items() if writes in (None, written)]
    if len(candidates) == 1:
        return ModelRef(candidates[0])
    kind = "" if texts is None else "texts" if texts else "numbers"
    if not candidates:
        that = f" that takes {kind}" if kind else ""
        raise invalid(f"no model{that} serves here; call /NAME/predict")
    what = f"take {kind}" if kind else "serve here"
    raise invalid(
        f"several models {what}; say which {how}, or call /{quote(candidates[0])}/predict: "
        + ", ".join(candidates[:LISTED])
    )


def _takes_texts(signatures: Mapping[str, Signature]) -> bool:
    signature = main_signature(signatures)
    return len(signature.inputs) == 1 and signature.inputs[0].dtype is DType.BYTES
