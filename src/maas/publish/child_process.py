"""Starts the child that opens a published file, listens to it, and stops it at its bounds."""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

from maas.core.errors import ErrorKind, MaasError, invalid
from maas.publish.messages import Emit, Failure, Finding, Job, Progress, split_frames
from maas.runtimes.wording import one_sentence
from maas.settings import MIB, PublishSettings

KEPT = ("PATH", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "LD_LIBRARY_PATH")
"""What the child needs of the environment to find its interpreter and its libraries."""
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
TICK_S = 0.1
LAST_WORDS = 4096
GOODBYE_S = 5.0
"""How long the child may take to end after its streams have."""


class Bounds(Struct, frozen=True):
    """Where the watchdog stops the child: wall-clock seconds, and resident bytes of its group."""

    wall_s: float
    resident_bytes: int


class Watched(Struct):
    """What has been heard of the child so far."""

    frames: bytearray
    words: bytearray
    outcome: Finding | Failure | None = None


def run_child(
    job: Job,
    settings: PublishSettings,
    emit: Emit,
    command: tuple[str, ...] = ("-P", "-m", "maas.publish.child"),
    environ: Mapping[str, str] = os.environ,
) -> Finding:
    """Runs one job in a process of its own. Blocks; call it in a thread.

    Args:
        job: what to do.
        settings: bounds.
        emit: hears of progress while the child works.
        command: arguments to the interpreter.
        environ: of this process; little of it is passed on.

    Returns:
        What the child found.

    Raises:
        MaasError: the child's own, or INVALID_ARGUMENT where the file crashed it,
            DEADLINE_EXCEEDED or RESOURCE_EXHAUSTED where it met a bound.
    """
    with tempfile.TemporaryDirectory(prefix="maas-publish-") as home:
        child = subprocess.Popen(
            # -P: the child's folder must not be searched for modules.
            [sys.executable, "-P", "-s", *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=home,
            env=_environment(environ, home),
            start_new_session=True,
            close_fds=True,
        )
        heard = Watched(bytearray(), bytearray())
        try:
            _send(child, job)
            _listen(child, heard, Bounds(settings.inspect_s, settings.inspect_bytes), emit)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(timeout=GOODBYE_S)
        finally:
            # The whole group, whatever became of its leader.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            for stream in (child.stdin, child.stdout, child.stderr):
                if stream is not None:
                    stream.close()
        return _result(child, heard)


def _environment(environ: Mapping[str, str], home: str) -> dict[str, str]:
    kept = {name: environ[name] for name in KEPT if name in environ}
    own = {
        "LANG": "C.UTF-8",
        "HOME": home,
        "TMPDIR": home,
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return {**kept, **own, **dict.fromkeys(ONE_THREAD, "1")}


def _send(child: subprocess.Popen[bytes], job: Job) -> None:
    assert child.stdin is not None
    try:
        child.stdin.write(msgspec.msgpack.encode(job))
        child.stdin.close()
    except BrokenPipeError:
        return  # it has died already; its last words say why


def _listen(child: subprocess.Popen[bytes], heard: Watched, bounds: Bounds, emit: Emit) -> None:
    """Reads until both streams end.

    Raises:
        MaasError: where a bound is met, or the child speaks out of turn.
    """
    assert child.stdout is not None
    assert child.stderr is not None
    end = time.monotonic() + bounds.wall_s
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ)
        selector.register(child.stderr, selectors.EVENT_READ)
        next_look = 0.0
        while selector.get_map():
            for key, _ in selector.select(TICK_S):
                data = os.read(key.fd, 1 << 16)
                if not data:
                    selector.unregister(key.fileobj)
                elif key.fileobj is child.stderr:
                    heard.words.extend(data)
                    del heard.words[:-LAST_WORDS]
                else:
                    heard.frames.extend(data)
                    _hear(heard, emit)
            now = time.monotonic()
            if now > end:
                raise MaasError(
                    ErrorKind.DEADLINE_EXCEEDED,
                    f"examining the model took longer than {bounds.wall_s:g} s; publish a smaller "
                    "model, or raise publish.inspect_s",
                )
            if now >= next_look:
                next_look = now + TICK_S
                if _resident_bytes(child.pid) > bounds.resident_bytes:
                    raise MaasError(
                        ErrorKind.RESOURCE_EXHAUSTED,
                        f"examining the model took more than {bounds.resident_bytes // MIB} MiB; "
                        "publish a smaller model, or raise publish.inspect_bytes",
                    )


def _hear(heard: Watched, emit: Emit) -> None:
    try:
        messages = split_frames(heard.frames)
    except (ValueError, msgspec.DecodeError) as error:
        raise invalid("the model made its reader speak nonsense; save it again") from error
    for message in messages:
        if isinstance(message, Progress):
            emit(message.stage, message.message, message.fraction)
        else:
            heard.outcome = message


def _result(child: subprocess.Popen[bytes], heard: Watched) -> Finding:
    outcome = heard.outcome
    if isinstance(outcome, Finding):
        return outcome
    if isinstance(outcome, Failure):
        if outcome.kind == ErrorKind.INTERNAL:
            logger = logging.getLogger(__name__)
            logger.error("%s\n%s", outcome.message, heard.words.decode("utf-8", "replace"))
        raise MaasError(ErrorKind(outcome.kind), outcome.message)
    lines = heard.words.decode("utf-8", "replace").strip().splitlines()
    last = f": {one_sentence(lines[-1], 160)}" if lines else ""
    code = child.returncode
    how = f"with {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
    raise invalid(f"the model's reader died {how} while examining it{last}; save the model again")


def _resident_bytes(root: int) -> int:
    """Resident memory of a process and its descendants; 0 where /proc does not say."""
    page, total, pending = os.sysconf("SC_PAGE_SIZE"), 0, [root]
    while pending:
        process = Path("/proc") / str(pending.pop())
        try:
            total += int((process / "statm").read_text().split()[1]) * page
            for thread in (process / "task").iterdir():
                pending.extend(int(n) for n in (thread / "children").read_text().split())
        except (OSError, ValueError, IndexError):
            continue  # it has just ended
    return total
