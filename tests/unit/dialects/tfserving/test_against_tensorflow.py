"""Our messages are TensorFlow's, field by field, and a tensor means the same to both."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


def test_the_same_as_tensorflow():
    pytest.importorskip("tensorflow_serving", reason="needs tensorflow-serving-api")
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("against_tensorflow.py"))],
        capture_output=True,
        timeout=240,
        check=False,
    )
    assert done.stdout.decode().endswith("same\n"), done.stderr.decode()[-3000:]
