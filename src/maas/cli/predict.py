"""`maas predict`: one call, from the command line or a file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from maas.cli import options
from maas.cli.output import say, say_json
from maas.core.errors import invalid

if TYPE_CHECKING:
    import numpy as np


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("predict", epilog="Example: maas predict iris -i '[[5.1,3.5,1.4,0.2]]'")(predict)


def predict(
    ref: Annotated[str, typer.Argument(metavar="NAME[:VERSION]", help="Or NAME@ALIAS.")],
    inline: Annotated[
        str | None, typer.Option("-i", "--input", metavar="JSON", help="The input itself.")
    ] = None,
    file: Annotated[
        str | None,
        typer.Option("-f", "--file", help="CSV, JSON, .npy or .npz; - is standard input."),
    ] = None,
    url: options.Url = None,
    key: options.Key = None,
    json: options.Json = False,
) -> None:
    """Call a model once."""
    from maas.cli.rows import read_input, read_json

    if (inline is None) == (file is None):
        raise invalid("give the input once: -i JSON, or -f FILE")
    with options.connect(url, key) as client:
        if inline is not None:
            data = read_json(inline, "-i")
        else:
            content, name = read_content(file or "-")
            data = read_input(content, client.metadata(ref).inputs, name)
        answer = client.predict(ref, data)
    if json:
        say_json(_to_json(answer))
    else:
        for name, array in answer.items():
            _print_array(name, array)


def read_content(file: str) -> tuple[bytes, str]:
    """Reads a file, or standard input for `-`; returns its bytes and what to call it.

    Raises:
        MaasError: INVALID_ARGUMENT where it cannot be read.
    """
    if file == "-":
        return sys.stdin.buffer.read(), "standard input"
    try:
        return Path(file).expanduser().read_bytes(), file
    except OSError as error:
        raise invalid(f"{file}: {error.strerror}") from None


def _to_json(answer: dict[str, np.ndarray]) -> str:
    from json import dumps

    return dumps({name: _shortest(array) for name, array in answer.items()}, ensure_ascii=False)


def _shortest(array: np.ndarray) -> Any:
    """Lists whose floats have no more digits than their own precision needs."""
    if array.dtype.kind == "f" and array.dtype.itemsize < 8:
        return array.astype(str).astype(float).tolist()
    return array.tolist()


def _print_array(name: str, array: np.ndarray) -> None:
    import numpy as np

    text = np.array2string(array, separator=", ", threshold=1000)
    first, *rest = text.splitlines()
    say(f"{name}: {first}")
    for line in rest:
        say(" " * (len(name) + 2) + line)
