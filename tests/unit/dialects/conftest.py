"""Models to decode for, and bodies that take either way through the reader."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from maas.core.identity import ServableId
from maas.core.messages import InferReply, ModelView
from maas.core.signature import DEFAULT_SIGNATURE, Signature
from maas.core.tensor import DType, TensorSpec
from maas.dialects.tensorjson.document import LARGE_BYTES


@pytest.fixture(params=["small", "large"])
def body(request: pytest.FixtureRequest) -> Callable[[Any], bytes]:
    """Writes a body (bytes as they are, anything else as JSON), in the second round so padded
    that it is read through simdjson: both ways must obey the same rules.
    """
    padding = b" " * (LARGE_BYTES + 1) if request.param == "large" else b""

    def write(content: Any) -> bytes:
        text = content if isinstance(content, bytes) else json.dumps(content).encode()
        return padding + text

    return write


@pytest.fixture
def make_view() -> Callable[..., ModelView]:
    """Builds a view of a model with one signature, `serving_default`."""

    def make(
        inputs: list[TensorSpec], outputs: list[TensorSpec] | None = None, *, batched: bool = True
    ) -> ModelView:
        signature = Signature(
            DEFAULT_SIGNATURE,
            tuple(inputs),
            tuple(outputs or [TensorSpec("y", DType.FP32, (None,))]),
            batched,
        )
        return ModelView(
            ServableId("m", 3), {DEFAULT_SIGNATURE: signature}, "onnxruntime_onnx", True
        )

    return make


@pytest.fixture
def iris(make_view: Callable[..., ModelView]) -> ModelView:
    """Four floats in, a label and three probabilities out."""
    return make_view(
        [TensorSpec("x", DType.FP32, (None, 4))],
        [
            TensorSpec("label", DType.INT64, (None,), ("setosa", "versicolor", "virginica")),
            TensorSpec(
                "probabilities", DType.FP32, (None, 3), ("setosa", "versicolor", "virginica")
            ),
        ],
    )


@pytest.fixture
def reply() -> Callable[..., InferReply]:
    """Builds an answer of a view's main signature."""

    def make(view: ModelView, **outputs: Any) -> InferReply:
        signature = view.signatures[DEFAULT_SIGNATURE]
        return InferReply(
            view.servable,
            signature,
            {
                spec.name: np.array(outputs[spec.name], spec.dtype.numpy)
                for spec in signature.outputs
            },
        )

    return make
