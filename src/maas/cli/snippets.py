"""Code that calls a published model: it runs as it stands, with an input that fits."""

from __future__ import annotations

import json
import math
import shlex
from typing import Any
from urllib.parse import quote

from maas.cli.chat_snippets import chat_snippet
from maas.core.errors import ErrorKind, MaasError
from maas.core.identity import ModelRef
from maas.core.records import VersionRecord
from maas.core.signature import Signature, main_signature
from maas.core.tensor import DType, TensorSpec

LONGEST_LITERAL = 64
"""Elements above which a sample input is computed by the snippet instead of written out."""
TRITON = {"triton": "http", "triton-grpc": "grpc"}
"""Which module of tritonclient a language is."""


def snippet(language: str, url: str, ref: ModelRef, version: VersionRecord, locked: bool) -> str:
    """Writes a call.

    Args:
        language: curl, python, openai, triton or triton-grpc.
        url: the server's.
        ref: what to call, as the user named it.
        version: whose signature the input fits.
        locked: whether predictions want a key; then the snippet takes it from MAAS_API_KEY.

    Raises:
        MaasError: FAILED_PRECONDITION where the model cannot be called so.
    """
    signature = main_signature(version.signatures)
    if version.report.generative is not None and language not in TRITON:
        return chat_snippet(language, url, ref, version.report.generative, locked)
    if language == "openai":
        raise MaasError(
            ErrorKind.FAILED_PRECONDITION,
            f"{ref} has no chat interface: it takes tensors, not messages; "
            "use --code curl, python, triton or triton-grpc",
        )
    if language in TRITON:
        return _triton(TRITON[language], url, ref, signature, locked)
    call = f"{url}/{quote(str(ref), safe=':@')}/predict"
    write = _curl if language == "curl" else _python
    return write(call, signature, locked)


def sample_value(spec: TensorSpec) -> Any:
    """A nested list of the spec's shape, one row in each open dimension."""
    return _nest(_element(spec.dtype), [size or 1 for size in spec.shape])


def _body(signature: Signature) -> dict[str, Any]:
    if len(signature.inputs) == 1:
        return {"input_data": sample_value(signature.inputs[0])}
    return {spec.name: sample_value(spec) for spec in signature.inputs}


def _curl(call: str, signature: Signature, locked: bool) -> str:
    key = ' -H "Authorization: Bearer $MAAS_API_KEY"' if locked else ""
    start = f"curl -s {shlex.quote(call)}{key} -H 'Content-Type: application/json'"
    if not _is_long(signature):
        return f"{start} -d {shlex.quote(json.dumps(_body(signature), ensure_ascii=False))}"
    body = _expression(signature)
    program = f"import json; print(json.dumps({body}))"
    return f"python3 -c {shlex.quote(program)} | {start} -d @-"


def _python(call: str, signature: Signature, locked: bool) -> str:
    lines = ["import os", ""] if locked else []
    lines += ["import requests", "", f"body = {_expression(signature)}"]
    key = ""
    if locked:
        lines.append('headers = {"Authorization": "Bearer " + os.environ["MAAS_API_KEY"]}')
        key = ", headers=headers"
    lines += [
        f"response = requests.post({call!r}, json=body{key}, timeout=60)",
        "response.raise_for_status()",
        "print(response.json())",
    ]
    return "\n".join(lines)


def _triton(transport: str, url: str, ref: ModelRef, signature: Signature, locked: bool) -> str:
    scheme, _, host = url.partition("://")
    secure = ", ssl=True" if scheme == "https" else ""
    name = ref.name if ref.alias is None else f"{ref.name}@{ref.alias}"
    lines = [
        f"# pip install 'tritonclient[{transport}]'",
        *(["import os", ""] if locked else []),
        *(["import ml_dtypes"] if any(s.dtype is DType.BF16 for s in signature.inputs) else []),
        "import numpy as np",
        f"import tritonclient.{transport} as triton",
        "",
        f"client = triton.InferenceServerClient({host!r}{secure})",
        "inputs = []",
    ]
    for spec in signature.inputs:
        shape = [size or 1 for size in spec.shape]
        lines += [
            f"array = np.full({shape}, {_element(spec.dtype)!r}, dtype={_numpy_name(spec.dtype)})",
            f"tensor = triton.InferInput({spec.name!r}, list(array.shape), {str(spec.dtype)!r})",
            "tensor.set_data_from_numpy(array)",
            "inputs.append(tensor)",
        ]
    names = [spec.name for spec in signature.outputs]
    version = "" if ref.version is None else f", model_version={str(ref.version)!r}"
    # Names of gRPC's metadata are in lower case; HTTP takes either.
    key = ', headers={"authorization": "Bearer " + os.environ["MAAS_API_KEY"]}' if locked else ""
    lines += [
        f"result = client.infer({name!r}, inputs{version}{key})",
        f"for name in {names!r}:",
        "    print(name, result.as_numpy(name))",
    ]
    return "\n".join(lines)


def _expression(signature: Signature) -> str:
    """The body as a Python expression, with comprehensions where a literal would be too long."""
    if len(signature.inputs) == 1:
        return f'{{"input_data": {_literal(signature.inputs[0])}}}'
    pairs = (f"{spec.name!r}: {_literal(spec)}" for spec in signature.inputs)
    return "{" + ", ".join(pairs) + "}"


def _literal(spec: TensorSpec) -> str:
    if _elements(spec) <= LONGEST_LITERAL:
        return repr(sample_value(spec))
    text = f"[{_element(spec.dtype)!r}]"
    *outer, last = [size or 1 for size in spec.shape]
    text = f"{text} * {last}"
    for size in reversed(outer):
        text = f"[{text}] * {size}"
    return text


def _is_long(signature: Signature) -> bool:
    return any(_elements(spec) > LONGEST_LITERAL for spec in signature.inputs)


def _elements(spec: TensorSpec) -> int:
    return math.prod(size or 1 for size in spec.shape)


def _nest(element: Any, shape: list[int]) -> Any:
    if not shape:
        return element
    return [_nest(element, shape[1:]) for _ in range(shape[0])]


def _element(dtype: DType) -> Any:
    if dtype is DType.BYTES:
        return "text"
    if dtype is DType.BOOL:
        return True
    return 1 if dtype.is_integer else 0.5


def _numpy_name(dtype: DType) -> str:
    if dtype is DType.BYTES:
        return "object"
    if dtype is DType.BF16:
        return "ml_dtypes.bfloat16"  # NumPy has none of its own; tritonclient brings these
    return "bool" if dtype is DType.BOOL else f"np.{dtype.numpy}"
