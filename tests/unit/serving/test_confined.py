"""Models that run anybody's code, in real workers; most of them are hostile."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from maas_test_scripted import DOUBLER, SIGNATURES, installed, written

from maas.core.errors import ErrorKind, MaasError
from maas.core.ports import Artifact, Device
from maas.core.signature import DEFAULT_SIGNATURE
from maas.serving import workerprocess
from maas.serving.confined import ConfinedServable
from maas.serving.segments import Budget, SegmentPool
from maas.serving.workerprocess import Bounds

MIB = 1 << 20
ROW = {"x": np.array([[1, 2, 3, 4]], np.float32)}
Start = Callable[..., ConfinedServable]

TURN = """
calls = 0
def infer(x):
    global calls
    calls += 1
    if x[0, 0] >= 0:
        return {{"y": 2 * x}}
    {bad}
    return {{"y": x}}
"""
BAD = {"x": np.full((1, 4), -1, np.float32)}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return installed(tmp_path_factory.mktemp("site"))


@pytest.fixture
def start(tmp_path: Path, site: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Starts a model from its source; what still runs is closed with the test."""
    monkeypatch.setenv("PYTHONPATH", str(site))
    monkeypatch.setenv("MAAS_OWNER_KEY", "hush")
    started: list[ConfinedServable] = []

    def make(
        source: str, memory: int = 1 << 30, threads: int = 64, files: int = 1 << 26
    ) -> ConfinedServable:
        written(tmp_path / "model", source)
        artifact = Artifact(str(tmp_path / "model"), "model.py", "script", SIGNATURES)
        servable = ConfinedServable(
            "script", artifact, Device(), Bounds(memory, threads, files),
            tmp_path / "scratch", "m:1",
        )  # fmt: skip
        started.append(servable)
        return servable

    yield make
    for servable in started:
        servable.close()
    scratch = tmp_path / "scratch"
    assert not scratch.exists() or list(scratch.iterdir()) == []


def turns(bad: str) -> str:
    """A model that behaves until it is called with a negative number."""
    return TURN.format(bad=bad)


def refusal(servable: ConfinedServable, inputs: dict = BAD) -> MaasError:
    with pytest.raises(MaasError) as caught:
        servable.infer(DEFAULT_SIGNATURE, inputs)
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 600
    return caught.value


def failure(start: Start, source: str, **bounds: int) -> MaasError:
    with pytest.raises(MaasError) as caught:
        start(source, **bounds)
    assert "\n" not in caught.value.message
    return caught.value


def doubles(servable: ConfinedServable) -> bool:
    return servable.infer(DEFAULT_SIGNATURE, ROW)["y"].tolist() == [[2, 4, 6, 8]]


# What works


@pytest.mark.parametrize("rows", [1, 64, 4097, 300_000])
def test_rows_go_and_come_back(start, rows):
    x = np.arange(4 * rows, dtype=np.float32).reshape(rows, 4)
    answer = start(DOUBLER).infer(DEFAULT_SIGNATURE, {"x": x})
    np.testing.assert_array_equal(answer["y"], 2 * x)


def test_texts_and_scalars(start):
    servable = start("""
import numpy as np
def infer(text, times):
    loud = np.empty(len(text), object)
    loud[:] = [one.upper() * int(times) for one in text]
    return {"loud": loud, "count": np.int64(len(text))[...]}
""")
    text = np.array([b"abc", b"", "花".encode()], object)
    answer = servable.infer("texts", {"text": text, "times": np.array(2)})
    assert answer["loud"].tolist() == [b"ABCABC", b"", "花花".encode()]
    assert answer["count"].shape == ()
    assert answer["count"] == 3


def test_a_model_may_write_into_its_inputs(start):
    assert doubles(start("def infer(x):\n    x *= 2\n    return {'y': x}"))


