"""Kernels that lack something, made by a filter that hides it before the sandbox is entered."""

from __future__ import annotations

import json

import pytest

HIDE = """
from maas.sandbox import limits
from maas.sandbox.seccomp import install
limits.drop_privileges()
ALLOW = (0x06, 0, 0, 0x7FFF0000)
def hide(number, code, *checks):
    install([(0x20, 0, 0, 0), (0x15, 0, 1 + len(checks), number), *checks,
             (0x06, 0, 0, 0x00050000 | code), ALLOW])
"""
NO_LANDLOCK = HIDE + "hide(444, errno.ENOSYS)\n"
NO_FILTER = (
    HIDE
    + """
prctl = 157 if os.uname().machine == "x86_64" else 167
hide(prctl, errno.EINVAL, (0x20, 0, 0, 16), (0x15, 1, 0, 22), ALLOW)
"""
)


def test_what_binds_it_is_said(child):
    done = child.run("print(json.dumps(said))")
    said = json.loads(done.stdout.splitlines()[0])
    assert any("16 MiB" in sentence for sentence in said)
    assert any("Landlock ABI" in sentence for sentence in said)
    assert any("seccomp" in sentence for sentence in said)


def test_the_processor_limit_is_said_where_there_is_one(child):
    assert "60 s of processor time" in child.run("print(said)", cpu_s=60).stdout
    assert "processor time" not in child.run("print(said)").stdout


def test_without_landlock_sockets_are_refused_and_the_rest_is_said(child):
    code = """
attempt("socket", socket.socket)
attempt("fork", os.fork)
attempt("mode", lambda: os.chmod(secret, 0o777))
tried["said"] = " ".join(said)
"""
    tried = child.tries(code, before=NO_LANDLOCK)
    assert (tried["socket"], tried["fork"]) == ("EPERM", "EPERM")
    assert "this kernel has no Landlock" in tried["said"]
    assert child.secret.stat().st_mode & 0o777 == 0o600


def test_without_a_filter_files_are_bound_and_the_rest_is_said(child):
    code = """
attempt("read", lambda: open(secret).read())
tried["said"] = " ".join(said)
"""
    tried = child.tries(code, before=NO_FILTER)
    assert tried["read"] == "EACCES"
    assert "this kernel has no filter of system calls" in tried["said"]


@pytest.mark.parametrize(
    ("abi", "size"), [(1, 8), (2, 8), (3, 8), (4, 16), (5, 16), (6, 24), (7, 24)]
)
def test_every_version_of_landlock_is_asked_for_what_it_has(child, abi, size):
    """The kernel answers for its own version; an older one's rules are a part of those."""
    before = f"""
from maas.sandbox import landlock
landlock.abi = lambda: {abi}
call, asked = landlock._call, []
def noted(number, *arguments):
    asked.append(arguments)
    return call(number, *arguments)
landlock._call = noted
"""
    code = """
attempt("read", lambda: open(secret).read())
attempt("write", lambda: open(model + "/weights", "w"))
attempt("own", lambda: open("x", "w").write("x"))
tried["size"] = str(asked[0][1])
tried["said"] = " ".join(said)
"""
    tried = child.tries(code, before=before)
    assert (tried["read"], tried["write"], tried["own"]) == ("EACCES", "EACCES", "done")
    assert tried["size"] == str(size)
    assert ("emptying a file" in tried["said"]) == (abi < 3)
