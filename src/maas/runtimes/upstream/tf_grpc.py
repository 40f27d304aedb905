"""TensorFlow Serving over gRPC, as its client: Predict and GetModelMetadata."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from maas.core.signature import Signature
from maas.core.tensor import DType, Tensors
from maas.core.upstreams import UpstreamTarget
from maas.protos import message
from maas.runtimes.upstream.document import Document
from maas.runtimes.upstream.errors import nonsense
from maas.runtimes.upstream.rpc import Rpc
from maas.runtimes.upstream.tf_types import NUMBERS, Specs, described, tensor_spec
from maas.runtimes.upstream.values import checked, count_of, from_bytes, from_lists, refuse

SERVICE = "/tensorflow.serving.PredictionService/"
DTYPES: Mapping[int, DType] = MappingProxyType({number: dtype for dtype, number in NUMBERS.items()})
FIELDS: Mapping[DType, str] = MappingProxyType(
    {
        DType.FP32: "float_val",
        DType.FP64: "double_val",
        DType.FP16: "half_val",
        DType.BF16: "half_val",
        DType.INT64: "int64_val",
        DType.UINT32: "uint32_val",
        DType.UINT64: "uint64_val",
        DType.BOOL: "bool_val",
        DType.BYTES: "string_val",
    }
)
"""The field of `TensorProto` that a type's values are in; small integers are in `int_val`."""
MOST_VALUES = 1 << 26
"""Of a tensor that says its one value for all places."""


class TfGrpc:
    """One model of one server.

    Args:
        rpc: the channel.
        document: what is called.
    """

    def __init__(self, rpc: Rpc, document: Document):
        self._rpc = rpc
        self._target = document.target

    def describe(self) -> Document:
        """Asks the server about its model.

        Raises:
            MaasError: the server's own, or INVALID_ARGUMENT for a model that is not served here.
        """
        request = message("tensorflow.serving.GetModelMetadataRequest")(
            metadata_field=["signature_def"]
        )
        self._name(request.model_spec)
        answer = self._rpc.call(f"{SERVICE}GetModelMetadata", request.SerializeToString())
        return read_metadata(self._target, answer)

    def infer(self, signature: Signature, inputs: Tensors) -> Tensors:
        """Asks for one prediction.

        Raises:
            MaasError: the server's own, as ours.
        """
        request = message("tensorflow.serving.PredictRequest")()
        self._name(request.model_spec)
        request.model_spec.signature_name = signature.name
        for spec in signature.inputs:
            _fill(request.inputs[spec.name], inputs[spec.name], spec.dtype)
        return read_outputs(
            signature, self._rpc.call(f"{SERVICE}Predict", request.SerializeToString())
        )

    def close(self) -> None:
        """Closes the channel."""
        self._rpc.close()

    def _name(self, spec: Any) -> None:
        spec.name = self._target.model
        if self._target.version:
            spec.version.value = int(self._target.version)


def read_metadata(target: UpstreamTarget, data: bytes) -> Document:
    """A model's description.

    Args:
        target: the upstream.
        data: a serialised GetModelMetadataResponse.

    Raises:
        MaasError: INTERNAL for something else, INVALID_ARGUMENT for what is not served here.
    """
    said = _parse("tensorflow.serving.GetModelMetadataResponse", data)
    if "signature_def" not in said.metadata:
        raise nonsense("it has no signatures")
    packed = said.metadata["signature_def"].value
    signatures = _parse("tensorflow.serving.SignatureDefMap", packed).signature_def
    return described(
        target,
        {name: (_specs(each.inputs), _specs(each.outputs)) for name, each in signatures.items()},
    )


def read_outputs(signature: Signature, data: bytes) -> Tensors:
    """The outputs of an answer.

    Args:
        signature: that was called.
        data: a serialised PredictResponse.

    Raises:
        MaasError: INTERNAL for anything else than the signature's outputs.
    """
    answer = _parse("tensorflow.serving.PredictResponse", data)
    found = {
        spec.name: _tensor(spec.name, answer.outputs[spec.name])
        for spec in signature.outputs
        if spec.name in answer.outputs
    }
    return checked(signature, found)


def _parse(kind: str, data: bytes) -> Any:
    try:
        return message(kind).FromString(data)
    except DecodeError as error:
        raise refuse(error) from error


def _specs(tensors: Any) -> Specs:
    specs: Specs = []
    for name, tensor in tensors.items():
        if tensor.tensor_shape.unknown_rank:
            specs.append((name, None))
            continue
        shape = [dim.size for dim in tensor.tensor_shape.dim]
        specs.append(
            (name, tensor_spec(name, DTYPES.get(tensor.dtype), f"DT {tensor.dtype}", shape))
        )
    return specs


def _fill(tensor: Any, array: np.ndarray, dtype: DType) -> None:
    tensor.dtype = NUMBERS[dtype]
    for size in array.shape:
        tensor.tensor_shape.dim.add(size=size)
    if dtype is DType.BYTES:
        tensor.string_val.extend(array.ravel().tolist())
    else:
        tensor.tensor_content = np.ascontiguousarray(array).tobytes()


def _tensor(name: str, tensor: Any) -> np.ndarray:
    """A tensor of an answer: its bytes, its values, or one value for every place.

    Raises:
        MaasError: INTERNAL for what is none.
    """
    dtype = DTYPES.get(tensor.dtype)
    if dtype is None:
        raise nonsense(f"{name!r} has the type {tensor.dtype}")
    shape = [dim.size for dim in tensor.tensor_shape.dim]
    count = count_of(name, shape)
    if tensor.tensor_content and dtype is not DType.BYTES:
        return from_bytes(name, dtype, shape, tensor.tensor_content)
    values = list(getattr(tensor, FIELDS.get(dtype, "int_val")))
    if len(values) < count <= MOST_VALUES and values:
        values += [values[-1]] * (count - len(values))
    if dtype in (DType.FP16, DType.BF16):
        # Their bits, as 16 of an integer's 32.
        bits = from_lists(name, DType.UINT16, shape, values)
        return bits.view(dtype.numpy)
    return from_lists(name, dtype, shape, values)