def test_numeric_libraries_have_the_threads_of_the_device(tmp_path, site, monkeypatch):
    """NumPy starts its threads when it is imported, which is after the sandbox is entered."""
    monkeypatch.setenv("PYTHONPATH", str(site))
    written(
        tmp_path / "model",
        "import numpy as np\na = np.ones((512, 512), 'f4'); a @ a\n"
        "import os; count = len(os.listdir('/proc/self/task'))\n"
        "def infer(x): return {'y': x + np.float32(count)}",
    )
    artifact = Artifact(str(tmp_path / "model"), "model.py", "script", SIGNATURES)
    servable = ConfinedServable(
        "script", artifact, Device(threads=2), Bounds(1 << 30, 64), tmp_path / "scratch", "m:1"
    )
    try:
        answer = servable.infer(DEFAULT_SIGNATURE, {"x": np.zeros((1, 4), np.float32)})
    finally:
        servable.close()
    assert answer["y"][0, 0] == min(2, len(os.sched_getaffinity(0)))


def test_modules_that_came_with_it_are_found(start, tmp_path):
    code = tmp_path / "model" / "code"
    code.mkdir(parents=True)
    (code / "features.py").write_text("FACTOR = 2")
    assert doubles(start("import features\ndef infer(x): return {'y': features.FACTOR * x}"))


def test_it_says_what_binds_it(start, caplog):
    caplog.set_level(logging.INFO, "maas.loader")
    start(DOUBLER)
    said = [record.getMessage() for record in caplog.records]
    assert any("seccomp" in line for line in said)
    assert {record.model for record in caplog.records} == {"m:1"}


def test_its_memory_is_the_workers(start):
    servable = start(f"held = bytearray({64 * MIB})\n{DOUBLER}")
    assert servable.memory_bytes > 64 * MIB


def test_nothing_is_left_of_it(start, tmp_path):
    before = set(Path("/proc/self/fd").iterdir())
    servable = start(f"open('junk', 'w').write('x')\n{DOUBLER}")
    assert doubles(servable)
    pid = servable.pid
    servable.close()
    assert not Path(f"/proc/{pid}").exists()
    assert list((tmp_path / "scratch").iterdir()) == []
    for thread in threading.enumerate():
        if thread.name.startswith("m:1"):
            thread.join(5)
    assert set(Path("/proc/self/fd").iterdir()) == before


def test_one_that_will_not_end_is_killed(start, monkeypatch):
    monkeypatch.setattr(workerprocess, "GOODBYE_S", 0.2)
    servable = start(f"""
import atexit, time
atexit.register(time.sleep, 600)
{DOUBLER}
""")
    servable.close()
    assert not Path(f"/proc/{servable.pid}").exists()


# Models that fail while they are loaded


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("raise ValueError('no weights')", "ValueError: no weights"),
        ("1 +", "SyntaxError"),
        ("import features", "No module named 'features'"),
        ("import os; print('so long'); os._exit(3)", "exit status 3; its last line was: so long"),
        ("import sys; sys.exit('I give up')", "exit status 1; its last line was: I give up"),
        ("import os; os.abort()", "killed by SIGABRT"),
        ("import ctypes; ctypes.string_at(0)", "killed by SIGSEGV"),
        ("import os\nwhile True: os.fork()", "no other processes"),
        ("import subprocess; subprocess.run(['id'])", "no other processes"),
        ("import socket; socket.create_connection(('127.0.0.1', 80))", "no network"),
        ("open('/etc/passwd')", "no files but its own"),
        ("open(folder + '/model.py', 'w')", "no files but its own"),
        ("open(folder + '/../canary', 'w')", "no files but its own"),
        ("import os; os.kill(os.getppid(), 9)", "the sandbox gives a model"),
    ],
    ids=[
        "raises", "no Python", "lacks a module", "exits", "leaves", "aborts", "crashes",
        "forks without end", "starts a program", "connects", "reads", "changes itself",
        "writes beside it", "kills its host",
    ],
)  # fmt: skip
def test_a_model_that_cannot_be_loaded_says_why(start, tmp_path, source, expected):
    error = failure(start, source)
    assert expected in error.message
    assert str(tmp_path) not in error.message
    assert not (tmp_path / "canary").exists()


def test_the_shared_memory_of_its_host_is_out_of_its_reach(start):
    pool = SegmentPool(Budget(MIB))
    segment = pool.take(1)
    path = f"/proc/{os.getpid()}/fd/{segment.descriptor}"
    assert Path(path).open("rb").close() is None
    assert "no files but its own" in failure(start, f"open({path!r}, 'rb')").message
    pool.abandon()


