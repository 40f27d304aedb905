"""TensorFlow Serving over REST, as its client: predict in columns, and the metadata."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any
from urllib.parse import quote

import msgspec
import orjson
from msgspec import Struct

from maas.core.signature import Signature
from maas.core.tensor import DType, Tensors, TensorSpec
from maas.core.upstreams import UpstreamTarget
from maas.runtimes.upstream.document import Document
from maas.runtimes.upstream.errors import nonsense
from maas.runtimes.upstream.rest import Rest
from maas.runtimes.upstream.tf_types import BY_NAME, described, tensor_spec
from maas.runtimes.upstream.values import checked, from_lists, refuse


class _Dim(Struct, frozen=True):
    size: int | str = -1


class _Shape(Struct, frozen=True):
    dim: list[_Dim] = []
    unknown_rank: bool = False


class _Tensor(Struct, frozen=True):
    dtype: str
    tensor_shape: _Shape = _Shape()


class _Signature(Struct, frozen=True):
    inputs: dict[str, _Tensor] = {}
    outputs: dict[str, _Tensor] = {}


class _Signatures(Struct, frozen=True):
    signature_def: dict[str, _Signature]


class _Fields(Struct, frozen=True):
    signature_def: _Signatures


class _Metadata(Struct, frozen=True):
    metadata: _Fields


class TfRest:
    """One model of one server.

    Args:
        rest: the connection.
        document: what is called.
    """

    def __init__(self, rest: Rest, document: Document):
        target = document.target
        version = f"/versions/{target.version}" if target.version else ""
        self._rest = rest
        self._document = document
        self._path = f"/v1/models/{quote(target.model, safe='')}{version}"

    def describe(self) -> Document:
        """Asks the server about its model.

        Raises:
            MaasError: the server's own, or INVALID_ARGUMENT for a model that is not served here.
        """
        body = self._rest.get(f"{self._path}/metadata").body
        return read_metadata(self._document.target, body)

    def infer(self, signature: Signature, inputs: Tensors) -> Tensors:
        """Asks for one prediction.

        Raises:
            MaasError: the server's own, as ours.
        """
        columns = {
            spec.name: _as_json(inputs[spec.name].tolist(), spec.dtype) for spec in signature.inputs
        }
        body = json.dumps({"signature_name": signature.name, "inputs": columns}).encode()
        answer = self._rest.post(
            f"{self._path}:predict", body, {"Content-Type": "application/json"}
        )
        return read_outputs(signature, answer.body)

    def close(self) -> None:
        """Closes the connections."""
        self._rest.close()


def read_metadata(target: UpstreamTarget, body: bytes) -> Document:
    """A model's description.

    Args:
        target: the upstream.
        body: its answer.

    Raises:
        MaasError: INTERNAL for something else, INVALID_ARGUMENT for what is not served here.
    """
    try:
        said = msgspec.json.decode(body, type=_Metadata)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise refuse(error) from error
    return described(
        target,
        {
            name: (_specs(each.inputs), _specs(each.outputs))
            for name, each in said.metadata.signature_def.signature_def.items()
        },
    )


def read_outputs(signature: Signature, body: bytes) -> Tensors:
    """The outputs of an answer, in columns.

    Args:
        signature: that was called.
        body: the answer.

    Raises:
        MaasError: INTERNAL for anything else than the signature's outputs.
    """
    said = _loads(body)
    found = said.get("outputs") if isinstance(said, dict) else None
    if found is None:
        raise nonsense("it has no outputs")
    if not isinstance(found, dict) or not _named(found, signature):
        if len(signature.outputs) != 1:
            raise nonsense("its outputs have no names")
        found = {signature.outputs[0].name: found}
    return checked(signature, {spec.name: _tensor(spec, found) for spec in signature.outputs})


def _specs(tensors: dict[str, _Tensor]) -> list[tuple[str, TensorSpec | None]]:
    """Name and spec of each; None for one whose rank is not known.

    Raises:
        MaasError: INVALID_ARGUMENT for a type that is not served here.
    """
    specs: list[tuple[str, TensorSpec | None]] = []
    for name, tensor in tensors.items():
        if tensor.tensor_shape.unknown_rank:
            specs.append((name, None))
            continue
        try:
            shape = [int(dim.size) for dim in tensor.tensor_shape.dim]
        except ValueError as error:
            raise refuse(error) from error
        specs.append((name, tensor_spec(name, BY_NAME.get(tensor.dtype), tensor.dtype, shape)))
    return specs


def _named(found: dict[str, Any], signature: Signature) -> bool:
    """Whether an object holds outputs by name, and is not itself one: `{"b64": …}`."""
    return len(signature.outputs) > 1 or signature.outputs[0].name in found


def _as_json(values: Any, dtype: DType) -> Any:
    """Texts travel as base64, whatever is in them."""
    if isinstance(values, list):
        return values if dtype is not DType.BYTES else [_as_json(value, dtype) for value in values]
    if dtype is DType.BYTES:
        return {"b64": base64.b64encode(values).decode()}
    return values


def _tensor(spec: TensorSpec, found: dict[str, Any]) -> Any:
    if spec.name not in found:
        raise nonsense(f"there is no output {spec.name!r}")
    values = found[spec.name]
    if spec.dtype is DType.BYTES:
        values = _texts(values, 0)
    return from_lists(spec.name, spec.dtype, None, values)


def _texts(value: Any, depth: int) -> Any:
    """Texts as they are, and those in base64 unpacked."""
    if isinstance(value, list) and depth < 32:
        return [_texts(each, depth + 1) for each in value]
    if isinstance(value, dict) and isinstance(value.get("b64"), str):
        try:
            return base64.b64decode(value["b64"], validate=True)
        except (binascii.Error, ValueError) as error:
            raise refuse(error) from error
    if isinstance(value, str):
        return value
    raise nonsense("a text is something else")


def _loads(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        pass
    try:  # NaN and Infinity are this protocol's, and not JSON's
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise refuse(error) from error
