from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from maas.core.layout import LIFELINE
from maas.serving.processes import read_settings
from maas.settings import load_settings

CHILD = """
import time
from maas.serving.processes import end_with_parent
end_with_parent()
print("ready", flush=True)
time.sleep(30)
"""


def test_settings_read_as_they_were_written(tmp_path: Path) -> None:
    settings = load_settings(
        {"server": {"listen": ("0.0.0.0:8501",), "port": 9}, "paths": {"home": str(tmp_path)}}, {}
    )
    file = tmp_path / "settings.json"
    file.write_bytes(msgspec.json.encode(settings))
    assert read_settings(file) == settings


def test_a_process_ends_when_its_lifeline_does() -> None:
    read, write = os.pipe()
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD],
        env={**os.environ, LIFELINE: str(read)},
        pass_fds=(read,),
        stdout=subprocess.PIPE,
    )
    with child:
        os.close(read)
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(0.2)
        os.close(write)
        assert child.wait(5) == 0


def test_without_a_lifeline_it_goes_on() -> None:
    code = CHILD.replace("time.sleep(30)", "time.sleep(0.2)")
    environment = {name: value for name, value in os.environ.items() if name != LIFELINE}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    assert (done.returncode, done.stdout) == (0, b"ready\n")
