"""What only one server may have: its data folder and its port."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
from pathlib import Path


class TakenError(Exception):
    """Somebody else has it; the message says who and what to do."""


def lock_home(home: Path) -> int:
    """Takes the exclusive lock on a data folder, for as long as this process lives.

    Raises:
        TakenError: another server has it, or it cannot be made or written.
    """
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(home / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise TakenError(
            f"the data folder {home} cannot be made or written ({error.strerror or error}); "
            "choose another with --home"
        ) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
        os.close(descriptor)
        raise TakenError(
            f"the data folder {home} is in use by another maas server (process {holder}); "
            "stop it, or give this one a folder of its own with --home"
        ) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


def check_port(host: str, port: int) -> None:
    """Tries to bind an address and lets it go again.

    Raises:
        TakenError: the port is taken, naming its holder where that can be seen, or may not be
            bound at all.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host.strip("[]"), port))
        except PermissionError:
            raise TakenError(f"port {port} needs more rights; choose one above 1023") from None
        except OSError as error:
            holder = port_holder(port) if error.errno == errno.EADDRINUSE else ""
            raise TakenError(
                f"port {port} on {host} is taken by {holder}; stop it or choose another with --port"
                if holder
                else f"cannot listen on {host}:{port}: {error.strerror or error}"
            ) from None


def port_holder(port: int) -> str:
    """Names the process that listens on a TCP port (`python (process 123)`), or ''."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text(encoding="ascii").splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                    inodes.add(f"socket:[{fields[9]}]")
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            for descriptor in (process / "fd").iterdir():
                if inodes and str(descriptor.readlink()) in inodes:
                    name = (process / "comm").read_text(encoding="utf-8").strip()
                    return f"{name} (process {process.name})"
    return "another process" if inodes else ""
