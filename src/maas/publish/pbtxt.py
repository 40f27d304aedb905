"""Reads Triton's `config.pbtxt`: protobuf's text format, over the message of the same name here."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

from google.protobuf import json_format, text_format  # type: ignore[import-untyped]  # no stubs

from maas.core.errors import ErrorKind, MaasError, invalid
from maas.core.tensor import DType
from maas.protos import message
from maas.publish.detect_folder import CONFIG
from maas.runtimes.wording import one_sentence

MOST_BYTES = 1 << 20
"""Real ones have a few kilobytes. The reader is written in Python and takes seconds a megabyte."""
DTYPES = {
    "TYPE_BOOL": DType.BOOL,
    "TYPE_UINT8": DType.UINT8,
    "TYPE_UINT16": DType.UINT16,
    "TYPE_UINT32": DType.UINT32,
    "TYPE_UINT64": DType.UINT64,
    "TYPE_INT8": DType.INT8,
    "TYPE_INT16": DType.INT16,
    "TYPE_INT32": DType.INT32,
    "TYPE_INT64": DType.INT64,
    "TYPE_FP16": DType.FP16,
    "TYPE_FP32": DType.FP32,
    "TYPE_FP64": DType.FP64,
    "TYPE_BF16": DType.BF16,
    "TYPE_STRING": DType.BYTES,
}
"""Names of `inference.DataType`. Source: the message's own file in `maas.protos`."""


def read_config(file: Path) -> Any:
    """Reads a model's configuration; a field that Triton does not have is refused, as it does.

    Args:
        file: `config.pbtxt`; none gives an empty configuration, as Triton completes it.

    Returns:
        An `inference.ModelConfig`.

    Raises:
        MaasError: INVALID_ARGUMENT with the line, TOO_LARGE.
    """
    config = message("inference.ModelConfig")()
    text = _read(file)
    try:
        text_format.Parse(text, config)
    except (text_format.ParseError, ValueError, RecursionError) as error:
        why = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise invalid(
            f"{CONFIG} cannot be read ({one_sentence(why, 160)}); expected Triton's model "
            "configuration as protobuf text"
        ) from error
    return config


def _read(file: Path) -> str:
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise invalid(f"{CONFIG} cannot be read ({error.strerror}); expected a file") from error
    with os.fdopen(descriptor, "rb") as stream:
        data = stream.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise MaasError(ErrorKind.TOO_LARGE, f"{CONFIG} is larger than 1 MiB; expected a few lines")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise invalid(f"{CONFIG} is not UTF-8 text; expected protobuf text") from None


def dtype_of(config: Any, tensor: Any) -> DType:
    """The element type of a `ModelInput` or `ModelOutput`.

    Raises:
        MaasError: INVALID_ARGUMENT where it has none.
    """
    descriptor = config.DESCRIPTOR.file.enum_types_by_name["DataType"]
    value = descriptor.values_by_number.get(tensor.data_type)
    found = DTYPES.get(value.name) if value is not None else None
    if found is None:
        raise invalid(
            f"{CONFIG} gives {tensor.name[:60]!r} no data_type; expected one such as TYPE_FP32"
        )
    return found


def as_json(config: Any) -> dict[str, Any]:
    """A configuration as Triton writes it for `TritonPythonModel.initialize`.

    Sizes are numbers: protobuf's own JSON writes 64-bit ones as texts.
    """
    said: dict[str, Any] = json_format.MessageToDict(
        config, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    for tensor in (*said["input"], *said["output"]):
        tensor["dims"] = [int(size) for size in tensor["dims"]]
        if "reshape" in tensor:
            tensor["reshape"]["shape"] = [int(size) for size in tensor["reshape"]["shape"]]
    return said


def from_json(said: dict[str, Any]) -> Any:
    """The configuration that `as_json` wrote and the model's own code may have completed.

    Raises:
        MaasError: INVALID_ARGUMENT where it is none.
    """
    config = message("inference.ModelConfig")()
    parse = partial(json_format.ParseDict, ignore_unknown_fields=True)
    try:
        parse(said, config)
    except (json_format.ParseError, ValueError, TypeError, RecursionError) as error:
        raise invalid(
            f"auto_complete_config made a configuration that cannot be read "
            f"({one_sentence(error, 160)})"
        ) from error
    return config
