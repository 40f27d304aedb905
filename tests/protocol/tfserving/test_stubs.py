"""TensorFlow Serving's own stubs (tensorflow-serving-api, grpcio), each check of `stubs.py`."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from maas.wire.envoy import why_not

SCRIPT = Path(__file__).with_name("stubs.py")
CHECKS = [
    node.name
    for node in ast.parse(SCRIPT.read_text()).body
    if isinstance(node, ast.FunctionDef) and node.name.startswith("check_")
]


@pytest.fixture(scope="module")
def failed(usual) -> dict[str, str]:
    """What failed, by the check's name."""
    pytest.importorskip("grpc", reason="needs grpcio")
    pytest.importorskip("tensorflow_serving", reason="needs tensorflow-serving-api")
    if why_not():
        pytest.skip(f"gRPC needs Envoy: {why_not()}")
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(usual.port)],
        capture_output=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    found: dict[str, str] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("check", CHECKS)
def test_stubs(failed, check):
    assert check not in failed, failed[check]