def test_allocating_without_end_ends_at_the_bound(start):
    error = failure(start, "held = []\nwhile True: held.append(bytearray(1 << 22))",
                    memory=200 * MIB)  # fmt: skip
    assert "took more than 200 MiB of memory: raise serving.worker_bytes" in error.message


def test_threads_without_end_end_at_the_bound(start):
    source = """
import threading, time
while True:
    threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
    time.sleep(0.002)
"""
    error = failure(start, source, threads=32)
    assert "more than 32 threads" in error.message


def test_temporary_files_without_end_end_at_the_bound(start, monkeypatch):
    monkeypatch.setattr(workerprocess, "TICKS_PER_LOOK", 1)
    source = """
import itertools, time
for n in itertools.count():
    open(str(n), "wb").write(bytes(1 << 20))
    time.sleep(0.01)
"""
    assert "more than 4 MiB of temporary files" in failure(start, source, files=4 * MIB).message


def test_its_environment_holds_no_secret(start):
    source = f"import os\nassert 'hush' not in os.environ.values(), 'hush'\n{DOUBLER}"
    assert doubles(start(source))


# Models that turn bad when they are called


@pytest.mark.parametrize(
    ("bad", "kind", "expected"),
    [
        ("raise ValueError('too small')", ErrorKind.INTERNAL, "ValueError: too small"),
        ("raise MemoryError", ErrorKind.RESOURCE_EXHAUSTED, "memory ran out"),
        ("x = 'a' * 5 + 5", ErrorKind.INTERNAL, "TypeError"),
        ("import socket; socket.socket()", ErrorKind.INTERNAL, "no network"),
        ("import os; os.fork()", ErrorKind.INTERNAL, "no other processes"),
        ("open('/root/canary', 'w')", ErrorKind.INTERNAL, "no files but its own"),
        ("return {'z': x}", ErrorKind.INTERNAL, "answered ['z'] where its signature has ['y']"),
        ("return {'y': x, 'z': x}", ErrorKind.INTERNAL, "['y', 'z']"),
        ("return {}", ErrorKind.INTERNAL, "answered []"),
        ("return None", ErrorKind.INTERNAL, "AttributeError"),
        ("return {'y': [1, 2]}", ErrorKind.INTERNAL, "AttributeError"),
        ("return {'y': x.astype('f8')}", ErrorKind.INTERNAL, "'y' as FP64 [1, 4]"),
        ("return {'y': x.astype('c8')}", ErrorKind.INTERNAL, "no counterpart"),
        ("return {'y': x.astype(object)}", ErrorKind.INTERNAL, "float"),
        ("return {'y': x[:, :3]}", ErrorKind.INTERNAL, "'y' as FP32 [1, 3]"),
        ("return {'y': x[0]}", ErrorKind.INTERNAL, "'y' as FP32 [4]"),
        ("return {'y': x.repeat(2, 0)}", ErrorKind.INTERNAL, "2 rows where the call has 1"),
        ("from maas.core.errors import invalid; raise invalid('x is negative')",
         ErrorKind.INVALID_ARGUMENT, "x is negative"),
        ("from maas.core import errors; raise errors.MaasError('unauthenticated', 'send keys')",
         ErrorKind.INTERNAL, "send keys"),
        ("raise type('E' * 5000, (Exception,), {})('m' * 5000)", ErrorKind.INTERNAL, "EEE"),
        ("raise RuntimeError('a\\nb /srv/secret/x.py:3')", ErrorKind.INTERNAL, "a b …"),
    ],
    ids=[
        "raises", "no memory", "fails", "connects", "forks", "writes", "another name", "one more",
        "nothing", "none", "a list", "double precision", "complex", "objects", "too narrow",
        "a vector", "more rows", "refuses", "another kind", "long words", "paths",
    ],
)  # fmt: skip
def test_a_bad_call_fails_alone(start, bad, kind, expected):
    servable = start(turns(bad))
    error = refusal(servable)
    assert error.kind is kind
    assert expected in error.message
    assert doubles(servable)


