"""Compares what an MLflow model was saved with against what is installed; installs nothing."""

from __future__ import annotations

import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from packaging.markers import UndefinedComparison, UndefinedEnvironmentName
from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import InvalidVersion

from maas.publish.mlflow_yaml import read_text, read_yaml

REQUIREMENTS = "requirements.txt"
MOST_LINES = 2000
MOST_NAMED = 12
_CONDA = re.compile(r"^([\w.-]+)=([\w.*]+)(?:=\S*)?$")
"""Conda's way of writing a version, with one "=" and perhaps a build after it."""
_BASE = re.compile(r"(?:python|pip)\b(?!-)")
NOT_NEEDED = frozenset({"mlflow", "mlflow-skinny"})
"""Distributions that MLflow always names, and that only its own code needs."""
ALIKE = {
    "mlflow": "mlflow-skinny",  # without its server
    "onnxruntime": "onnxruntime-gpu",
    "tensorflow": "tensorflow-cpu",
    "xgboost": "xgboost-cpu",
}
"""Distributions that bring the same modules under another name."""


def differences(folder: Path, pyfunc: bool) -> tuple[str, ...]:
    """What the model's own files ask for and is here otherwise, at most two sentences.

    Args:
        folder: the model's.
        pyfunc: whether MLflow itself will serve it.

    Raises:
        MaasError: INVALID_ARGUMENT or TOO_LARGE for files that cannot be read.
    """
    source, lines, python = _asked(folder)
    odd, unread = [], 0
    for line in lines[:MOST_LINES]:
        text = line.split(" #")[0].strip()
        if not text or text.startswith("#"):
            continue
        try:
            wanted = Requirement(text)
        except InvalidRequirement:
            unread += 1  # an option, a link, a path
            continue
        try:
            if wanted.marker is not None and not wanted.marker.evaluate():
                continue
        except (InvalidVersion, UndefinedComparison, UndefinedEnvironmentName):
            unread += 1  # a condition that means nothing, such as os_name ~= "x"
            continue
        if wanted.name.lower() in NOT_NEEDED and not pyfunc:
            continue
        here = _installed(wanted.name) or _installed(ALIKE.get(wanted.name.lower(), ""))
        if not here or not wanted.specifier.contains(here, prereleases=True):
            odd.append(f"{wanted.name}{wanted.specifier} ({here or 'not installed'})")
    found = []
    if odd:
        more = f" and {len(odd) - MOST_NAMED} more" if len(odd) > MOST_NAMED else ""
        found.append(
            f"{source} asks for {', '.join(odd[:MOST_NAMED])}{more}; in brackets what is here, "
            "and nothing was installed"
        )
    if unread or len(lines) > MOST_LINES:
        found.append(f"not every line of {source} names a distribution; the rest was compared")
    if python and python.split(".")[:2] != platform.python_version().split(".")[:2]:
        found.append(f"saved with Python {python[:20]}, read with {platform.python_version()}")
    return tuple(found)


def _asked(folder: Path) -> tuple[str, list[str], str]:
    """The file that says most, its requirements, and Python's version where one says so."""
    conda, python, lines = _conda(folder / "conda.yaml"), "", []
    env: dict[str, Any] = {}
    if (folder / "python_env.yaml").is_file():
        env = read_yaml(folder / "python_env.yaml")
    for text in (env.get("python"), *(each[8:] for each in conda if each.startswith("python=="))):
        if isinstance(text, str) and not python:
            python = text
    if (folder / REQUIREMENTS).is_file():
        return REQUIREMENTS, read_text(folder / REQUIREMENTS).splitlines(), python
    if env:
        dependencies = env.get("dependencies")
        lines = [str(each) for each in dependencies] if isinstance(dependencies, list) else []
        return "python_env.yaml", [line for line in lines if not line.startswith("-r")], python
    return "conda.yaml", [each for each in conda if not _BASE.match(each)], python


def _conda(file: Path) -> list[str]:
    """The dependencies of a conda environment, its list for pip among them."""
    if not file.is_file():
        return []
    said = read_yaml(file).get("dependencies")
    found: list[str] = []
    for each in said if isinstance(said, list) else ():
        if isinstance(each, str):
            found.append(_CONDA.sub(r"\1==\2", each))
        elif isinstance(each, dict) and isinstance(each.get("pip"), list):
            found.extend(str(line) for line in each["pip"])
    return found


def _installed(name: str) -> str:
    try:
        return version(name) if name else ""
    except PackageNotFoundError:
        return ""
