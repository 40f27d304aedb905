from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from maas.supervisor.locks import TakenError, check_port, lock_home, port_holder

HOLD = "from maas.supervisor.locks import lock_home; import sys, pathlib\n\
lock_home(pathlib.Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that this process listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def free() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_a_data_folder_is_made_private_and_locked(tmp_path: Path) -> None:
    home = tmp_path / "a" / "home"
    descriptor = lock_home(home)
    try:
        assert home.stat().st_mode & 0o777 == 0o700
        assert (home / "lock").read_text() == f"{os.getpid()}\n"
        with pytest.raises(
            TakenError, match=rf"in use by another maas server \(process {os.getpid()}\)"
        ):
            lock_home(home)
    finally:
        os.close(descriptor)
    os.close(lock_home(home))


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(TakenError, match=rf"process {holder.pid}\).*--home"):
            lock_home(tmp_path)
        holder.kill()
        holder.wait()
        os.close(lock_home(tmp_path))


def test_a_lock_is_not_inherited(tmp_path: Path) -> None:
    descriptor = lock_home(tmp_path)
    child = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    with subprocess.Popen(child, stdin=subprocess.PIPE, close_fds=False):
        os.close(descriptor)
        for attempt in range(200):
            try:
                os.close(lock_home(tmp_path))
                break
            except TakenError:  # the child's copy goes as it becomes another program
                assert attempt < 199
                time.sleep(0.01)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0", "::1", "[::1]", "::"])
def test_a_free_port_is_free_and_stays_so(host: str) -> None:
    port = free()
    check_port(host, port)
    check_port(host, port)


def test_a_taken_port_names_who_has_it(taken: int) -> None:
    with pytest.raises(TakenError) as caught:
        check_port("127.0.0.1", taken)
    assert f"port {taken} on 127.0.0.1 is taken by" in str(caught.value)
    assert f"(process {os.getpid()})" in str(caught.value)
    assert "--port" in str(caught.value)


def test_a_taken_port_names_another_process() -> None:
    code = (
        "import socket, sys; s = socket.create_server(('127.0.0.1', 0)); "
        "print(s.getsockname()[1], flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with holder:
        assert holder.stdout is not None
        port = int(holder.stdout.readline())
        assert f"(process {holder.pid})" in port_holder(port)
        with pytest.raises(TakenError, match=rf"\(process {holder.pid}\)"):
            check_port("0.0.0.0", port)
        holder.kill()


def test_a_port_that_shares_is_taken_too() -> None:
    """Envoy would share it, and each server would answer half of the calls."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        with pytest.raises(TakenError, match="is taken by"):
            check_port("127.0.0.1", listener.getsockname()[1])


def test_an_address_of_another_machine_cannot_be_listened_on() -> None:
    with pytest.raises(TakenError, match=r"cannot listen on 192\.0\.2\.1:"):
        check_port("192.0.2.1", free())


def test_who_has_the_port_elsewhere_is_not_blamed(taken: int) -> None:
    with pytest.raises(TakenError, match=r"cannot listen on 192\.0\.2\.1:"):
        check_port("192.0.2.1", taken)


def test_a_name_that_is_none_cannot_be_listened_on() -> None:
    with pytest.raises(TakenError, match="cannot listen on"):
        check_port("no-such-host.invalid", free())


def test_nobody_holds_a_free_port() -> None:
    assert port_holder(free()) == ""


def settings(home: Path, port: int, **server: object) -> dict[str, object]:
    return {
        "paths": {"home": str(home), "run": str(home / "run")},
        "server": {"host": "127.0.0.1", "port": port, "listen": [], "drain_s": 1, **server},
    }


def serve(tmp_path: Path, tree: dict[str, object]) -> subprocess.CompletedProcess[str]:
    file = tmp_path / "settings.json"
    file.write_text(json.dumps(tree))
    return subprocess.run(
        [sys.executable, "-m", "maas.supervisor", "--settings", str(file)],
        capture_output=True, text=True, timeout=20,
    )  # fmt: skip


def test_a_server_whose_port_is_taken_says_so_in_one_line(tmp_path: Path, taken: int) -> None:
    for tree in (
        settings(tmp_path / "home", taken),
        settings(tmp_path / "home", free(), listen=[f"127.0.0.1:{taken}"]),
    ):
        done = serve(tmp_path, tree)
        assert done.returncode == 1
        assert done.stderr.startswith(f"error: port {taken} on 127.0.0.1 is taken by ")
        assert len(done.stderr.splitlines()) == 1


def test_a_second_server_of_a_folder_says_so_in_one_line(tmp_path: Path) -> None:
    home = tmp_path / "home"
    descriptor = lock_home(home)
    done = serve(tmp_path, settings(home, free()))
    os.close(descriptor)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: the data folder {home} is in use")
    assert len(done.stderr.splitlines()) == 1
