"""The notebook of `examples/` runs from its first cell to its last, against a real server."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.server import Server

NOTEBOOK = Path(__file__).parents[2] / "examples" / "notebook.ipynb"

RUN = """
import sys
import nbformat
from nbclient import NotebookClient

notebook = nbformat.read(sys.argv[1], as_version=4)
NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
nbformat.write(notebook, sys.argv[2])
"""


@pytest.fixture
def running(start_any) -> Server:
    server: Server = start_any()
    return server


def test_every_cell_runs(running: Server, tmp_path: Path) -> None:
    done = tmp_path / "done.ipynb"
    ran = subprocess.run(
        [sys.executable, "-c", RUN, str(NOTEBOOK), str(done)],
        # The kernel keeps its connection and history files here, and not in the home.
        env=running.client_env
        | {"IPYTHONDIR": str(tmp_path), "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    printed = [
        output.get("text", "")
        for cell in json.loads(done.read_text())["cells"]
        for output in cell.get("outputs", [])
    ]
    said = "".join(text if isinstance(text, str) else "".join(text) for text in printed)
    assert "vineyard:1, accuracy" in said
    assert "vineyard:2, accuracy" in said
    [model] = running.models()
    assert (model["name"], model["default_version"], len(model["versions"])) == ("vineyard", 1, 2)
    for version in model["versions"]:
        assert version["report"]["parity"]["samples"] >= 100


def test_it_is_kept_without_outputs() -> None:
    for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]:
        assert cell.get("outputs", []) == []
        assert cell.get("execution_count") is None
    assert NOTEBOOK.stat().st_size < 20_000
