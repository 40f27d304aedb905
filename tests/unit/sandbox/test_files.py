from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest


def test_its_own_folder_is_its_own(child):
    tried = child.tries("""
os.mkdir("a"); os.mkdir("b")
open("a/x", "w").write("12345")
attempt("rename", lambda: os.rename("a/x", "b/y"))
attempt("truncate", lambda: os.truncate("b/y", 2))
attempt("link", lambda: os.link("b/y", "a/z"))
attempt("read", lambda: open("a/z").read())
attempt("remove", lambda: os.remove("b/y"))
attempt("list", lambda: os.listdir("."))
attempt("published", lambda: open(model + "/weights").read())
attempt("null", lambda: open(os.devnull, "w").write("x"))
""")
    assert set(tried.values()) == {"done"}
    assert (child.own / "a" / "z").read_text() == "12"


def test_nothing_else_is_read(child):
    tried = child.tries("""
for name, path in {
    "secret": secret, "folder": outside, "shadow": "/etc/shadow", "passwd": "/etc/passwd",
    "through proc": "/proc/self/root" + secret, "through cwd": "/proc/self/cwd/../outside/owner.key",
    "relative": "../outside/owner.key", "parent": f"/proc/{os.getppid()}/environ",
    "init": "/proc/1/cmdline", "maps": f"/proc/{os.getppid()}/maps",
}.items():
    attempt(name, lambda: os.open(path, os.O_RDONLY))
""")  # noqa: E501 - one path
    assert set(tried.values()) == {"EACCES"}


def test_nothing_else_is_written(child):
    home = str(Path.home())
    tried = child.tries(
        f"home = {home!r}"
        + """
for name, path in {
    "home": home + "/canary", "secret": secret, "new": outside + "/new",
    "published": model + "/weights", "beside it": model + "/new", "tmp": "/tmp/canary",
    "shared memory": "/dev/shm/canary", "parent": f"/proc/{os.getppid()}/mem",
    "oom": "/proc/self/oom_score_adj", "core": "/proc/sys/kernel/core_pattern",
}.items():
    attempt(name, lambda: os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
attempt("empty", lambda: os.open(secret, os.O_RDONLY | os.O_TRUNC))
attempt("truncate", lambda: os.truncate(secret, 0))
attempt("truncate published", lambda: os.truncate(model + "/weights", 0))
attempt("delete", lambda: os.remove(secret))
attempt("delete published", lambda: os.remove(model + "/weights"))
attempt("folder", lambda: os.mkdir(outside + "/f"))
attempt("no folder", lambda: os.rmdir(outside))
"""
    )
    assert tried == dict.fromkeys(tried, "EACCES")
    assert child.secret.read_text() == "secret"
    assert (child.model / "weights").read_text() == "weights"
    assert not any(Path(place, "canary").exists() for place in (home, "/tmp", "/dev/shm"))


@pytest.mark.parametrize("variable", ["PYTHONPATH", "LD_LIBRARY_PATH"])
@pytest.mark.parametrize("above", [".", "/"], ids=["their folder", "everything"])
def test_a_folder_on_the_path_that_holds_the_model_is_not_read(child, monkeypatch, variable, above):
    monkeypatch.setenv(variable, str(child.folder / above))
    assert child.tries("attempt('read', lambda: open(secret).read())") == {"read": "EACCES"}


def test_a_folder_on_the_path_is_read(child, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(child.outside))
    (child.outside / "features.py").write_text("")
    assert child.tries("attempt('import', lambda: __import__('features'))") == {"import": "done"}


def test_files_are_not_moved_in_or_out(child):
    tried = child.tries("""
open("x", "w").write("x")
attempt("link in", lambda: os.link(secret, "stolen"))
attempt("link published", lambda: os.link(model + "/weights", "stolen"))
attempt("move in", lambda: os.rename(secret, "stolen"))
attempt("move out", lambda: os.rename("x", outside + "/x"))
attempt("move over", lambda: os.rename("x", secret))
""")
    assert set(tried.values()) <= {"EACCES", "EXDEV"}
    assert child.secret.read_text() == "secret"
    assert sorted(path.name for path in child.own.iterdir()) == ["x"]


def test_nothing_but_files_and_folders_is_made(child):
    tried = child.tries("""
attempt("link", lambda: os.symlink(secret, "link"))
attempt("fifo", lambda: os.mkfifo("fifo"))
attempt("device", lambda: os.mknod("device", 0o666 | 0o020000, os.makedev(1, 8)))
""")
    assert set(tried.values()) <= {"EACCES", "EPERM"}
    assert list(child.own.iterdir()) == []


def test_links_that_are_there_lead_nowhere(child):
    (child.own / "out").symlink_to(child.secret)
    (child.own / "folder").symlink_to(child.outside)
    (child.model / "out").symlink_to(child.secret)
    tried = child.tries("""
attempt("own", lambda: open("out").read())
attempt("write", lambda: open("out", "w"))
attempt("folder", lambda: open("folder/new", "w"))
attempt("published", lambda: open(model + "/out").read())
""")
    assert set(tried.values()) == {"EACCES"}


def test_modes_owners_and_times_stay_as_they_are(child):
    before = child.secret.stat()
    tried = child.tries("""
import shutil
attempt("mode", lambda: os.chmod(secret, 0o777))
attempt("owner", lambda: os.chown(secret, 12345, 12345))
attempt("times", lambda: os.utime(secret, (0, 0)))
attempt("published", lambda: os.chmod(model + "/weights", 0o777))
attempt("attribute", lambda: os.setxattr(secret, "user.x", b"x"))
attempt("copy", lambda: shutil.copy2(model + "/weights", "copy"))
""")
    after = child.secret.stat()
    assert stat.S_IMODE(after.st_mode) == 0o600
    assert (after.st_uid, after.st_gid, after.st_mtime) == (
        before.st_uid,
        before.st_gid,
        before.st_mtime,
    )
    assert tried["attribute"] == "EPERM"
    # A library that copies a file with its mode does not fail over it.
    assert tried["copy"] == "done"
    assert (child.own / "copy").read_text() == "weights"


def test_what_it_is_given_must_be_there(child):
    (child.model / "weights").unlink()
    child.model.rmdir()
    done = child.run("")
    assert done.returncode != 0
    assert "not there" in done.stderr


def test_a_file_past_the_limit(child):
    tried = child.tries("attempt('write', lambda: open('x', 'wb').write(bytes(1 << 21)))",
                        file_bytes=1 << 20)  # fmt: skip
    assert tried == {"write": "EFBIG"}
    assert (child.own / "x").stat().st_size <= 1 << 20


def test_files_without_end(child):
    tried = child.tries("attempt('open', lambda: [os.open('.', os.O_RDONLY) for _ in range(300)])")
    assert tried == {"open": "EMFILE"}


def test_memory_that_no_size_shows_is_refused(child):
    tried = child.tries("""
attempt("memfd", lambda: os.memfd_create("x"))
attempt("shm", lambda: syscall(29 if os.uname().machine == "x86_64" else 194, 0, 4096, 0o600))
""")
    assert set(tried.values()) == {"EPERM"}


@pytest.mark.skipif(os.getuid() != 0, reason="only root holds capabilities to lose")
def test_root_without_capabilities_is_bound_by_permissions(child):
    other = child.own / "theirs"
    other.write_text("x")
    other.chmod(0)
    os.chown(other, 12345, 12345)
    assert child.tries("attempt('read', lambda: open('theirs').read())") == {"read": "EACCES"}
