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


FORBIDDEN = {"pickle", "cloudpickle", "joblib", "dill", "shelve", "marshal"}
OPENERS = {"runtimes/pickled.py", "publish/pickle_scan.py"}
"""Where what was published with `--trust` is opened, in the sandbox; and where it is read with
stand-ins for everything it names."""
ROOMS = OPENERS | {"client/pickled.py"}
"""The SDK writes pickles of its user's objects; it opens none."""
OPENING = {"load", "loads", "Unpickler"}


def imports_pickle(node: ast.AST) -> bool:
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        names = [node.module or ""]
    else:
        return False
    return bool(FORBIDDEN & {name.partition(".")[0] for name in names})


def opens_pickle(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute | ast.Name) and (
        (node.attr if isinstance(node, ast.Attribute) else node.id) in OPENING
    )


def test_a_pickle_is_opened_in_its_room_only() -> None:
    trees = {
        path.relative_to(SOURCE).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
        for path in FILES
    }
    users = {name for name, tree in trees.items() if any(map(imports_pickle, ast.walk(tree)))}
    assert users <= ROOMS
    assert {name for name in users if any(map(opens_pickle, ast.walk(trees[name])))} <= OPENERS


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


@pytest.mark.parametrize("process", ["host", "ingress", "worker", "publish.child"])
def test_a_process_imports_no_part_of_another(process: str) -> None:
    code = (
        f"import sys, maas.{process}; "
        f"print([name for name in {SERVER_ONLY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
