from __future__ import annotations

import os
import subprocess
import sys
import threading

import numpy as np

from maas.sandbox import family_of, folder_bytes, unlinked_bytes, usage_of
from maas.sandbox.tree import remove_tree

MIB = 1 << 20


def test_memory_and_threads_of_a_process():
    before = usage_of(os.getpid())
    held = np.ones(8 * MIB)  # 64 MiB
    stop = threading.Event()
    threads = [threading.Thread(target=stop.wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    after = usage_of(os.getpid())
    stop.set()
    for thread in threads:
        thread.join()
    assert 60 * MIB < after.memory_bytes - before.memory_bytes < 80 * MIB
    assert after.threads == before.threads + 3
    assert held[0] == 1


def test_a_process_that_has_ended_holds_nothing():
    ended = subprocess.Popen(["true"])
    ended.wait()
    assert usage_of(ended.pid).memory_bytes == usage_of(ended.pid).threads == 0


def test_what_a_process_has_started_belongs_to_it():
    code = "import subprocess; p = subprocess.Popen(['sleep', '60']); print(p.pid, flush=True)"
    with subprocess.Popen(
        [sys.executable, "-c", f"{code}; p.wait()"], stdout=subprocess.PIPE, text=True
    ) as started:
        assert started.stdout is not None
        inner = int(started.stdout.readline())
        family = family_of(started.pid)
        started.kill()
        os.kill(inner, 9)
    assert set(family) == {started.pid, inner}


def test_what_a_folder_holds(tmp_path):
    assert folder_bytes(tmp_path) == 0
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "x").write_bytes(bytes(MIB))
    (tmp_path / "y").write_bytes(bytes(MIB))
    (tmp_path / "loop").symlink_to(tmp_path)
    assert 2 * MIB <= folder_bytes(tmp_path) < 3 * MIB


def test_files_that_only_look_large_are_not(tmp_path):
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 40)
    assert folder_bytes(tmp_path) < MIB


def test_a_folder_with_too_many_files_is_as_good_as_endless(tmp_path):
    for n in range(10_001):
        (tmp_path / str(n)).touch()
    assert folder_bytes(tmp_path) == 1 << 63


def test_a_folder_that_is_gone(tmp_path):
    assert folder_bytes(tmp_path / "none") == 0


def test_a_folder_that_hides_what_is_in_it_is_as_good_as_endless(tmp_path):
    inner = os.open(tmp_path, os.O_RDONLY)
    for _ in range(100):  # beyond the longest path
        os.mkdir("d" * 50, dir_fd=inner)
        deeper = os.open("d" * 50, os.O_RDONLY, dir_fd=inner)
        os.close(inner)
        inner = deeper
    os.close(inner)
    assert folder_bytes(tmp_path) > 1 << 60
    remove_tree(tmp_path)
    assert not tmp_path.exists()


HOLDING = """
import mmap, os, sys
for number in range(2):
    file = open(f"{sys.argv[1]}/{number}", "w+b")
    file.write(bytes(1 << 20))
    file.flush()
    os.unlink(file.name)
    if number:
        mapped = mmap.mmap(file.fileno(), 1 << 20)
        file.close()
    else:
        opened = file
shared = mmap.mmap(-1, 4 << 20)
shared[:] = bytes(4 << 20)
shared.madvise(mmap.MADV_DONTNEED)
print("held", flush=True)
sys.stdin.read()
"""


def test_files_and_shared_memory_without_a_name_are_counted(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLDING, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        held = unlinked_bytes(holder.pid)
        holder.kill()
    assert folder_bytes(tmp_path) == 0
    assert 6 * MIB <= held < 7 * MIB
    assert unlinked_bytes(holder.pid) == 0
