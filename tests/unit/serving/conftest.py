from __future__ import annotations

import importlib.util
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


def load_beside(name: str, file: str) -> None:
    """Imports a helper beside this file; tests are no package under importlib mode."""
    if name in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(file))
    assert spec is not None
    assert spec.loader is not None
    sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[name])


load_beside("maas_test_models", "models.py")


@pytest.fixture
def run() -> Iterator[Path]:
    """A run folder: short, since a socket's path ends at 108 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="maas"))
    yield folder
    shutil.rmtree(folder)
