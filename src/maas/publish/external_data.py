"""Where an ONNX model's weights may lie outside it: in its own folder, and nowhere else.

Answers CVE-2022-25882, CVE-2024-27318 and CVE-2026-27489, before any runtime sees the model.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from maas.core.errors import MaasError, invalid

EXTERNAL = 1
"""TensorProto.DataLocation.EXTERNAL."""
_LOCATION = re.compile(r"[^\x00-\x1f\x7f\\:*?\"<>|]{1,1024}")
_KEYS = frozenset({"location", "offset", "length", "checksum"})


def tensors_of(model: Any) -> Iterator[Any]:
    """Every TensorProto of a ModelProto, wherever one can stand."""
    graphs = [model.graph]
    for training in model.training_info:
        graphs.extend((training.initialization, training.algorithm))
    nodes: list[Any] = []
    for function in model.functions:
        nodes.extend(function.node)
        for attribute in function.attribute_proto:
            yield from _of_attribute(attribute, graphs)
    while graphs or nodes:
        if graphs:
            graph = graphs.pop()
            yield from graph.initializer
            for sparse in graph.sparse_initializer:
                yield sparse.values
                yield sparse.indices
            nodes.extend(graph.node)
        if nodes:
            for attribute in nodes.pop().attribute:
                yield from _of_attribute(attribute, graphs)


def _of_attribute(attribute: Any, graphs: list[Any]) -> Iterator[Any]:
    if attribute.HasField("t"):
        yield attribute.t
    yield from attribute.tensors
    sparse = list(attribute.sparse_tensors)
    if attribute.HasField("sparse_tensor"):
        sparse.append(attribute.sparse_tensor)
    for tensor in sparse:
        yield tensor.values
        yield tensor.indices
    if attribute.HasField("g"):
        graphs.append(attribute.g)
    graphs.extend(attribute.graphs)


def check_external_data(model: Any, folder: Path | None) -> tuple[str, ...]:
    """Checks every external tensor.

    Args:
        model: a ModelProto.
        folder: the published folder; None where one file was published.

    Returns:
        The files, relative to the folder, that hold external data.

    Raises:
        MaasError: INVALID_ARGUMENT, naming the tensor and what is wrong with its place.
    """
    files: set[str] = set()
    for tensor in tensors_of(model):
        if tensor.data_location != EXTERNAL and not tensor.external_data:
            continue
        name = repr(tensor.name[:60])
        if folder is None:
            raise invalid(
                f"the model keeps tensor {name} in another file; "
                "publish the folder that holds the model and that file"
            )
        entries = [(entry.key, entry.value) for entry in tensor.external_data]
        place = dict(entries)
        if len(place) != len(entries) or not place.keys() <= _KEYS or "location" not in place:
            raise _refuse(name, "has a malformed external data entry")
        location = place["location"]
        size = _check_file(name, location, folder)
        offset, length = _number(name, place, "offset", 0), _number(name, place, "length", None)
        if offset > size or (length is not None and offset + length > size):
            raise _refuse(name, "lies beyond the end of its external data file")
        files.add(location)
    return tuple(sorted(files))


def _refuse(name: str, what: str) -> MaasError:
    return invalid(
        f"tensor {name} {what}; expected a regular file inside the published folder, "
        "and an offset and length within it"
    )


def _check_file(name: str, location: str, folder: Path) -> int:
    """The size of the file at a location, if it may be there."""
    # ONNX Runtime reads a location of "*/_ORT_MEM_ADDR_/*" as an address in memory; '*' is refused.
    parts = location.split("/")
    if not _LOCATION.fullmatch(location) or location.startswith("/"):
        raise _refuse(name, "names an absolute or malformed external data path")
    if any(part in ("", ".", "..") for part in parts):
        raise _refuse(name, "names an external data path that leaves the folder")
    place = folder
    for index, part in enumerate(parts):
        place = place / part
        try:
            status = os.lstat(place)
        except OSError:
            raise _refuse(name, "names an external data file that is not there") from None
        last = index == len(parts) - 1
        if stat.S_ISLNK(status.st_mode):
            raise _refuse(name, "names external data behind a symbolic link")
        if not (stat.S_ISREG(status.st_mode) if last else stat.S_ISDIR(status.st_mode)):
            raise _refuse(name, "names external data that is not a regular file")
    if status.st_nlink != 1:
        raise _refuse(name, "names external data that is a hard link to another file")
    if not place.resolve().is_relative_to(folder.resolve()):
        raise _refuse(name, "names an external data path that leaves the folder")
    return status.st_size


def _number(name: str, place: dict[str, str], key: str, default: int | None) -> Any:
    text = place.get(key)
    if text is None:
        return default
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise _refuse(name, f"has an external data {key} that is not a whole number from 0 up")
    return int(text)
