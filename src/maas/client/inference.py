"""Predictions over the Open Inference Protocol v2, REST in JSON.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct

from maas.client.call import Call, Flow, reader, segment
from maas.client.values import fit_inputs
from maas.core.errors import ErrorKind, MaasError, invalid
from maas.core.identity import ModelRef, parse_ref
from maas.core.tensor import DType, TensorSpec


class _Parameters(Struct, frozen=True):
    columns: list[str] | None = None


class _Tensor(Struct):
    name: str
    datatype: str
    shape: list[int]
    parameters: _Parameters = _Parameters()


class _Metadata(Struct):
    name: str
    inputs: list[_Tensor]
    outputs: list[_Tensor]


class _OutputTensor(Struct):
    name: str
    datatype: str
    shape: list[int]
    data: list[Any]


class _Reply(Struct):
    outputs: list[_OutputTensor]
    model_version: str = ""


class ModelMetadata(Struct, frozen=True):
    """What a model takes and gives, from `GET /v2/models/NAME`."""

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


class Predictor:
    """Builds predictions, and remembers each model's metadata between them.

    What it remembers is dropped when another version answers, and read again before a refusal is
    believed: a new version may take other types.
    """

    def __init__(self) -> None:
        self._known: dict[str, ModelMetadata] = {}
        self._answered: dict[str, str] = {}

    def metadata(self, model: str) -> Call[ModelMetadata]:
        """`GET /v2/models/NAME`; `model` is `name`, `name:3` or `name@prod`."""
        read = reader(_Metadata)
        return Call("GET", model_path(parse_ref(model)), lambda body: _to_metadata(read(body)))

    def predict(
        self, model: str, data: Any, outputs: Sequence[str] | None
    ) -> Flow[dict[str, np.ndarray]]:
        """Asks for the metadata where it is not known, then for the prediction.

        Raises (the flow):
            MaasError: INVALID_ARGUMENT where the values do not fit the model's inputs.
        """
        remembered = self._known.get(model)
        known = remembered or (yield self.metadata(model))
        self._known[model] = known
        try:
            return (yield from self._infer(model, known, data, outputs))
        except MaasError as error:
            stale = error.kind in (ErrorKind.INVALID_ARGUMENT, ErrorKind.NOT_FOUND)
            if remembered is None or not stale:
                raise
            self._forget(model)
            fresh: ModelMetadata = yield self.metadata(model)
            self._known[model] = fresh
            if fresh == remembered:
                raise
        return (yield from self._infer(model, fresh, data, outputs))

    def _infer(
        self, model: str, known: ModelMetadata, data: Any, outputs: Sequence[str] | None
    ) -> Flow[dict[str, np.ndarray]]:
        arrays, added = fit_inputs(known.inputs, data)
        body = encode_request(known, arrays, outputs)
        path = f"{model_path(parse_ref(model))}/infer"
        reply: _Reply = yield Call("POST", path, _read_reply, body=body)
        if self._answered.setdefault(model, reply.model_version) != reply.model_version:
            self._forget(model)
        answer = {each.name: _to_array(each) for each in reply.outputs}
        if added and all(array.shape[:1] == (1,) for array in answer.values()):
            answer = {name: array.reshape(array.shape[1:]) for name, array in answer.items()}
        return answer

    def _forget(self, model: str) -> None:
        self._known.pop(model, None)
        self._answered.pop(model, None)


def encode_request(
    known: ModelMetadata, arrays: dict[str, np.ndarray], outputs: Sequence[str] | None
) -> bytes:
    """Writes an inference request; NaN and infinities as JavaScript's bare tokens.

    Raises:
        MaasError: INVALID_ARGUMENT for an output there is not; UNIMPLEMENTED for FP16 and BF16,
            which the protocol has no JSON form for.
    """
    for spec in (*known.inputs, *known.outputs):
        if spec.dtype in (DType.FP16, DType.BF16):
            raise MaasError(
                ErrorKind.UNIMPLEMENTED,
                f"{spec.name!r} is {spec.dtype}, which this protocol has no JSON form for; call "
                "POST /NAME/predict instead",
            )
    request: dict[str, Any] = {
        "inputs": [
            {
                "name": spec.name,
                "shape": list(arrays[spec.name].shape),
                "datatype": str(spec.dtype),
                "data": arrays[spec.name].ravel().tolist(),
            }
            for spec in known.inputs
        ]
    }
    if outputs is not None:
        there = [spec.name for spec in known.outputs]
        for name in outputs:
            if name not in there:
                raise invalid(f"the model has no output {name!r}; expected {', '.join(there)}")
        request["outputs"] = [{"name": name} for name in outputs]
    floats = (array for array in arrays.values() if array.dtype.kind == "f")
    if all(np.isfinite(array).all() for array in floats):
        return msgspec.json.encode(request)
    return json.dumps(request, ensure_ascii=False).encode()


def model_path(ref: ModelRef) -> str:
    """The path of a model or version: `/v2/models/NAME[/versions/N]`, or `NAME@ALIAS`."""
    path = f"/v2/models/{segment(ref.name)}"
    if ref.alias is not None:
        return f"{path}@{segment(ref.alias, 'alias')}"
    return path if ref.version is None else f"{path}/versions/{ref.version}"


def _to_metadata(raw: _Metadata) -> ModelMetadata:
    return ModelMetadata(
        raw.name,
        tuple(_to_spec(each) for each in raw.inputs),
        tuple(_to_spec(each) for each in raw.outputs),
    )


def _to_spec(raw: _Tensor) -> TensorSpec:
    shape = tuple(None if size < 0 else size for size in raw.shape)
    columns = raw.parameters.columns
    named = columns is not None and len(shape) == 2 and shape[1] == len(columns)
    return TensorSpec(
        raw.name, _dtype(raw.datatype), shape, tuple(columns) if columns and named else None
    )


def _dtype(text: str) -> DType:
    try:
        return DType[text]
    except KeyError:
        raise MaasError(
            ErrorKind.UNIMPLEMENTED, f"this client does not know the datatype {text!r}; update it"
        ) from None


def _read_reply(body: bytes) -> _Reply:
    try:
        return msgspec.json.decode(body, type=_Reply)
    except msgspec.DecodeError:
        return _read_tokens(body)


def _read_tokens(body: bytes) -> _Reply:
    """Reads a reply that may hold NaN or Infinity, which are not JSON and which models answer."""
    try:
        return msgspec.convert(json.loads(body), _Reply)
    except (ValueError, RecursionError, msgspec.MsgspecError) as error:
        raise MaasError(
            ErrorKind.INTERNAL, f"the answer is not an inference reply ({error}); is the URL right?"
        ) from None


def _to_array(tensor: _OutputTensor) -> np.ndarray:
    dtype = _dtype(tensor.datatype)
    try:
        return np.array(tensor.data, dtype=dtype.numpy).reshape(tensor.shape)
    except (ValueError, TypeError, OverflowError):
        raise MaasError(
            ErrorKind.INTERNAL,
            f"the output {tensor.name!r} is not {dtype} {tensor.shape}, as the answer says it is",
        ) from None
