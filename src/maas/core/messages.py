"""What travels between the layers: one typed call and one typed answer, whatever the dialect.

The structs of a call are left out of garbage collection (`gc=False`): they hold no cycles, and
there are several for every prediction.
"""

from __future__ import annotations

from msgspec import Struct

from maas.core.generation import GenerateRequest, GenerativeSpec
from maas.core.identity import ServableId
from maas.core.signature import Signature
from maas.core.states import ServableState
from maas.core.tensor import Tensors


class Principal(Struct, frozen=True, gc=False):
    """Who calls.

    Args:
        key_id: the key's public id; empty for an anonymous caller of an open data plane.
        name: the key's name.
        role: one of `maas.core.records.Role`.
    """

    key_id: str
    name: str
    role: str


class CallContext(Struct, frozen=True, gc=False):
    """What comes with every call.

    Args:
        request_id: the caller's `x-request-id`, or one made here.
        principal: who calls.
        deadline: absolute CLOCK_MONOTONIC seconds after which nobody waits for the answer.
        dialect: the protocol it came in, for the metrics.
        priority: which of the waiting calls goes first: 1 is the highest, then 2, …; 0 where the
            caller said nothing, which is in the middle: `priority_rank`.
        caller: what the wire knows the caller by; it is asked whether a caller that waits for long
            is still there. None where nobody can say.
    """

    request_id: str
    principal: Principal
    deadline: float
    dialect: str
    priority: int = 0
    caller: object = None


def priority_rank(priority: int) -> int:
    """What waiting calls are ordered by, lowest first; those of one rank go as they came.

    1 goes before 2, and so on. A call without a priority (0) counts as 2³¹: after those that ask
    for a place in front, before those that say they can wait (2³¹ + 1 and more).
    """
    return priority or 1 << 31


class ModelView(Struct, frozen=True, gc=False):
    """What a model reference means at this moment.

    Args:
        servable: the version that will answer.
        signatures: its signatures by name; `main_signature` says which is the main one.
        platform: who serves it, as Triton's `platform` (`onnxruntime_onnx`, `sklearn`).
        defaulted: the version followed from the model alone, not from a number or an alias.
        generative: what is known of a language model; None for any other.
    """

    servable: ServableId
    signatures: dict[str, Signature]
    platform: str
    defaulted: bool
    generative: GenerativeSpec | None = None


class InferCall(Struct, frozen=True, gc=False):
    """One prediction.

    Args:
        servable: the version, as `Engine.resolve` gave it.
        signature: the signature being called.
        inputs: arrays of the signature's dtypes and shapes.
        rows: how many rows of a batched signature they hold, else 1.
        outputs: names wanted, in order; None for all.
        context: who, until when, under which id.
    """

    servable: ServableId
    signature: Signature
    inputs: Tensors
    rows: int
    outputs: tuple[str, ...] | None
    context: CallContext


class InferReply(Struct, frozen=True, gc=False):
    """The answer to one prediction: arrays under the signature's output names."""

    servable: ServableId
    signature: Signature
    outputs: Tensors


class GenerateCall(Struct, frozen=True, gc=False):
    """One call of a language model. `context.deadline` is that of the first token.

    Args:
        servable: the version, as `Engine.resolve` gave it.
        request: what is asked.
        context: who, until when, under which id.
    """

    servable: ServableId
    request: GenerateRequest
    context: CallContext


class VersionStatus(Struct, frozen=True):
    """How one version stands, for status pages and TensorFlow Serving's `GET /v1/models/NAME`.

    Args:
        servable: which.
        state: where it is.
        reason: why it is at END where it failed; else empty.
    """

    servable: ServableId
    state: ServableState
    reason: str = ""
