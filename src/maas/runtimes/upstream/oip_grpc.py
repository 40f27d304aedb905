"""The Open Inference Protocol over gRPC, as its client: tensors travel as raw bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from maas.core.signature import Signature
from maas.core.tensor import DType, Tensors
from maas.protos import message
from maas.runtimes.upstream.document import Document
from maas.runtimes.upstream.errors import UpstreamError, nonsense
from maas.runtimes.upstream.oip_rest import MOST_ROWS, described
from maas.runtimes.upstream.rpc import Rpc
from maas.runtimes.upstream.values import checked, from_bytes, from_lists, refuse, to_bytes

SERVICE = "/inference.GRPCInferenceService/"


class OipGrpc:
    """One model of one server.

    Args:
        rpc: the channel.
        document: what is called.
    """

    def __init__(self, rpc: Rpc, document: Document):
        self._rpc = rpc
        self._document = document
        self._target = document.target

    def describe(self) -> Document:
        """Asks the server about its model.

        Raises:
            MaasError: the server's own, or INVALID_ARGUMENT for a model that is not served here.
        """
        target = self._target
        said = self._ask("ModelMetadata", name=target.model, version=target.version)
        return described(
            target.url,
            [(each.name, each.datatype, list(each.shape)) for each in said.inputs],
            [(each.name, each.datatype, list(each.shape)) for each in said.outputs],
            rows=self._most_rows() if target.binary else 0,
            binary=True,
            platform=said.platform,
        )

    def infer(self, signature: Signature, inputs: Tensors) -> Tensors:
        """Asks for one prediction.

        Raises:
            MaasError: the server's own, as ours.
        """
        request = message("inference.ModelInferRequest")(
            model_name=self._target.model, model_version=self._target.version
        )
        for spec in signature.inputs:
            array = inputs[spec.name]
            request.inputs.add(name=spec.name, datatype=spec.dtype.text, shape=array.shape)
            request.raw_input_contents.append(to_bytes(array, spec.dtype))
        for spec in signature.outputs:
            request.outputs.add(name=spec.name)
        answer = self._rpc.call(f"{SERVICE}ModelInfer", request.SerializeToString())
        return checked(signature, read_outputs(answer))

    def close(self) -> None:
        """Closes the channel."""
        self._rpc.close()

    def _ask(self, method: str, **fields: Any) -> Any:
        request = message(f"inference.{method}Request")(**fields)
        answer = self._rpc.call(SERVICE + method, request.SerializeToString())
        return _parse(f"inference.{method}Response", answer)

    def _most_rows(self) -> int:
        try:
            said = self._ask("ModelConfig", name=self._target.model, version=self._target.version)
        except UpstreamError:
            return 0
        rows: int = said.config.max_batch_size
        return rows if 0 <= rows < MOST_ROWS else 0


def _parse(kind: str, data: bytes) -> Any:
    try:
        return message(kind).FromString(data)
    except DecodeError as error:
        raise refuse(error) from error


def read_outputs(data: bytes) -> dict[str, np.ndarray]:
    """The tensors of an answer, raw or typed.

    Args:
        data: a serialised ModelInferResponse.

    Raises:
        MaasError: INTERNAL for anything that the protocol does not have.
    """
    answer = _parse("inference.ModelInferResponse", data)
    raw = list(answer.raw_output_contents)
    if raw and len(raw) != len(answer.outputs):
        raise nonsense(f"{len(raw)} raw tensors are there for {len(answer.outputs)} outputs")
    found = {}
    for index, output in enumerate(answer.outputs):
        name, shape = output.name, list(output.shape)
        try:
            dtype = DType[output.datatype]
        except KeyError:
            raise nonsense(f"{name!r} has the type {output.datatype[:30]!r}") from None
        if raw:
            found[name] = from_bytes(name, dtype, shape, raw[index])
        else:
            found[name] = from_lists(name, dtype, shape, _typed(output.contents, dtype))
    return found


def _typed(contents: Any, dtype: DType) -> list[Any]:
    """The values of the one field that a type travels in."""
    if dtype in (DType.INT8, DType.INT16, DType.INT32):
        field = "int_contents"
    elif dtype in (DType.UINT8, DType.UINT16, DType.UINT32):
        field = "uint_contents"
    else:
        field = f"{dtype.text.lower()}_contents"
    return list(getattr(contents, field, ()))
