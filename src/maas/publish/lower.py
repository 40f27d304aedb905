"""Lowers a scikit-learn estimator to ONNX through skl2onnx, with the signature's own names."""

from __future__ import annotations

import re
import warnings
from typing import Any

from maas.core.signature import Signature
from maas.core.tensor import DType, TensorSpec
from maas.publish.booster_trees import NoTreesError
from maas.publish.lower_boosters import register_boosters
from maas.publish.lower_boosting import SplitByCategoryError, boosting_converters
from maas.publish.onnx_graph import DTYPES
from maas.publish.repairs import repair
from maas.runtimes.estimator import Layout
from maas.runtimes.wording import one_sentence


class NotLoweredError(Exception):
    """The estimator has no ONNX form; the message is the reason, one clause."""


def lower(estimator: Any, layout: Layout, signature: Signature) -> bytes:
    """Converts an estimator.

    Args:
        estimator: fitted.
        layout: how it wants its rows.
        signature: what the ONNX model is to take and give.

    Returns:
        A serialised ModelProto whose inputs and outputs are the signature's.

    Raises:
        NotLoweredError: with the reason.
    """
    if layout.kind == "frame":
        raise NotLoweredError("its code asks for the columns of a data frame")
    if any(spec.dtype is DType.FP64 for spec in signature.inputs):
        raise NotLoweredError("its answers need float64 inputs")
    model = _convert(estimator, layout)
    repair(model, estimator)
    if layout.kind == "columns":
        _take_columns(model, signature)
    # skl2onnx puts the label first and the scores second; anything further is not asked for.
    if len(model.graph.output) < len(signature.outputs):
        raise NotLoweredError("its ONNX form lacks an output")
    for value, spec in zip(list(model.graph.output), signature.outputs, strict=False):
        _rename(model, spec.name, f"{spec.name}_inner")
        source = f"{spec.name}_inner" if value.name == spec.name else value.name
        _append_output(model, source, value.type.tensor_type.elem_type, spec)
    made = {spec.name for spec in signature.outputs}
    outputs = [value for value in model.graph.output if value.name in made]
    del model.graph.output[:]
    model.graph.output.extend(outputs)
    lowered: bytes = model.SerializeToString()
    return lowered


def _convert(estimator: Any, layout: Layout) -> Any:
    from skl2onnx import convert_sklearn

    options = {id(estimator): {"zipmap": False}} if hasattr(estimator, "classes_") else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        register_boosters()
        try:
            return convert_sklearn(
                estimator,
                "model",
                initial_types=_types(layout),
                target_opset=_opsets(),
                custom_conversion_functions=boosting_converters(),
                options=options,
            )
        except (SplitByCategoryError, NoTreesError) as error:
            raise NotLoweredError(str(error)) from error
        except Exception as error:
            raise NotLoweredError(f"skl2onnx cannot convert it: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    text = str(error)
    unknown = re.search(r"Unable to find a (?:shape calculator|converter)\D*'[^']*?(\w+)'>", text)
    if unknown:
        return f"it knows no {unknown[1]}"
    return one_sentence(re.split(r"\. |\n", text)[0], 160)


def _types(layout: Layout) -> list[tuple[str, Any]]:
    """The inputs as skl2onnx wants them; a column that is not looked at is there all the same."""
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType

    if layout.kind == "text":
        return [("text", StringTensorType([None]))]
    if layout.kind == "words":
        return [("x", StringTensorType([None, layout.width]))]
    if layout.kind == "numbers":
        return [("x", FloatTensorType([None, layout.width]))]
    types = [(f"unused column {i}", FloatTensorType([None, 1])) for i in range(layout.width or 0)]
    for column in layout.columns:
        kind = StringTensorType if column.text else FloatTensorType
        types[column.position] = (column.name, kind([None, 1]))
    return types


def _take_columns(model: Any, signature: Signature) -> None:
    """Makes the inputs, which skl2onnx wants as [n, 1], the signature's [n].

    Raises:
        NotLoweredError: where a column that the signature lacks is used after all.
    """
    from onnx import helper

    wanted = {spec.name for spec in signature.inputs}
    used = {name for node in model.graph.node for name in node.input}
    inputs = [value for value in model.graph.input if value.name in wanted or value.name in used]
    if {value.name for value in inputs} != wanted:
        raise NotLoweredError("its ONNX form takes other columns")
    del model.graph.input[:]
    size = "column_shape"
    model.graph.initializer.append(helper.make_tensor(size, 7, [2], [-1, 1]))
    for value in inputs:
        inner = f"{value.name}_as_column"
        _rename(model, value.name, inner)
        model.graph.node.insert(0, helper.make_node("Reshape", [value.name, size], [inner]))
        element = value.type.tensor_type.elem_type
        model.graph.input.append(helper.make_tensor_value_info(value.name, element, [None]))


def _opsets() -> dict[str, int]:
    """The newest operator sets that skl2onnx writes. Some converters need ai.onnx.ml at most 3."""
    from onnx.defs import onnx_opset_version
    from skl2onnx import __max_supported_opset__

    return {"": min(onnx_opset_version(), __max_supported_opset__), "ai.onnx.ml": 3}


def _rename(model: Any, old: str, new: str) -> None:
    """Gives every tensor of that name another, so that the name is free for an output."""
    for node in model.graph.node:
        for names in (node.input, node.output):
            for i, name in enumerate(names):
                if name == old:
                    names[i] = new
    for value in [*model.graph.output, *model.graph.value_info]:
        if value.name == old:
            value.name = new
    for tensor in model.graph.initializer:
        if tensor.name == old:
            tensor.name = new


def _append_output(model: Any, source: str, element: int, spec: TensorSpec) -> None:
    """Adds the output `spec`, made of the tensor `source`."""
    from onnx import helper

    wanted = next(number for number, dtype in DTYPES.items() if dtype is spec.dtype)
    if element != wanted:
        if DType.BYTES in (spec.dtype, DTYPES.get(element)):
            raise NotLoweredError(f"its ONNX form gives another type of {spec.name}")
        model.graph.node.append(helper.make_node("Cast", [source], [f"{source}_c"], to=wanted))
        source = f"{source}_c"
    if len(spec.shape) == 1:  # skl2onnx gives regressors' predictions as [n, 1]
        flat = f"{spec.name}_flat"
        model.graph.initializer.append(helper.make_tensor(flat, 7, [1], [-1]))
        model.graph.node.append(helper.make_node("Reshape", [source, flat], [spec.name]))
    else:
        model.graph.node.append(helper.make_node("Identity", [source], [spec.name]))
    model.graph.output.append(helper.make_tensor_value_info(spec.name, wanted, spec.shape))
