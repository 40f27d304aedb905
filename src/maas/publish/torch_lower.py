"""Lowers a PyTorch program to ONNX through PyTorch's own exporters."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Sequence
from typing import Any

from maas.core.signature import Signature
from maas.publish.lower import NotLoweredError
from maas.publish.onnx_ends import name_ends
from maas.runtimes.torch_model import TorchProgram
from maas.runtimes.wording import one_sentence

OPSET = 18
"""The operator set that TorchScript's exporter is asked for; the other chooses its own."""


def lower_pt2(program: TorchProgram, signature: Signature) -> bytes:
    """Converts an exported program.

    Args:
        program: of `open_pt2`.
        signature: what the ONNX model is to take and give.

    Returns:
        A serialised ModelProto whose inputs and outputs are the signature's.

    Raises:
        NotLoweredError: with the reason, one clause.
    """
    import torch

    inputs, outputs = _ends(signature)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            logging.getLogger("torch.onnx").setLevel(logging.CRITICAL)
            made = torch.onnx.export(
                program.loaded,
                dynamo=True,
                verbose=False,
                input_names=list(inputs),
                output_names=list(outputs),
            )
            model = made.model_proto
    except MemoryError:
        raise
    except Exception as error:
        raise NotLoweredError(_reason(error)) from error
    return _finish(model, inputs, outputs, signature)


def lower_torchscript(
    program: TorchProgram, arguments: Sequence[Any], signature: Signature
) -> bytes:
    """Converts TorchScript.

    Args:
        program: of `open_torchscript`.
        arguments: tensors that it answers.
        signature: what the ONNX model is to take and give.

    Returns:
        As `lower_pt2`.

    Raises:
        NotLoweredError: with the reason, one clause.
    """
    import torch

    inputs, outputs = _ends(signature)
    rows = {
        name: {0: "batch"}
        for names, specs in ((inputs, signature.inputs), (outputs, signature.outputs))
        for name, spec in zip(names, specs, strict=True)
        if spec.shape[:1] == (None,)
    }
    written = io.BytesIO()
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                program.loaded,
                tuple(arguments),
                written,
                dynamo=False,
                opset_version=OPSET,
                input_names=list(inputs),
                output_names=list(outputs),
                dynamic_axes=rows,
            )
    except MemoryError:
        raise
    except Exception as error:
        raise NotLoweredError(_reason(error)) from error
    from onnx import load_from_string

    return _finish(load_from_string(written.getvalue()), inputs, outputs, signature)


def _ends(signature: Signature) -> tuple[dict[str, str], dict[str, str]]:
    """Names for the graph's ends while it is made → the signature's."""
    return (
        {f"in_{i}": spec.name for i, spec in enumerate(signature.inputs)},
        {f"out_{i}": spec.name for i, spec in enumerate(signature.outputs)},
    )


def _finish(
    model: Any, inputs: dict[str, str], outputs: dict[str, str], signature: Signature
) -> bytes:
    if not {value.name for value in model.graph.input} <= inputs.keys():
        raise NotLoweredError("its ONNX form takes other inputs")
    if [value.name for value in model.graph.output] != list(outputs):
        raise NotLoweredError("its ONNX form gives other outputs")
    # The exporter keeps the lines of source that each node came from.
    del model.metadata_props[:]
    del model.graph.metadata_props[:]
    for part in (*model.graph.node, *model.graph.initializer):
        del part.metadata_props[:]
    name_ends(model, inputs, outputs, signature)
    try:
        lowered: bytes = model.SerializeToString()
    except ValueError as error:
        raise NotLoweredError("its ONNX form is larger than protobuf's 2 GiB") from error
    return lowered


def _reason(error: Exception) -> str:
    """The last cause: what the exporter raises is a page of advice."""
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    text = str(cause).strip().partition("\n")[0] or str(cause)
    return f"PyTorch's exporter cannot convert it: {one_sentence(text or cause, 160)}"
