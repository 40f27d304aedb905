"""What a model is, as messages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from maas.core.messages import ModelView
from maas.core.tensor import TensorSpec
from maas.dialects.signatures import pick_signature
from maas.protos import message


def model_metadata(view: ModelView, versions: Sequence[int]) -> Any:
    """A ModelMetadataResponse; -1 stands for any size.

    Args:
        view: the version asked for.
        versions: those that can be called.
    """
    signature = pick_signature(view)
    answer = message("inference.ModelMetadataResponse")(
        name=view.servable.name,
        versions=[str(version) for version in versions],
        platform=view.platform,
    )
    _describe(answer.inputs, signature.inputs)
    _describe(answer.outputs, signature.outputs)
    return answer


def _describe(into: Any, specs: Iterable[TensorSpec]) -> None:
    for spec in specs:
        shape = [-1 if size is None else size for size in spec.shape]
        into.add(name=spec.name, datatype=spec.dtype.text, shape=shape)
