"""Reads an ONNX model as a graph: its operators, its signature, its ZipMaps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from maas.core.errors import ErrorKind, MaasError, invalid
from maas.core.tensor import DType, TensorSpec
from maas.runtimes.wording import one_sentence

LARGEST = (1 << 31) - 1
"""Bytes of a protobuf message."""

DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "ai.onnx.preview.training", "com.microsoft"})
"""Operator domains that ONNX Runtime's CPU build knows."""

FILE_OPERATORS = frozenset({"EPContext"})
"""Operators that name a file to open."""

DTYPES = {
    1: DType.FP32,
    2: DType.UINT8,
    3: DType.INT8,
    4: DType.UINT16,
    5: DType.INT16,
    6: DType.INT32,
    7: DType.INT64,
    8: DType.BYTES,
    9: DType.BOOL,
    10: DType.FP16,
    11: DType.FP64,
    12: DType.UINT32,
    13: DType.UINT64,
    16: DType.BF16,
}
"""TensorProto.DataType → the protocols' types. Source: onnx/onnx.proto."""


def read_model(path: Path) -> Any:
    """Parses a model without its external data.

    Raises:
        MaasError: INVALID_ARGUMENT where it is no ONNX model, TOO_LARGE beyond protobuf's 2 GiB.
    """
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # no stubs

    if path.stat().st_size > LARGEST:
        raise MaasError(
            ErrorKind.TOO_LARGE,
            "the ONNX file is larger than protobuf's 2 GiB; save its weights as external data "
            "and publish the folder",
        )
    model = onnx.ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except (DecodeError, RecursionError, ValueError) as error:
        raise invalid(
            f"the ONNX file is cut off or damaged ({one_sentence(error, 80)}); save it again"
        ) from error
    if not model.graph.node and not model.graph.output:
        raise invalid("the ONNX file has an empty graph; save the model again")
    return model


def nodes_of(model: Any) -> Iterator[Any]:
    """Every NodeProto: of the graph, of functions, and of the graphs inside nodes."""
    pending = list(model.graph.node)
    for function in model.functions:
        pending.extend(function.node)
    while pending:
        node = pending.pop()
        yield node
        for attribute in node.attribute:
            pending.extend(attribute.g.node)
            for graph in attribute.graphs:
                pending.extend(graph.node)


def check_operators(model: Any) -> None:
    """Refuses operators that are not ONNX Runtime's, and those that open files.

    Raises:
        MaasError: INVALID_ARGUMENT, naming them.
    """
    own = {(function.domain, function.name) for function in model.functions}
    strangers: set[str] = set()
    for node in nodes_of(model):
        if node.op_type in FILE_OPERATORS:
            raise invalid(f"the model uses operator {node.op_type!r}, which opens a file")
        if node.domain not in DOMAINS and (node.domain, node.op_type) not in own:
            strangers.add(f"{node.domain[:60]}::{node.op_type[:60]}")
    if strangers:
        raise invalid(
            f"the model uses custom operators that ONNX Runtime does not have: "
            f"{', '.join(sorted(strangers)[:6])}; export it with standard operators"
        )


def written_with(model: Any) -> dict[str, str]:
    """What the file says about its making: producer, IR version, operator sets."""
    found = {"ir_version": str(model.ir_version)}
    if model.producer_name:
        found[model.producer_name[:60]] = model.producer_version[:40] or "unknown"
    for opset in model.opset_import:
        found[f"opset {opset.domain[:60] or 'ai.onnx'}"] = str(opset.version)
    return found


def remove_zipmaps(model: Any) -> dict[str, tuple[str, ...]]:
    """Takes ZipMaps off the outputs, in place: the tensor of scores comes out in their stead.

    Returns:
        Output name → class names, for each that was removed. The class names belong into the
        output's `TensorSpec.labels`.
    """
    import onnx

    outputs = {output.name: output for output in model.graph.output}
    labels: dict[str, tuple[str, ...]] = {}
    for node in model.graph.node:
        if node.op_type != "ZipMap" or len(node.output) != 1 or node.output[0] not in outputs:
            continue
        names: tuple[str, ...] = ()
        for attribute in node.attribute:
            if attribute.name == "classlabels_strings":
                names = tuple(text.decode("utf-8", "replace") for text in attribute.strings)
            elif attribute.name == "classlabels_int64s":
                names = tuple(str(number) for number in attribute.ints)
        output = outputs[node.output[0]]
        node.op_type, node.domain = "Identity", ""
        del node.attribute[:]
        output.type.CopyFrom(
            onnx.helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, [None, len(names)])
        )
        labels[output.name] = names
    return labels


def specs_of(values: Any, role: str, skip: frozenset[str] = frozenset()) -> list[TensorSpec]:
    """Specs of graph inputs or outputs; an output's that is not declared is ().

    Args:
        values: ValueInfoProtos.
        role: `input` or `output`, for messages.
        skip: names of initialisers, which are no inputs.

    Raises:
        MaasError: INVALID_ARGUMENT for anything but tensors of types that the protocols carry, and
            for an input without a shape.
    """
    specs: list[TensorSpec] = []
    for value in values:
        if value.name in skip:
            continue
        kind = value.type.WhichOneof("value")
        if kind != "tensor_type":
            what = (kind or "untyped value").removesuffix("_type").replace("_", " ")
            raise invalid(
                f"{role} {value.name[:60]!r} is a {what}; expected tensors (a ZipMap at the end "
                "is taken off, any other map or sequence is not served)"
            )
        tensor = value.type.tensor_type
        dtype = DTYPES.get(tensor.elem_type)
        if dtype is None:
            raise invalid(
                f"{role} {value.name[:60]!r} has an element type that no protocol here carries; "
                "cast it to float32 in the graph"
            )
        if role == "input" and not tensor.HasField("shape"):
            raise invalid(
                f"{role} {value.name[:60]!r} does not say how many dimensions it has; export the "
                "model with a shape for it, in which any size may stay open"
            )
        shape = tuple(
            d.dim_value if d.WhichOneof("value") == "dim_value" and d.dim_value > 0 else None
            for d in tensor.shape.dim
        )
        specs.append(TensorSpec(value.name, dtype, shape))
    return specs


def symbols_of(values: Any, skip: frozenset[str] = frozenset()) -> dict[str, tuple[str, ...]]:
    """The names of each tensor's symbolic dimensions; empty where fixed or without a name."""
    return {
        value.name: tuple(d.dim_param for d in value.type.tensor_type.shape.dim)
        for value in values
        if value.name not in skip
    }


def initialisers(model: Any) -> frozenset[str]:
    """Names of weights; old models list them among the inputs as well."""
    names = {tensor.name for tensor in model.graph.initializer}
    names |= {tensor.values.name for tensor in model.graph.sparse_initializer}
    return frozenset(names)
