from __future__ import annotations

import os
import time
from pathlib import Path

import msgspec
import pytest

from maas.core.errors import ErrorKind, MaasError
from maas.publish.child_process import run_child
from maas.publish.messages import Job
from maas.settings import MIB, PublishSettings

SPEAK = """
import sys
from maas.publish.messages import Failure, Progress, write_message
def say(text):
    write_message(sys.stdout.buffer, Failure("internal", text))
"""


@pytest.fixture
def job(tmp_path, linear):
    (tmp_path / "artifact").mkdir()
    (tmp_path / "work").mkdir()
    (tmp_path / "m.onnx").write_bytes(linear().SerializeToString())
    return Job(
        format="onnx",
        source=str(tmp_path / "m.onnx"),
        entry="",
        sample="",
        sample_name="",
        code="",
        artifact=str(tmp_path / "artifact"),
        work=str(tmp_path / "work"),
        samples=256,
        threads=1,
        trust=False,
        engine="",
        cpu_s=600,
        file_bytes=1 << 30,
    )


def failure(job, code, environ=os.environ, **settings) -> MaasError:
    with pytest.raises(MaasError) as caught:
        run_child(
            job,
            PublishSettings(**settings),
            lambda *_: None,
            command=("-c", SPEAK + code),
            environ=environ,
        )
    return caught.value


def test_a_job_and_its_progress(job):
    heard = []
    finding = run_child(job, PublishSettings(), lambda *event: heard.append(event))
    assert finding.engine == "onnx"
    assert [stage for stage, _, _ in heard] == ["scan", "inspect", "prove"]
    fractions = [fraction for _, _, fraction in heard]
    assert fractions == sorted(fractions)


def test_its_own_errors_arrive(job, tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"\x08\x09\x3a\x02\xff\xff")
    with pytest.raises(MaasError, match="cut off or damaged") as caught:
        run_child(job, PublishSettings(), lambda *_: None)
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT


def test_a_file_limit_is_an_error_and_not_a_crash(job):
    small = Job(**{**{f: getattr(job, f) for f in job.__struct_fields__}, "file_bytes": 10})
    with pytest.raises(MaasError, match="could not be written") as caught:
        run_child(small, PublishSettings(), lambda *_: None)
    assert caught.value.kind is ErrorKind.RESOURCE_EXHAUSTED


def test_a_crash(job):
    error = failure(job, "import os; os.kill(os.getpid(), 11)")
    assert error.kind is ErrorKind.INVALID_ARGUMENT
    assert "died with SIGSEGV" in error.message


def test_last_words_are_one_sentence_without_paths(job, tmp_path):
    error = failure(job, f"raise SystemExit('no luck in {tmp_path}/x')")
    assert "died with exit code 1 while examining it: no luck in …" in error.message
    assert str(tmp_path) not in error.message


def test_a_child_that_takes_too_long(job):
    error = failure(job, "import time; time.sleep(600)", inspect_s=1.0)
    assert error.kind is ErrorKind.DEADLINE_EXCEEDED
    assert "longer than 1 s" in error.message


def test_a_child_that_takes_too_much_memory(job):
    code = "import time; held = bytearray(300 << 20); time.sleep(600)"
    error = failure(job, code, inspect_bytes=200 * MIB)
    assert error.kind is ErrorKind.RESOURCE_EXHAUSTED
    assert "more than 200 MiB" in error.message


def test_memory_of_its_children_counts(job):
    code = """
import subprocess, sys
subprocess.run([sys.executable, "-c", "import time; h = bytearray(300 << 20); time.sleep(600)"])
"""
    assert failure(job, code, inspect_bytes=200 * MIB).kind is ErrorKind.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("junk", [b"\xff" * 64, b"\x04\x00\x00\x00abcd", b"hello"])
def test_nonsense_on_its_output(job, junk):
    error = failure(job, f"sys.stdout.buffer.write({junk!r})")
    assert error.kind is ErrorKind.INVALID_ARGUMENT


def test_its_environment_holds_no_secret(job):
    environ = {**os.environ, "MAAS_OWNER_KEY": "hush", "AWS_SECRET_ACCESS_KEY": "hush"}
    error = failure(job, "import os; say(' '.join(sorted(os.environ)))", environ)
    assert "OMP_NUM_THREADS" in error.message
    assert "MAAS_OWNER_KEY" not in error.message
    assert "AWS_SECRET_ACCESS_KEY" not in error.message


def test_its_folder_is_empty_and_goes(job):
    error = failure(job, "import os; say(os.getcwd() + ' ' + str(os.listdir()))")
    place, _, listing = error.message.partition(" ")
    assert listing == "[]"
    assert not Path(place).exists()


def test_what_it_leaves_running_is_killed(job):
    code = """
import subprocess
left = subprocess.Popen(["sleep", "600"], stdin=-3, stdout=-3, stderr=-3)
say(str(left.pid))
"""
    pid = int(failure(job, code).message)
    for _ in range(100):
        status = Path(f"/proc/{pid}/stat")
        if not status.exists() or status.read_text().split()[2] == "Z":
            return
        time.sleep(0.05)
    raise AssertionError("it still runs")


