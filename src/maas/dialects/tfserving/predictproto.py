"""`tensorflow.serving.PredictRequest` → arrays, and answers → `PredictResponse`."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from maas.core.errors import invalid
from maas.core.messages import InferReply, ModelView
from maas.core.signature import Signature, check_inputs, describe_inputs
from maas.core.tensor import Tensors
from maas.dialects.signatures import pick_signature
from maas.dialects.tfserving.modelspec import write_spec
from maas.dialects.tfserving.tensorproto import read_tensor, write_tensor
from maas.protos import message


class PredictCall(Struct, frozen=True):
    """One Predict call.

    Args:
        signature: the one it names, else the main one.
        inputs: arrays of the signature's dtypes and shapes.
        rows: as `check_inputs` counts them.
        outputs: its output_filter; None for all.
    """

    signature: Signature
    inputs: Tensors
    rows: int
    outputs: tuple[str, ...] | None


def is_vast(request: Any, elements: int) -> bool:
    """Whether a tensor of a `PredictRequest` says that it has so many elements, or more.

    A few bytes can say it: one value stands for all that are left out.
    """
    for proto in request.inputs.values():
        count = 1
        for dim in proto.tensor_shape.dim:
            count *= dim.size
            if abs(count) >= elements:
                return True
    return False


def decode_predict(request: Any, view: ModelView) -> PredictCall:
    """Reads a `tensorflow.serving.PredictRequest`.

    Raises:
        MaasError: INVALID_ARGUMENT for whatever is wrong with the request; TOO_LARGE.
    """
    signature = pick_signature(view, request.model_spec.signature_name)
    outputs = _read_filter(request.output_filter, signature)
    sent = request.inputs
    for name in sent:
        if name not in signature.by_name:
            raise invalid(f"there is no input {name[:80]!r}; {describe_inputs(signature)}")
    inputs = {
        spec.name: read_tensor(sent[spec.name], spec, f"input {spec.name!r}")
        for spec in signature.inputs
        if spec.name in sent  # check_inputs names what is missing
    }
    return PredictCall(signature, inputs, check_inputs(signature, inputs), outputs)


def _read_filter(names: Any, signature: Signature) -> tuple[str, ...] | None:
    if not names:
        return None
    known = [spec.name for spec in signature.outputs]
    for name in names:
        if name not in known:
            raise invalid(
                f"output_filter names {name[:80]!r}, which is no output; expected some of "
                f"{', '.join(known)}"
            )
    if len(set(names)) < len(names):
        twice = next(name for name in names if list(names).count(name) > 1)
        raise invalid(f"output_filter names {twice!r} more than once; name each output once")
    return tuple(names)


def encode_predict(reply: InferReply) -> bytes:
    """Writes a `tensorflow.serving.PredictResponse`, tensors in typed fields."""
    response = message("tensorflow.serving.PredictResponse")()
    write_spec(response.model_spec, reply.servable, reply.signature.name)
    for name, array in reply.outputs.items():
        write_tensor(response.outputs[name], array)
    data: bytes = response.SerializeToString()
    return data
