"""What `maas serve` prints when it is ready."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from math import prod
from urllib.parse import quote

from maas.core.identity import ServableId
from maas.core.records import ServerInfo
from maas.core.signature import Signature
from maas.core.tensor import DType

MOST_VALUES = 100
"""A call with more values than that is left to `maas show`."""


def banner(
    info: ServerInfo,
    owner_file: str,
    made: bool,
    example: tuple[ServableId, Signature] | None,
    models: Sequence[str],
) -> str:
    """Writes the lines: the URL, a call that works, keys, front, data.

    Args:
        info: what runs.
        owner_file: where the owner's key lies; empty where a setting holds it.
        made: whether it was made at this start.
        example: a version that serves, and its signature.
        models: names of those that serve.
    """
    keys = (
        "predictions need a key (maas keys create)"
        if info.auth == "required"
        else "predictions need no key on this machine"
    )
    owner = f"owner's key {'made in' if made else 'in'} {owner_file}" if owner_file else ""
    front = f"{info.front}, gRPC {'on' if info.grpc else 'off'}"
    serving = ", ".join(models) or "none yet: maas publish model.onnx --name NAME"
    lines = [
        f"maas {info.version} is ready at {info.url}",
        f"  models   {serving}",
        f"  try      {_call(info, example)}",
        f"  keys     {keys}" + (f"; {owner}" if owner else ""),
        f"  front    {front}" + (f" ({info.note})" if info.note else ""),
        f"  data     {info.home}",
        f"  docs     {info.url}/docs",
    ]
    return "\n".join(lines)


def _call(info: ServerInfo, example: tuple[ServableId, Signature] | None) -> str:
    key = ' -H "Authorization: Bearer $MAAS_API_KEY"' if info.auth == "required" else ""
    if example is None:
        return f"curl -s{key} {info.url}/readyz"
    servable, signature = example
    if sum(prod(size or 1 for size in spec.shape) for spec in signature.inputs) > MOST_VALUES:
        return f"maas show {servable.name} --code curl"
    values = {}
    for spec in signature.inputs:
        value: object = "text" if spec.dtype is DType.BYTES else 1
        for size in reversed(spec.shape):
            value = [value] * (1 if size is None else size)
        values[spec.name] = value
    body = {"input_data": next(iter(values.values()))} if len(values) == 1 else values
    text = json.dumps(body, ensure_ascii=False)
    url = f"{info.url}/{quote(servable.name)}/predict"
    return f"curl -s{key} {url} -d {shlex.quote(text)}"