def test_it_enters_the_sandbox_before_it_reads_the_model(job):
    code = f"""
import ctypes, resource
from maas.publish.child import bind_hands
from maas.publish.messages import Job
bind_hands(Job(**{ {f: getattr(job, f) for f in job.__struct_fields__}!r}))
prctl = ctypes.CDLL(None).prctl
said = [prctl(39, 0, 0, 0, 0), resource.getrlimit(resource.RLIMIT_CORE)[0],
        resource.getrlimit(resource.RLIMIT_CPU)[0], resource.getrlimit(resource.RLIMIT_FSIZE)[0]]
for path in ({str(job.artifact)!r} + "/x", {str(Path(job.artifact).parent)!r} + "/x"):
    try:
        said.append(open(path, "w").write("x"))
    except PermissionError:
        said.append("refused")
say(str(said))
"""
    assert failure(job, code).message == str([1, 0, job.cpu_s, job.file_bytes, 1, "refused"])


def test_what_binds_it_is_told_with_what_it_found(job):
    sandbox = run_child(job, PublishSettings(), lambda *_: None).sandbox
    assert len(sandbox) >= 3
    assert any("seccomp" in sentence for sentence in sandbox)


def test_only_its_first_word_says_what_binds_it(job):
    code = """
from maas.publish.messages import Bound
write_message(sys.stdout.buffer, Bound(("true",)))
write_message(sys.stdout.buffer, Bound(("a lie",)))
from maas.publish.messages import Finding
write_message(sys.stdout.buffer, Finding(
    "onnx", "onnx", "x", {}, False, "", {}, {}, None, "", (), (), ("another lie",)))
"""
    finding = run_child(job, PublishSettings(), lambda *_: None, command=("-c", SPEAK + code))
    assert finding.sandbox == ("true",)


def test_progress_without_end(job):
    code = "for _ in range(5000): write_message(sys.stdout.buffer, Progress('scan', 'x', 0.5))"
    heard = []
    with pytest.raises(MaasError, match="without end"):
        run_child(job, PublishSettings(), lambda *e: heard.append(e), command=("-c", SPEAK + code))
    assert len(heard) <= 1000


def test_an_error_of_an_unknown_kind_on_many_lines(job):
    code = "write_message(sys.stdout.buffer, Failure('nonsense', 'a\\nb' + 'c' * 10_000))"
    error = failure(job, code)
    assert error.kind is ErrorKind.INVALID_ARGUMENT
    assert error.message.startswith("a b")
    assert len(error.message) <= 2000


def test_files_without_end(job):
    small = Job(**{**{f: getattr(job, f) for f in job.__struct_fields__}, "file_bytes": 1 << 20})
    code = """
import time
for n in range(64):
    with open(f"junk{n}", "wb") as file:
        file.write(bytes(1 << 20))
time.sleep(600)
"""
    assert "wrote more than 2 MiB" in failure(small, code).message


def test_threads_without_end(job):
    code = """
import threading, time
for _ in range(600):
    threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
time.sleep(600)
"""
    assert "more than 512 threads" in failure(job, code).message


def test_what_it_prints_is_logged_with_the_model(job, caplog):
    caplog.set_level("INFO", "maas.publish")
    code = "print('x' * 10_000_000, file=sys.stderr); sys.exit('my last words')"
    with pytest.raises(MaasError, match="my last words"):
        run_child(job, PublishSettings(), lambda *_: None, ("-c", SPEAK + code), model="churn")
    last = caplog.records[-1]
    assert (last.getMessage(), last.model) == ("my last words", "churn")
    assert sum(len(record.getMessage()) for record in caplog.records) < 10_000


RAW = """
import struct, sys, msgspec
from maas.publish.messages import Bound
def raw(body, length=None):
    head = struct.pack("<I", len(body) if length is None else length)
    sys.stdout.buffer.write(head + body)
    sys.stdout.buffer.flush()
"""


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("raw(b'', 5 << 20)", "speak nonsense"),
        ("raw(b'\\x82\\xa4type\\xa5bound\\xa1z' + b'\\x91' * 200_000)", "speak nonsense"),
        ("while True: raw(msgspec.msgpack.encode(Bound(('x',))))", "report without end"),
    ],
    ids=["long", "nested", "endless"],
)
def test_frames_that_would_keep_the_server_busy(job, code, expected):
    assert expected in failure(job, RAW + code).message


def test_progress_that_is_no_number_and_speaks_to_a_terminal(job):
    heard = []
    code = (
        "write_message(sys.stdout.buffer, Progress('\\x1b[2J', '\\x07', float('nan')));say('bye')"
    )
    with pytest.raises(MaasError, match="bye"):
        run_child(
            job,
            PublishSettings(),
            lambda *event: heard.append(event),
            command=("-c", SPEAK + code),
        )
    assert heard == [(" [2J", " ", 0.0)]


def test_files_that_no_folder_shows_are_bounded(job):
    small = msgspec.structs.replace(job, file_bytes=1 << 20)
    error = failure(
        small,
        "import os, tempfile, time\n"
        "file = tempfile.TemporaryFile()\n"
        "file.write(bytes(3 << 20)); file.flush(); time.sleep(60)",
    )
    assert "wrote more than 2 MiB of files" in error.message


def test_its_folder_is_removed_however_deep_it_is(job, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    code = "import os\nfor _ in range(2000): os.mkdir('d'); os.chdir('d')\nsay('deep')"
    assert failure(job, code).message == "deep"
    assert not list(tmp_path.glob("maas-publish-*"))
