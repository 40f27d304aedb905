"""Stored files are read-only; OpenVINO's reader of GGUF wants to write all the same."""

from __future__ import annotations

import os
import stat
import subprocess
import sys

import pytest

from maas.runtimes.language.openvino_file import openable

WRITE = """
import os, sys
from pathlib import Path
from maas.runtimes.language.openvino_file import openable
if os.getuid() == 0:
    os.setresuid(65534, 65534, 65534)
file = Path(sys.argv[1])
try:
    os.close(os.open(file, os.O_RDWR))
except PermissionError:
    print("refused")
with openable(file):
    os.close(os.open(file, os.O_RDWR))
    print("opened")
print(oct(file.stat().st_mode & 0o777))
"""


@pytest.fixture
def stored(tmp_path):
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF")
    file.chmod(0o400)
    return file


def test_a_read_only_file_can_be_opened_and_stays_read_only(stored):
    if os.getuid() == 0:
        for folder in stored.parents:
            if "pytest" in str(folder):
                folder.chmod(0o755)
        os.chown(stored, 65534, 65534)
    told = subprocess.run(
        [sys.executable, "-c", WRITE, str(stored)], capture_output=True, text=True, timeout=60
    )
    assert told.stdout.split() == ["refused", "opened", "0o400"], told.stderr
    assert stored.read_bytes() == b"GGUF"


def test_a_file_that_can_be_written_is_left_as_it_is(stored):
    stored.chmod(0o640)
    with openable(stored):
        assert stat.S_IMODE(stored.stat().st_mode) == 0o640
    with pytest.raises(KeyError), openable(stored):
        raise KeyError