@pytest.mark.parametrize(
    ("bad", "expected"),
    [
        ("import os; print('bye', flush=True); os._exit(7)",
         "exit status 7; its last line was: bye"),
        ("import os; os.kill(os.getpid(), 11)", "killed by SIGSEGV"),
        ("import sys; sys.exit(4)", "exit status 4"),
        ("held = []\n    while True: held.append(bytearray(1 << 22))", "more than 300 MiB"),
        ("import os; os.closerange(3, 4096)\n    import time; time.sleep(600)",
         "it closed its connection"),
        ("say(b'\\x04\\0\\0\\0\\0\\0\\0\\0junk')", "what is no answer"),
        ("say(b'\\xff' * 8)", "what is no answer"),
        ("say(loaded)", "what is no answer"),
        ("say(claims(4, (1, 1 << 40))); os._exit(0)", "[1, 1099511627776]"),
        ("say(answer + answer)", "what is no answer"),
    ],
    ids=["exits", "crashes", "leaves", "allocates", "closes", "junk", "a giant", "another message",
         "a lie", "two answers"],
)  # fmt: skip
def test_a_worker_that_ends_or_lies_is_gone_with_its_reason(start, bad, expected):
    speak = """
import os, stat, msgspec, struct
def say(data):
    for fd in range(3, 4096):  # a test process holds many files, and so numbers are high
        try:
            if stat.S_ISSOCK(os.fstat(fd).st_mode):
                os.write(fd, data)
        except OSError:
            pass
def frame(head, data=b""):
    head = msgspec.msgpack.encode(head)
    return struct.pack("<II", len(head), len(data)) + head + data
def claims(nbytes, shape):
    return frame(["answer", [["y", "FP32", shape, nbytes]]], bytes(nbytes))
loaded = frame(["loaded", []])
answer = claims(16, (1, 4)) + b""
"""
    servable = start(speak + turns(bad), memory=300 * MIB)
    assert doubles(servable)
    died: list[str] = []
    gone = threading.Event()
    servable.on_death(lambda reason: (died.append(reason), gone.set()))
    error = refusal(servable)
    if "[1, 1099" in expected:  # a lie about the tensors is the model's own, and refused
        assert expected in error.message
        return
    assert error.kind is ErrorKind.UNAVAILABLE
    assert expected in error.message
    assert gone.wait(10)
    assert expected in died[0]
    assert not Path(f"/proc/{servable.pid}").exists()


def test_a_worker_that_dies_unasked_is_told_of(start):
    servable = start(f"""
import os, threading
threading.Timer(0.2, lambda: (print("nobody calls me", flush=True), os._exit(9))).start()
{DOUBLER}
""")
    died: list[str] = []
    gone = threading.Event()
    servable.on_death(lambda reason: (died.append(reason), gone.set()))
    assert gone.wait(10)
    assert died == ["exit status 9; its last line was: nobody calls me"]


def test_one_that_has_died_already_is_told_of_at_once(start):
    servable = start(turns("import os; os._exit(9)"))
    refusal(servable)
    died: list[str] = []
    servable.on_death(died.append)
    assert died == ["exit status 9"]


def test_closing_it_is_no_death(start):
    servable = start(DOUBLER)
    died: list[str] = []
    servable.on_death(died.append)
    servable.close()
    assert died == []


# What it prints


def printed(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.name == "maas.model"]


def test_what_it_prints_is_logged_as_its_own(start, caplog):
    caplog.set_level(logging.INFO, "maas.model")
    servable = start(turns("import sys; print('one'); sys.stderr.write('two\\n')"))
    servable.infer(DEFAULT_SIGNATURE, BAD)
    servable.close()
    assert sorted(printed(caplog)) == ["one", "two"]
    assert {one.model for one in caplog.records} == {"m:1"}


def test_the_trace_of_a_failed_call_is_in_the_log(start, caplog):
    caplog.set_level(logging.INFO, "maas.model")
    servable = start(turns("raise ValueError('too small')"))
    refusal(servable)
    servable.close()
    assert "Traceback (most recent call last):" in printed(caplog)
    assert printed(caplog)[-1] == "ValueError: too small"


def test_megabytes_of_output_are_cut_and_hold_nobody_up(start, caplog):
    caplog.set_level(logging.INFO, "maas.model")
    servable = start(turns("for _ in range(3000): print('x' * 10_000)"))
    servable.infer(DEFAULT_SIGNATURE, BAD)
    assert doubles(servable)
    servable.close()
    assert sum(map(len, printed(caplog))) < 2 * MIB
    assert any("prints too much" in line for line in printed(caplog))
