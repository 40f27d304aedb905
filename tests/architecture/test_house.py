"""The house stands: floors, file sizes, no pickle between processes, a light `import maas`."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "maas"
FILES = sorted(SOURCE.rglob("*.py"))
LIMIT = 400


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_no_file_is_above_the_limit(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LIMIT


def test_import_contracts_hold() -> None:
    lint = Path(sys.executable).parent / "lint-imports"
    done = subprocess.run([lint], cwd=SOURCE.parents[1], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


# `publish` looks at pickles as bytes, to refuse them; nobody opens one.
FORBIDDEN = {"pickle", "cloudpickle", "joblib", "dill", "shelve", "marshal"}


def test_nothing_here_opens_a_pickle() -> None:
    found = [
        f"{path.relative_to(SOURCE)}:{node.lineno}"
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Import | ast.ImportFrom)
        and FORBIDDEN
        & {
            name.partition(".")[0]
            for name in (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
            )
        }
    ]
    assert found == []


SERVER_ONLY = ("litestar", "uvicorn", "sqlalchemy", "alembic", "onnxruntime", "onnx", "sklearn")


def test_the_client_imports_no_part_of_the_server() -> None:
    code = (
        "import sys, maas; maas.Client; "
        f"print([name for name in {SERVER_ONLY!r} if name in sys.modules], "
        "[name for name in sys.modules if name.startswith('maas.') "
        "and not name.startswith(('maas.client', 'maas.core'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] []"


def test_the_supervisor_is_standard_library_only() -> None:
    code = (
        "import sys, maas.supervisor.__main__; "
        "print([name for name in ('numpy', 'msgspec', 'typer', 'rich') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
