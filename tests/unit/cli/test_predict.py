from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from maas_stub_server import Seen, Stub

ROW = "[5.1, 3.5, 1.4, 0.2]"


def test_inline(stub: Stub, maas: Any) -> None:
    result = maas("predict", "iris", "-i", f"[{ROW}]")
    assert result.code == 0
    assert result.out.splitlines() == ["label: [0]", "probabilities: [[1., 0., 0.]]"]
    assert json.loads(maas("predict", "iris", "-i", ROW, "--json").out) == {
        "label": 0,
        "probabilities": [1.0, 0.0, 0.0],
    }


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.csv", b"\xef\xbb\xbfa,b,c,d\n5.1,3.5,1.4,0.2\n"),
        ("rows.csv", b"5.1,3.5,1.4,0.2\n"),
        ("rows.json", f"[{ROW}]".encode()),
    ],
)
def test_files(stub: Stub, maas: Any, tmp_path: Path, name: str, content: bytes) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    result = maas("predict", "iris@prod", "-f", str(file), "--json")
    assert json.loads(result.out)["label"] == [0]
    assert stub.last("POST").path == "/v2/models/iris@prod/infer"


def test_npy(stub: Stub, maas: Any, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((3, 4), np.float32))
    result = maas("predict", "iris", "-f", str(tmp_path / "x.npy"), "--json")
    assert json.loads(result.out)["label"] == [0, 0, 0]


def test_standard_input(stub: Stub) -> None:
    command = [sys.executable, "-m", "maas", "predict", "iris", "-f", "-", "--json"]
    done = subprocess.run(command, input=b"1,2,3,4\n", capture_output=True, check=True, timeout=60)
    assert json.loads(done.stdout)["label"] == [0]


def test_a_file_that_is_not_there(stub: Stub, maas: Any) -> None:
    result = maas("predict", "iris", "-f", "/no/such/rows.csv")
    assert result.code == 2
    assert result.err == "error: /no/such/rows.csv: No such file or directory\n"


def test_values_that_do_not_fit(stub: Stub, maas: Any) -> None:
    result = maas("predict", "iris", "-i", "[[1, 2, 3]]")
    assert result.code == 2
    assert "expected x FP32 [n, 4]" in result.err


def test_floats_have_the_digits_of_their_precision(stub: Stub, maas: Any) -> None:
    def answer(_seen: Seen) -> tuple[int, Any]:
        outputs = [
            {"name": "a", "datatype": "FP32", "shape": [1], "data": [float(np.float32(0.1))]},
            {"name": "b", "datatype": "FP64", "shape": [1], "data": [0.1]},
            {"name": "c", "datatype": "BYTES", "shape": [1], "data": ["花\x1b[31m"]},
        ]
        return 200, {"model_version": "2", "outputs": outputs}

    stub.handlers["POST /v2/models/iris/infer"] = answer
    result = maas("predict", "iris", "-i", f"[{ROW}]", "--json")
    assert result.out == '{"a": [0.1], "b": [0.1], "c": ["花\\u001b[31m"]}\n'
    assert "\x1b" not in maas("predict", "iris", "-i", f"[{ROW}]").out
