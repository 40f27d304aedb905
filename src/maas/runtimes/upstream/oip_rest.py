"""The Open Inference Protocol over REST, as its client."""

from __future__ import annotations

from typing import Any, TypeVar
from urllib.parse import quote

import msgspec
import orjson
from msgspec import Struct

from maas.core.errors import invalid
from maas.core.signature import DEFAULT_SIGNATURE, Signature
from maas.core.tensor import DType, Tensors
from maas.runtimes.upstream.document import Document, spec_of
from maas.runtimes.upstream.errors import UpstreamError, nonsense
from maas.runtimes.upstream.rest import Answer, Rest
from maas.runtimes.upstream.values import checked, from_bytes, from_lists, refuse, to_bytes

JSON_LENGTH = "inference-header-content-length"
BINARY = "binary_tensor_data"
MOST_ROWS = 1 << 31
ONLY_BINARY = frozenset({DType.FP16, DType.BF16})
"""Types that do not travel as JSON."""
Kind = TypeVar("Kind", bound=Struct)


class _Server(Struct, frozen=True):
    extensions: list[str] = []


class _Tensor(Struct, frozen=True):
    name: str
    datatype: str
    shape: list[int]


class _Model(Struct, frozen=True):
    inputs: list[_Tensor]
    outputs: list[_Tensor]
    platform: str = ""


class _Config(Struct, frozen=True):
    max_batch_size: int = 0


class _Output(Struct, frozen=True):
    name: str
    datatype: str
    shape: list[int]
    parameters: dict[str, Any] | None = None
    data: Any = None


class _Answer(Struct, frozen=True):
    outputs: list[_Output]


class OipRest:
    """One model of one server.

    Args:
        rest: the connection.
        document: what is called, and how.
    """

    def __init__(self, rest: Rest, document: Document):
        target = document.target
        version = f"/versions/{target.version}" if target.version else ""
        self._rest = rest
        self._document = document
        self._path = f"/v2/models/{quote(target.model, safe='')}{version}"

    def describe(self) -> Document:
        """Asks the server about its model.

        Raises:
            MaasError: the server's own, or INVALID_ARGUMENT for a model that is not served here.
        """
        target = self._document.target
        binary = target.binary or self._takes_binary()
        answer = _decode(self._rest.get(self._path).body, _Model)
        return described(
            target.url,
            [(each.name, each.datatype, each.shape) for each in answer.inputs],
            [(each.name, each.datatype, each.shape) for each in answer.outputs],
            rows=self._most_rows() if target.binary else 0,
            binary=binary,
            platform=answer.platform,
        )

    def infer(self, signature: Signature, inputs: Tensors) -> Tensors:
        """Asks for one prediction.

        Raises:
            MaasError: the server's own, as ours.
        """
        body, headers = self._request(signature, inputs)
        return checked(
            signature, read_outputs(self._rest.post(f"{self._path}/infer", body, headers))
        )

    def close(self) -> None:
        """Closes the connections."""
        self._rest.close()

    def _request(self, signature: Signature, inputs: Tensors) -> tuple[bytes, dict[str, str]]:
        binary = self._document.binary
        entries, blobs = [], []
        for spec in signature.inputs:
            array = inputs[spec.name]
            entry: dict[str, Any] = {
                "name": spec.name,
                "shape": array.shape,
                "datatype": spec.dtype.text,
            }
            if binary:
                blobs.append(to_bytes(array, spec.dtype))
                entry["parameters"] = {"binary_data_size": len(blobs[-1])}
            else:
                entry["data"] = _as_json(spec.name, spec.dtype, array.ravel())
            entries.append(entry)
        document: dict[str, Any] = {
            "inputs": entries,
            "outputs": [{"name": spec.name} for spec in signature.outputs],
        }
        if not binary:
            return orjson.dumps(document), {"Content-Type": "application/json"}
        document["parameters"] = {"binary_data_output": True}
        head = orjson.dumps(document)
        return b"".join((head, *blobs)), {
            "Content-Type": "application/octet-stream",
            "Inference-Header-Content-Length": str(len(head)),
        }

    def _takes_binary(self) -> bool:
        said = _decode(self._rest.get("/v2").body, _Server)
        return any(name.startswith(BINARY) for name in said.extensions)

    def _most_rows(self) -> int:
        """Of a call, which only Triton's own configuration says."""
        try:
            rows = _decode(self._rest.get(f"{self._path}/config").body, _Config).max_batch_size
        except UpstreamError:
            return 0
        return rows if 0 <= rows < MOST_ROWS else 0


def described(
    url: str,
    inputs: list[tuple[str, str, list[int]]],
    outputs: list[tuple[str, str, list[int]]],
    *,
    rows: int,
    binary: bool,
    platform: str,
) -> Document:
    """A model's description.

    Args:
        url: the upstream's.
        inputs: name, datatype and shape of each, as the server says.
        outputs: the same.
        rows: most in a call; 0 for any number.
        binary: whether tensors travel as bytes.
        platform: what the server serves the model with.

    Raises:
        MaasError: INVALID_ARGUMENT for a tensor that is not served here.
    """
    signature = Signature(
        DEFAULT_SIGNATURE,
        tuple(spec_of(*each) for each in inputs),
        tuple(spec_of(*each) for each in outputs),
        batched=False,
    )
    if not binary:
        for spec in (*signature.inputs, *signature.outputs):
            if spec.dtype in ONLY_BINARY:
                raise invalid(
                    f"the upstream's tensor {spec.name[:60]!r} is {spec.dtype}, which does not "
                    "travel as JSON, and the upstream takes no binary tensors; use its gRPC port"
                )
    return Document(url, {signature.name: signature}, binary, rows, platform[:60])


def _as_json(name: str, dtype: DType, flat: Any) -> list[Any]:
    if dtype is not DType.BYTES:
        values: list[Any] = flat.tolist()
        if dtype.is_float and not all(value - value == 0 for value in values):
            raise invalid(
                f"input {name!r} holds NaN or infinity, which the upstream's JSON does not have"
            )
        return values
    try:
        return [text.decode() for text in flat]
    except UnicodeDecodeError:
        raise invalid(f"input {name!r} is not UTF-8, and the upstream takes texts alone") from None


def read_outputs(answer: Answer) -> Tensors:
    """The tensors of an answer.

    Raises:
        MaasError: INTERNAL for anything that the protocol does not have.
    """
    body, length = answer.body, answer.headers.get(JSON_LENGTH, "")
    if length and not (length.isascii() and length.isdigit() and int(length) <= len(body)):
        raise nonsense("the length of its JSON is not right")
    at = int(length) if length else len(body)
    found = {}
    for output in _decode(body[:at], _Answer).outputs:
        dtype = _dtype(output)
        size = (output.parameters or {}).get("binary_data_size")
        if size is None:
            found[output.name] = from_lists(output.name, dtype, output.shape, output.data)
            continue
        if not isinstance(size, int) or not 0 <= size <= len(body) - at:
            raise nonsense(f"{output.name!r} says that it has {str(size)[:30]} bytes")
        found[output.name] = from_bytes(output.name, dtype, output.shape, body[at : at + size])
        at += size
    if at != len(body):
        raise nonsense(f"{len(body) - at} bytes are left over")
    return found


def _dtype(output: _Output) -> DType:
    try:
        return DType[output.datatype]
    except KeyError:
        raise nonsense(f"{output.name!r} has the type {output.datatype[:30]!r}") from None


def _decode(data: bytes, kind: type[Kind]) -> Kind:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise refuse(error) from error
