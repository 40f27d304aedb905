from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[dict[str, object]]:
    """Sockets that somebody listens on: as control's, as a database's, as a name server."""
    tcp = socket.create_server(("127.0.0.1", 0))
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", 0))
    control = socket.socket(socket.AF_UNIX)
    control.bind(str(tmp_path / "control.sock"))
    control.listen()
    abstract = socket.socket(socket.AF_UNIX)
    abstract.bind(f"\0{tmp_path.name}-{id(tcp)}")
    abstract.listen()
    yield {
        "tcp": tcp.getsockname(),
        "udp": udp.getsockname(),
        "control": control.getsockname(),
        "abstract": abstract.getsockname(),
    }
    for one in (tcp, udp, control, abstract):
        one.close()


CONNECT = """
def connect(family, kind, address):
    socket.socket(family, kind).connect(address)
attempt("tcp", lambda: connect(socket.AF_INET, socket.SOCK_STREAM, places["tcp"]))
attempt("udp", lambda: connect(socket.AF_INET, socket.SOCK_DGRAM, places["udp"]))
attempt("control", lambda: connect(socket.AF_UNIX, socket.SOCK_STREAM, places["control"]))
attempt("abstract", lambda: connect(socket.AF_UNIX, socket.SOCK_STREAM, places["abstract"]))
"""


def test_nobody_is_reached(child, listening):
    tried = child.tries(f"places = {listening!r}" + CONNECT)
    assert tried == dict.fromkeys(("tcp", "udp", "control", "abstract"), "EPERM")


def test_they_could_be_reached_without_the_sandbox(child, listening):
    tried = child.tries("", before=f"places = {listening!r}" + CONNECT)
    assert set(tried.values()) == {"done"}


def test_a_socket_that_it_was_left_connects_nowhere(child, listening):
    tried = child.tries(
        """
attempt("connect", lambda: left.connect(places["control"]))
attempt("listen", lambda: left.listen())
attempt("bind", lambda: left.bind("own.sock"))
attempt("tcp", lambda: inet.connect(places["tcp"]))
""",
        before=f"places = {listening!r}\n"
        "left, inet = socket.socket(socket.AF_UNIX), socket.socket()\n",
    )
    assert set(tried.values()) == {"EPERM"}


def test_no_socket_of_any_kind_is_made(child):
    tried = child.tries("""
for name in ("AF_INET", "AF_INET6", "AF_UNIX", "AF_NETLINK", "AF_PACKET", "AF_VSOCK", "AF_ALG"):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW):
        attempt(f"{name} {kind}", lambda: socket.socket(getattr(socket, name), kind))
attempt("datagrams", lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM))
attempt("name", lambda: socket.create_connection(("localhost", 80)))
""")
    name = tried.pop("name")
    assert set(tried.values()) == {"EPERM"}
    assert name != "done"


def test_one_that_listens_does_so_in_its_own_folders_and_reaches_nobody(child, listening):
    tried = child.tries(
        f"places = {listening!r}"
        + CONNECT
        + """
def listen(family, address):
    made = socket.socket(family)
    made.bind(address)
    made.listen()
attempt("own", lambda: listen(socket.AF_UNIX, own + "/s.sock"))
attempt("model", lambda: listen(socket.AF_UNIX, model + "/s.sock"))
attempt("outside", lambda: listen(socket.AF_UNIX, outside + "/s.sock"))
attempt("loopback", lambda: listen(socket.AF_INET, ("127.0.0.1", 0)))
attempt("datagrams", lambda: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
""",
        listens=True,
    )
    assert tried.pop("own") == "done"
    assert tried.pop("model") == tried.pop("outside") == "EACCES"
    assert set(tried.values()) == {"EPERM"}


def test_an_event_loop_runs(child):
    code = """
import asyncio
async def answer():
    await asyncio.sleep(0)
    return await asyncio.to_thread(lambda: "42")
tried["answer"] = asyncio.run(answer())
"""
    assert child.tries(code) == {"answer": "42"}


def test_no_open_file_is_passed_on(child):
    tried = child.tries(
        """
ours, theirs = socket.socketpair()
attempt("passed", lambda: socket.send_fds(ours, [b"x"], [0]))
attempt("said", lambda: ours.sendall(b"x"))
attempt("gathered", lambda: os.writev(ours.fileno(), [b"x", b"y"]))
"""
    )
    assert tried == {"passed": "EPERM", "said": "done", "gathered": "done"}
