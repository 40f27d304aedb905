"""The driver of a GPU is spoken to through device files, by commands (ioctl) that others refuse."""

from __future__ import annotations

import pytest

from maas.sandbox import landlock
from maas.sandbox.interpreter import gpu_devices

TRY = """
import fcntl

def command():
    with open("/dev/ptmx", "r+b", buffering=0) as device:
        fcntl.ioctl(device, 0x80045430, b"\\0" * 4)  # its number

attempt("command", command)
attempt("secret", lambda: open(secret))
attempt("sockets", lambda: socket.socket())
"""
GPU = """
from functools import partial
import maas.sandbox.confinement
Confinement = partial(Confinement, gpu=True)
maas.sandbox.confinement.gpu_devices = lambda: ("/dev/ptmx",)  # any device that takes commands
"""


@pytest.mark.skipif(landlock.abi() == 0, reason="this kernel has no Landlock")
def test_its_device_files_take_commands(child):
    assert child.tries(TRY)["command"] == "EACCES"
    tried = child.tries(TRY, before=GPU)
    assert tried == {"command": "done", "secret": "EACCES", "sockets": "EPERM"}


def test_it_is_said(child):
    done = child.run("print(*said, sep='\\n')", before=GPU)
    assert "it may use the GPU (1 device files)" in done.stdout


def test_the_files_of_this_machine():
    assert all(path.startswith("/dev/nvidia") for path in gpu_devices())
