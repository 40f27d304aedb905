"""Answers → ModelInferResponse, written straight into bytes.

The fields before the raw tensors depend on the version, the outputs and their shapes only: such a
head is made once by protobuf and kept by its asker. The tensors follow as field 6.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from maas.core.identity import ServableId
from maas.core.messages import InferReply
from maas.core.tensor import DType
from maas.dialects.oip.binary import write_blob
from maas.dialects.oip.classification import top_classes
from maas.dialects.oip.request import InferRequest
from maas.protos import message

MOST_HEADS = 64
Shapes = tuple[tuple[int, ...], ...]


def outputs_of(reply: InferReply, request: InferRequest) -> list[tuple[str, str, np.ndarray]]:
    """Name, datatype and array of each output, in the order of the answer.

    Raises:
        MaasError: INVALID_ARGUMENT for classes of an output without numbers.
    """
    arrays = reply.outputs
    specs = reply.signature.outputs
    if request.outputs is None:
        return [(spec.name, spec.dtype.text, arrays[spec.name]) for spec in specs]
    by_name = {spec.name: spec for spec in specs}
    found = []
    for index, name in enumerate(request.outputs):
        spec, array = by_name[name], arrays[name]
        count = request.classes[index] if request.classes else 0
        if count:
            array = top_classes(array, spec, count, batched=reply.signature.batched)
            found.append((name, DType.BYTES.text, array))
        else:
            found.append((name, spec.dtype.text, array))
    return found


def head_of(
    servable: ServableId, request_id: str | None, outputs: Sequence[tuple[str, str, np.ndarray]]
) -> bytes:
    """The answer's fields before its raw tensors."""
    response = message("inference.ModelInferResponse")(
        model_name=servable.name, model_version=str(servable.version), id=request_id or ""
    )
    for name, datatype, array in outputs:
        response.outputs.add(name=name, datatype=datatype, shape=array.shape)
    head: bytes = response.SerializeToString()
    return head


def encode_infer(
    reply: InferReply, request: InferRequest, heads: dict[Shapes, bytes] | None
) -> bytes:
    """Writes an answer.

    Args:
        reply: the model's.
        request: what was asked.
        heads: heads of answers to the same question by the shapes of their outputs, filled here;
            None where none are kept.

    Raises:
        MaasError: as `outputs_of`.
    """
    outputs = outputs_of(reply, request)
    head = None
    if heads is None:
        head = head_of(reply.servable, request.id, outputs)
    else:
        shapes = tuple([array.shape for _, _, array in outputs])
        head = heads.get(shapes)
        if head is None:
            head = head_of(reply.servable, request.id, outputs)
            if len(heads) < MOST_HEADS:
                heads[shapes] = head
    parts: list[bytes | memoryview] = [head]
    for _, _, array in outputs:
        blob = write_blob(array)
        parts.append(_raw_prefix(len(blob)))
        parts.append(blob)
    return b"".join(parts)


@lru_cache(1024)
def _raw_prefix(size: int) -> bytes:
    """Key and length of one entry of `raw_output_contents`: field 6, wire type 2."""
    return b"\x32" + varint(size)


def varint(size: int) -> bytes:
    """A length as protobuf writes it: seven bits a byte, the lowest first."""
    out = bytearray()
    while size > 0x7F:
        out.append(size & 0x7F | 0x80)
        size >>= 7
    out.append(size)
    return bytes(out)
