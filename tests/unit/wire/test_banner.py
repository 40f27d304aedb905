from __future__ import annotations

import shlex
import subprocess
import sys

import msgspec
import pytest

from maas.core.identity import ServableId
from maas.core.records import ServerInfo
from maas.core.signature import Signature
from maas.core.tensor import DType, TensorSpec
from maas.wire.banner import banner

INFO = ServerInfo(
    "0.1.0", "http://127.0.0.1:8080", "envoy", False, "open", "/home/ann/maas", True,
    "2026-01-01T00:00:00Z",
)  # fmt: skip
OUT = (TensorSpec("y", DType.FP32, (None,)),)


def signature(*specs: TensorSpec) -> Signature:
    return Signature("serving_default", specs, OUT, True)


def call(found: Signature | None, name: str = "iris", **changes: object) -> str:
    example = None if found is None else (ServableId(name, 1), found)
    info = msgspec.structs.replace(INFO, **changes)
    text = banner(info, "", False, example, [name])
    [line] = [line for line in text.splitlines() if line.startswith("  try")]
    return line.split(maxsplit=1)[1]


def test_it_says_where_what_and_how() -> None:
    text = banner(INFO, "/home/ann/maas/owner.key", True, None, [])
    assert text.splitlines()[0] == "maas 0.1.0 is ready at http://127.0.0.1:8080"
    for words in (
        "none yet: maas publish", "/readyz", "owner's key made in /home/ann/maas/owner.key",
        "envoy, gRPC off", "/home/ann/maas", "http://127.0.0.1:8080/docs", "need no key",
    ):  # fmt: skip
        assert words in text


def test_what_differs_is_said() -> None:
    info = msgspec.structs.replace(INFO, auth="required", grpc=True, note="HTTP/1.1 only")
    text = banner(info, "", False, None, ["a", "b"])
    assert "a, b" in text
    assert "gRPC on" in text
    assert "(HTTP/1.1 only)" in text
    assert "predictions need a key" in text
    assert "owner" not in text
    assert "/k" in banner(info, "/k", False, None, [])


@pytest.mark.parametrize(
    ("found", "body"),
    [
        (signature(TensorSpec("x", DType.FP32, (None, 4))), '{"input_data": [[1, 1, 1, 1]]}'),
        (signature(TensorSpec("t", DType.BYTES, (None,))), '{"input_data": ["text"]}'),
        (signature(TensorSpec("x", DType.FP64, ())), '{"input_data": 1}'),
        (
            signature(
                TensorSpec("a", DType.INT64, (None, 1)), TensorSpec("标题", DType.BYTES, (None,))
            ),
            '{"a": [[1]], "标题": ["text"]}',
        ),
    ],
)
def test_the_call_fits_the_model(found: Signature, body: str) -> None:
    words = shlex.split(call(found))
    assert words[:2] == ["curl", "-s"]
    assert words[-3:] == ["http://127.0.0.1:8080/iris/predict", "-d", body]


def test_a_call_that_wants_a_key_has_one() -> None:
    found = call(signature(TensorSpec("x", DType.FP32, (None, 1))), auth="required")
    assert '-H "Authorization: Bearer $MAAS_API_KEY"' in found


def test_a_call_that_would_be_too_long_is_left_to_the_cli() -> None:
    image = TensorSpec("x", DType.FP32, (None, 299, 299, 3))
    assert call(signature(image)) == "maas show iris --code curl"


def test_a_name_with_a_quote_does_not_break_the_shells_line() -> None:
    words = shlex.split(call(signature(
        TensorSpec("it's", DType.FP32, (None, 1)), TensorSpec("b", DType.FP32, (None, 1))
    )))  # fmt: skip
    assert words[-1] == '{"it\'s": [[1]], "b": [[1]]}'


HUGE = """
import resource
resource.setrlimit(resource.RLIMIT_AS, (1 << 29, 1 << 29))
from maas.core.identity import ServableId
from maas.core.signature import Signature
from maas.core.tensor import DType, TensorSpec
from maas.core.records import ServerInfo
from maas.wire.banner import banner
x = TensorSpec("x", DType.FP32, (None, 8192, 8192, 3))
info = ServerInfo("0", "http://h", "envoy", False, "open", "/h", True, "t")
found = (ServableId("iris", 1), Signature("s", (x,), (x,), True))
print("--code curl" in banner(info, "", False, found, []))
"""


def test_a_huge_input_is_not_written_out_to_see_how_long_it_is() -> None:
    """200 million numbers: what the model takes must not cost the server its start."""
    done = subprocess.run(
        [sys.executable, "-c", HUGE], capture_output=True, text=True, timeout=60,
        env={"OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.stdout == "True\n", done.stderr[-300:]
