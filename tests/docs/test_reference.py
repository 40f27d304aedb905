"""The reference pages say what the code says."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from maas.core.errors import ErrorKind
from maas.settings import Settings

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "reference.py"


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_no_page_has_drifted() -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_page_that_has_drifted_is_found_out(reference: ModuleType, tmp_path: Path) -> None:
    for name, text in reference.pages().items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "errors.md").write_text("nothing", encoding="utf-8")
    reference.FOLDER = tmp_path
    assert reference.main(["--check"]) == 1
    assert reference.main([]) == 0
    assert reference.main(["--check"]) == 0


def test_nothing_is_left_out(reference: ModuleType) -> None:
    pages = reference.pages()
    for kind in ErrorKind:
        assert f"| `{kind.value}` |" in pages["errors.md"]
    for section in Settings.__struct_fields__:
        for field in type(getattr(Settings(), section)).__struct_fields__:
            assert f"| `{field}` |" in pages["settings.md"]
    for command in ("serve", "publish", "rollback", "keys create", "keys revoke"):
        assert f"## maas {command}\n" in pages["cli.md"]
