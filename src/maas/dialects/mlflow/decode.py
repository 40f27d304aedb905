"""An invocation's body → arrays."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from msgspec import Struct

from maas.core.errors import ErrorKind, MaasError, invalid
from maas.core.signature import Signature, check_inputs, describe_inputs
from maas.core.tensor import Tensors
from maas.dialects.media import Media, unsupported
from maas.dialects.table.columns import Table, first_twice, read_table, with_batch_axis
from maas.dialects.table.npy import cast, read_npy
from maas.dialects.table.sheet import decode_text, read_csv
from maas.dialects.table.values import (
    only_input,
    python_list,
    read_array_or_records,
    records_table,
)
from maas.dialects.tensorjson.arrays import to_array
from maas.dialects.tensorjson.document import Document, is_base64, is_object, read

JSON, CSV, NPY = "application/json", "text/csv", "application/x-npy"
FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")
"""Keys of which a body has exactly one."""
PARAMS = "params"
_HEADER = {"present": True, "absent": False}


class Invocation(Struct, frozen=True):
    """One call of `/invocations`.

    Args:
        inputs: arrays of the signature's dtypes and shapes.
        rows: as `check_inputs` counts them.
    """

    inputs: Tensors
    rows: int


def decode_invocation(
    body: bytes, media: Media, signature: Signature, *, keeps_params: bool = False
) -> Invocation:
    """Reads JSON in one of the `FORMS`, CSV, or an array in NumPy's format.

    Args:
        body: as it was sent.
        media: its content type.
        signature: of the model.
        keeps_params: the model may have parameters, and none can be passed on to it. Others have
            none, and ignore them as MLflow does.

    Raises:
        MaasError: UNSUPPORTED_MEDIA for another content type, charset or parameter of it,
            INVALID_ARGUMENT for whatever is wrong with the body; TOO_LARGE; UNIMPLEMENTED for
            parameters that would be lost.
    """
    check_media(media)
    if media.kind == JSON:
        inputs = _read_json(body, signature, keeps_params=keeps_params)
    elif media.kind == CSV:
        text = decode_text(body, utf8="charset" in media.parameters)
        header = _HEADER.get(media.parameters.get("header", "").lower())
        inputs = read_table(read_csv(text, signature, header=header), signature)
    else:
        spec = only_input(signature, "the .npy body", "application/json with inputs by name")
        array = cast(read_npy(body), spec, "the .npy body")
        inputs = {spec.name: with_batch_axis(array, spec)}
    return Invocation(inputs, check_inputs(signature, inputs))


def check_media(media: Media) -> None:
    """Checks a content type before anything else is done.

    Raises:
        MaasError: UNSUPPORTED_MEDIA.
    """
    if media.kind not in (JSON, CSV, NPY):
        got = repr(media.kind[:60]) if media.kind else "no content type"
        raise unsupported(f"got {got}; expected {JSON} or {CSV} (or {NPY})")
    charset = media.parameters.get("charset", "utf-8").lower()
    if charset not in ("utf-8", "utf8"):
        raise unsupported(f"the charset {charset[:40]!r} is not read here; send utf-8")
    allowed = {"charset", "header"} if media.kind == CSV else {"charset"}
    for name, value in media.parameters.items():
        if name not in allowed:
            raise unsupported(
                f"the content type's parameter {name[:40]!r} is not known; expected "
                f"{' or '.join(sorted(allowed))}, and the form of the input as a key of the body: "
                f"{', '.join(FORMS)}"
            )
        if name == "header" and value.lower() not in _HEADER:
            raise unsupported(f"header={value[:40]} is not known; expected present or absent")


def _read_json(body: bytes, signature: Signature, *, keeps_params: bool) -> dict[str, np.ndarray]:
    document = read(body)
    root = document.root
    given = [form for form in FORMS if form in root]
    if len(given) != 1:
        what = " and ".join(given) if given else f"none of them ({_keys(root)})"
        raise invalid(f"the body needs exactly one of {', '.join(FORMS)}; it has {what}")
    if PARAMS in root and root[PARAMS] is not None and not is_object(root[PARAMS]):
        raise invalid("params must be an object")
    if keeps_params and root.get(PARAMS):
        raise MaasError(
            ErrorKind.UNIMPLEMENTED,
            "params are not passed on to models that MLflow runs; leave them out, and the model "
            "keeps the defaults of its signature",
        )
    [form] = given
    value = root[form]
    if form == "dataframe_split":
        return _read_split(document, value, signature)
    if form == "dataframe_records":
        return read_table(records_table(python_list(document, value, form), form), signature)
    if form == "inputs" and is_object(value) and not is_base64(value):
        return _read_named(document, value, signature)
    return read_array_or_records(document, form, value, signature)


def _read_split(document: Document, value: Any, signature: Signature) -> dict[str, np.ndarray]:
    """`{"columns": […], "index": […], "data": [[…], …]}`, of which only data is needed."""
    if not is_object(value) or "data" not in value:
        raise invalid('dataframe_split must be an object with "data" and "columns"')
    for key in value:
        if key not in ("columns", "index", "data"):
            raise invalid(
                f"dataframe_split has {key[:80]!r}; expected columns, index and data, as pandas' "
                "to_dict(orient='split') writes them"
            )
    names = _column_names(document, value["columns"]) if "columns" in value else None
    data = value["data"]
    [spec] = signature.inputs if len(signature.inputs) == 1 else [None]
    if document.outline is not None and spec is not None and spec.labels in (None, names):
        # A large table in the model's own order needs no Python object for each of its cells.
        with contextlib.suppress(MaasError):
            outline = document.outlines("data", 1)[0]
            array = to_array(document, data, spec, "data", outline)
            if array.ndim == len(spec.shape) == 2 and (
                names is None or array.shape[1] == len(names)
            ):
                return {spec.name: array}
    rows = python_list(document, data, "the data of dataframe_split")
    width = len(names) if names is not None else len(rows[0]) if _is_row(rows) else 0
    for index, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != width:
            had = f"{len(row)} cells" if isinstance(row, list) else "no list of cells"
            raise invalid(f"data[{index}] of dataframe_split has {had}; expected {width}")
    if not rows or not width:
        raise invalid("dataframe_split has no rows; send at least one")
    return read_table(Table(names, [list(one) for one in zip(*rows, strict=True)]), signature)


def _is_row(rows: list[Any]) -> bool:
    return bool(rows) and isinstance(rows[0], list)


def _column_names(document: Document, value: Any) -> tuple[str, ...]:
    names = document.python(value)
    if not isinstance(names, list) or any(type(name) not in (str, int) for name in names):
        raise invalid("the columns of dataframe_split must be a list of names")
    found = tuple(str(name) for name in names)
    twice = first_twice(found)
    if twice is not None:
        raise invalid(f"dataframe_split names the column {twice[:80]!r} twice")
    return found


def _read_named(
    document: Document, value: Mapping[str, Any], signature: Signature
) -> dict[str, np.ndarray]:
    """`inputs` as an object: the inputs themselves under their names, else columns."""
    names = list(value)
    if all(spec.name in names for spec in signature.inputs):
        inputs = {}
        for spec in signature.inputs:
            outline = document.outlines(spec.name, 1)[0]
            array = to_array(document, value[spec.name], spec, f"input {spec.name!r}", outline)
            inputs[spec.name] = with_batch_axis(array, spec)
        return inputs
    # All at once: looking a key up walks the object from its beginning.
    found: dict[str, Any] = document.python(value)
    columns = [cells if isinstance(cells, list) else [cells] for cells in found.values()]
    if len({len(cells) for cells in columns}) > 1 or not columns:
        raise invalid(f"the columns of inputs need the same length; {describe_inputs(signature)}")
    return read_table(Table(tuple(found), columns), signature)


def _keys(root: Mapping[str, Any]) -> str:
    keys: Sequence[str] = [key[:40] for key in list(root)[:8]]
    return ", ".join(repr(key) for key in keys) or "an empty object"
