"""Classify, Regress and MultiInference: their messages → arrays, and answers → their messages."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from msgspec import Struct

from maas.core.errors import ErrorKind, MaasError, invalid
from maas.core.identity import ModelRef
from maas.core.messages import InferReply, ModelView
from maas.core.signature import Signature, check_inputs
from maas.core.tensor import Tensors
from maas.dialects.signatures import pick_signature
from maas.dialects.tfserving.exampleproto import read_input
from maas.dialects.tfserving.examples import Examples, to_inputs
from maas.dialects.tfserving.modelspec import read_ref, write_spec
from maas.dialects.tfserving.tasks import Task, read_classes, read_values, wanted_outputs
from maas.protos import message

METHODS: Mapping[str, Task] = MappingProxyType(
    {"tensorflow/serving/classify": "classify", "tensorflow/serving/regress": "regress"}
)
"""Tasks of MultiInference by their method_name.

Source: tensorflow/cc/saved_model/signature_constants.h.
"""
MOST_TASKS = 64


class TaskCall(Struct, frozen=True):
    """One task on some examples.

    Args:
        task: classify or regress.
        signature: the one it names, else the main one.
        inputs: arrays of the signature's dtypes and shapes.
        rows: as `check_inputs` counts them.
        examples: how many there are.
        outputs: those that the answer is made of.
    """

    task: Task
    signature: Signature
    inputs: Tensors
    rows: int
    examples: int
    outputs: tuple[str, ...]


def decode_task(request: Any, view: ModelView, task: Task) -> TaskCall:
    """Reads a `ClassificationRequest` or a `RegressionRequest`.

    Raises:
        MaasError: INVALID_ARGUMENT for whatever is wrong with the request, or a signature that
            does not do this; TOO_LARGE.
    """
    return _call(request.model_spec.signature_name, view, task, read_input(request.input))


def read_tasks_ref(request: Any) -> ModelRef:
    """The model of a `MultiInferenceRequest`: that of its first task, which all share.

    Raises:
        MaasError: INVALID_ARGUMENT for no tasks, too many, or tasks of several models.
    """
    tasks = request.tasks
    if not tasks:
        raise invalid("the request has no tasks; expected at least one")
    if len(tasks) > MOST_TASKS:
        raise invalid(f"the request has {len(tasks)} tasks; expected at most {MOST_TASKS}")
    first = read_ref(tasks[0].model_spec)
    for index, task in enumerate(tasks):
        if read_ref(task.model_spec) != first:
            raise invalid(
                f"tasks[{index}] asks {read_ref(task.model_spec)} and tasks[0] asks {first}; all "
                "tasks of one request ask the same model and version"
            )
    return first


def decode_tasks(request: Any, view: ModelView) -> list[TaskCall]:
    """Reads a `MultiInferenceRequest`, each signature at most once.

    Raises:
        MaasError: INVALID_ARGUMENT for whatever is wrong with the request; UNIMPLEMENTED for
            another method than classify and regress; TOO_LARGE.
    """
    examples = read_input(request.input)
    calls: list[TaskCall] = []
    for index, task in enumerate(request.tasks):
        method = METHODS.get(task.method_name)
        if method is None:
            raise MaasError(
                ErrorKind.UNIMPLEMENTED,
                f"tasks[{index}] has the method_name {task.method_name[:80]!r}; expected "
                f"{' or '.join(METHODS)}",
            )
        call = _call(task.model_spec.signature_name, view, method, examples)
        if any(call.signature is other.signature for other in calls):
            raise invalid(
                f"tasks[{index}] asks signature {call.signature.name!r} again; name each signature "
                "once"
            )
        calls.append(call)
    return calls


def _call(name: str, view: ModelView, task: Task, examples: Examples) -> TaskCall:
    signature = pick_signature(view, name)
    outputs = wanted_outputs(view, signature, task)
    inputs = to_inputs(signature, examples)
    rows = check_inputs(signature, inputs)
    return TaskCall(task, signature, inputs, rows, len(examples.rows), outputs)


def encode_task(reply: InferReply, call: TaskCall) -> bytes:
    """Writes a `ClassificationResponse` or a `RegressionResponse`.

    Raises:
        MaasError: FAILED_PRECONDITION where the outputs are not as the signature says.
    """
    kind = "Classification" if call.task == "classify" else "Regression"
    response = message(f"tensorflow.serving.{kind}Response")()
    write_spec(response.model_spec, reply.servable, reply.signature.name)
    _fill(response.result, reply, call)
    data: bytes = response.SerializeToString()
    return data


def encode_tasks(replies: list[InferReply], calls: list[TaskCall]) -> bytes:
    """Writes a `MultiInferenceResponse`, in the order of the tasks.

    Raises:
        MaasError: FAILED_PRECONDITION where the outputs are not as a signature says.
    """
    response = message("tensorflow.serving.MultiInferenceResponse")()
    for reply, call in zip(replies, calls, strict=True):
        result = response.results.add()
        write_spec(result.model_spec, reply.servable, reply.signature.name)
        field = "classification_result" if call.task == "classify" else "regression_result"
        _fill(getattr(result, field), reply, call)
    data: bytes = response.SerializeToString()
    return data


def _fill(result: Any, reply: InferReply, call: TaskCall) -> None:
    if call.task == "regress":
        for value in _singles(read_values(reply, call.examples)):
            result.regressions.add().value = value
        return
    classes = read_classes(reply, call.examples)
    for names, scores in zip(classes.labels, _singles(classes.scores), strict=True):
        row = result.classifications.add().classes
        for name, score in zip(names, scores, strict=True):
            row.add(label=name, score=score)


def _singles(array: np.ndarray) -> Any:
    """Numbers as the messages' `float` fields take them: beyond FP32 they are infinite."""
    with np.errstate(over="ignore"):
        return array.astype(np.float32).tolist()
