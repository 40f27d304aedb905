"""Recognises a Python model's source, without running or parsing it in the server's process.

CPython's own parser can be brought down by source that is nested deep enough, so what is sure is
left to the sandboxed child; here words are looked for.
"""

from __future__ import annotations

import ast
import os
import re
from pathlib import Path

from maas.core.errors import invalid

MOST_SOURCE = 4 << 20
_MODEL = re.compile(rb"\bPythonModel\b")
_CODE = re.compile(rb"^(?:from\s+[\w.]+\s+)?import\s+\S|^(?:class|def)\s+\w+\s*[(:]", re.MULTILINE)


def looks_like_model(source: bytes) -> bool:
    """Whether a text speaks of `PythonModel` and is code."""
    return bool(_MODEL.search(source) and _CODE.search(source))


def looks_like_code(source: bytes) -> bool:
    """Whether a text is Python, by its imports and definitions."""
    return bool(_CODE.search(source))


def python_entry(folder: Path, label: str) -> str | None:
    """The file to import in a folder with a Python model; None where there is no model.

    Args:
        folder: as published.
        label: what the publisher called it.

    Raises:
        MaasError: INVALID_ARGUMENT where there is a model and no telling which file it is.
    """
    files = [path for path in sorted(folder.glob("*.py")) if path.is_file()]
    models = [path.name for path in files if looks_like_model(read_source(path))]
    names = {path.name for path in files}
    if not models:
        return None
    for usual in ("__init__.py", "model.py"):
        if usual in names:
            return usual
    if len(models) == 1:
        return models[0]
    raise invalid(
        f"{label} holds several files with models ({', '.join(models[:4])}); call the one to "
        "serve model.py"
    )


def read_source(path: Path) -> bytes:
    """The beginning of a source file, as much as any has."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
        return file.read(MOST_SOURCE)


def requires_in(file: Path) -> tuple[str, ...]:
    """What the classes in a source file say they require, read without running it.

    Only what is written out as texts is seen; the rest is checked once the class is there.

    Raises:
        MaasError: INVALID_ARGUMENT for source that Python cannot parse, with the line.
    """
    try:
        tree = ast.parse(file.read_bytes())
    except SyntaxError as error:
        raise invalid(f"line {error.lineno} of {file.name}: {error.msg}") from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise invalid(f"{file.name} is not Python source that can be read ({error})") from error
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            for line in node.body:
                found.extend(_texts(line))
    return tuple(found)


def _texts(line: ast.stmt) -> list[str]:
    if isinstance(line, ast.Assign):
        targets, value = line.targets, line.value
    elif isinstance(line, ast.AnnAssign) and line.value is not None:
        targets, value = [line.target], line.value
    else:
        return []
    if not any(isinstance(target, ast.Name) and target.id == "requires" for target in targets):
        return []
    parts = value.elts if isinstance(value, ast.Tuple | ast.List) else [value]
    return [
        part.value
        for part in parts
        if isinstance(part, ast.Constant) and isinstance(part.value, str)
    ]
