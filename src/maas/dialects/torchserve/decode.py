"""A prediction's body → arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from msgspec import Struct

from maas.core.errors import invalid
from maas.core.signature import Signature, check_inputs, describe_inputs
from maas.core.tensor import DType, Tensors, TensorSpec
from maas.dialects.media import Media, unsupported
from maas.dialects.plain.decode import PlainDocument, decode
from maas.dialects.table.columns import read_table, with_batch_axis
from maas.dialects.table.npy import cast, read_npy
from maas.dialects.table.values import python_list, records_table
from maas.dialects.tensorjson.document import is_array, is_base64, is_object, read_value
from maas.dialects.torchserve.parts import Part, read_parts
from maas.dialects.torchserve.raw import picture_kind, read_raw

MULTIPART = "multipart/form-data"
NPY = "application/x-npy"
VALUE = "input_data"
"""The name of a value that has none; the plain calls' word for it."""
GENERAL_PARTS = ("data", "body")
"""Parts of these names hold the value of the only input, as TorchServe's handlers look it up."""

_FILES = ("image/", "audio/", "video/")


class Prediction(Struct, frozen=True):
    """One prediction.

    Args:
        inputs: arrays of the signature's dtypes and shapes.
        rows: as `check_inputs` counts them.
        unbatch: every value came one rank short, so the answer loses its batch axis again.
    """

    inputs: Tensors
    rows: int
    unbatch: bool


def decode_prediction(body: bytes, media: Media, signature: Signature) -> Prediction:
    """Reads the body of `POST /predictions/NAME[/VERSION]`.

    Raises:
        MaasError: UNSUPPORTED_MEDIA for a picture that the model does not take as bytes,
            INVALID_ARGUMENT for whatever else is wrong with it; TOO_LARGE.
    """
    if media.kind != MULTIPART:
        return _read_body(body, media, signature)
    parts = read_parts(body, media.parameters.get("boundary", ""))
    names = {spec.name for spec in signature.inputs}
    if len(parts) == 1 and not names & parts.keys():
        [(name, part)] = parts.items()
        if name in GENERAL_PARTS:
            return _read_body(part.content, part.media, signature)
    return _read_named_parts(parts, signature)


def _read_body(body: bytes, media: Media, signature: Signature) -> Prediction:
    specs = signature.inputs
    if len(specs) > 1 or _is_json(body, media, specs[0]):
        return _read_json(body, signature)
    array, added = _read_value(body, media, specs[0], "the body")
    inputs = {specs[0].name: array}
    return Prediction(inputs, check_inputs(signature, inputs), added)


def _read_json(body: bytes, signature: Signature) -> Prediction:
    """The plain calls' forms, a value without a name, or a list of objects, one for each row."""
    document = read_value(body, VALUE)
    value: Any = document.root.get(VALUE) if len(document.root) == 1 else None
    if is_array(value) and len(value) and is_object(value[0]) and not is_base64(value[0]):
        rows = python_list(document, value, "the list")
        inputs = read_table(records_table(rows, "the list"), signature)
        return Prediction(inputs, check_inputs(signature, inputs), unbatch=False)
    request = decode(PlainDocument(document, None, texts=False, writes=False), signature)
    return Prediction(request.inputs, request.rows, request.unbatch)


def _read_named_parts(parts: Mapping[str, Part], signature: Signature) -> Prediction:
    for name in parts:
        if all(name != spec.name for spec in signature.inputs):
            raise invalid(
                f"there is no input {name[:80]!r}; {describe_inputs(signature)}, each as a part of "
                f"its name, or the value of an only input as {GENERAL_PARTS[0]}"
            )
    inputs: dict[str, np.ndarray] = {}
    unbatch = True
    for spec in signature.inputs:
        part = parts.get(spec.name)
        if part is None:
            raise invalid(f"the part {spec.name!r} is missing; {describe_inputs(signature)}")
        what = f"part {spec.name!r}"
        if _is_json(part.content, part.media, spec):
            only = Signature(signature.name, (spec,), signature.outputs, signature.batched)
            read = _read_json(part.content, only)
            inputs[spec.name], added = read.inputs[spec.name], read.unbatch
        else:
            inputs[spec.name], added = _read_value(part.content, part.media, spec, what)
        unbatch = unbatch and added
    return Prediction(inputs, check_inputs(signature, inputs), unbatch)


def _is_json(body: bytes, media: Media, spec: TensorSpec) -> bool:
    """Whether bytes are JSON: where nobody says so, what begins and ends like it is.

    A model of texts or bytes takes whatever comes without a type as its value.
    """
    if media.kind in ("", "application/octet-stream", "text/plain"):
        if spec.dtype is DType.BYTES:
            return False
        text = body.strip(b" \t\r\n")
        return (text[:1], text[-1:]) in ((b"[", b"]"), (b"{", b"}")) and text.isascii()
    return not (media.kind == NPY or media.kind.startswith(_FILES))


def _read_value(body: bytes, media: Media, spec: TensorSpec, what: str) -> tuple[np.ndarray, bool]:
    if media.kind == NPY:
        array = cast(read_npy(body), spec, what)
        batched = with_batch_axis(array, spec)
        return batched, batched.ndim > array.ndim and spec.shape != (None, 1)
    if spec.dtype is not DType.BYTES:
        kind = media.kind if media.kind.startswith(_FILES) else picture_kind(body)
        if kind:
            raise unsupported(
                f"{what} is {kind}, and pictures and sound are not decoded here; send the numbers: "
                "as JSON, as application/x-npy, or their raw little-endian bytes as "
                "application/octet-stream"
            )
        if media.kind == "text/plain":
            raise unsupported(f"{what} is text/plain and the model takes numbers; send JSON")
    return read_raw(body, spec, what)
