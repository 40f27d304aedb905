"""A server with two tiny language models, `assistant` and `bare`, and one that is none."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.server import Server, serving


@pytest.fixture(scope="session")
def writers(
    front: str, writers_home: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """One server for all tests of a front; a test leaves it as it was."""
    home = tmp_path_factory.mktemp(f"{front}-writers") / "home"
    shutil.copytree(writers_home, home)
    with serving(home, front) as running:
        yield running
