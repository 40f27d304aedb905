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
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

from maas.core.errors import ErrorKind, MaasError, invalid
from maas.publish.messages import (
    Bound,
    Emit,
    Failure,
    Finding,
    Job,
    Progress,
    Raced,
    RaceJob,
    split_frames,
)
from maas.runtimes.wording import one_sentence
from maas.sandbox import (
    family_of,
    folder_bytes,
    sandbox_environment,
    unlinked_bytes,
    usage_of,
)
from maas.sandbox.tree import remove_tree
from maas.settings import MIB, PublishSettings

log = logging.getLogger("maas.publish")

TICK_S = 0.1
FOLDERS_S = 1.0
"""How often its folders are measured."""
LONGEST_STAGE, LONGEST_WORDS = 32, 2000
LOGGED_LINES = 20
"""The last lines of what it printed that are logged."""
MOST_THREADS = 512
MOST_EVENTS = 1000
"""Frames that one child may send."""
LAST_WORDS = 4096
GOODBYE_S = 5.0
"""How long the child may take to end after its streams have."""


class Bounds(Struct, frozen=True):
    """Where the watchdog stops the child.

    Args:
        wall_s: seconds by the clock.
        resident_bytes: memory of it and of what it has started.
        folders: those that it writes.
        folder_bytes: what these may hold together.
    """

    wall_s: float
    resident_bytes: int
    folders: tuple[Path, ...]
    folder_bytes: int


class Watched(Struct):
    """What has been heard of the child so far."""

    frames: bytearray
    words: bytearray
    sandbox: tuple[str, ...] | None = None
    events: int = 0
    outcome: Finding | Raced | Failure | None = None


def run_child(
    job: Job | RaceJob,
    settings: PublishSettings,
    emit: Emit,
    command: tuple[str, ...] = ("-P", "-m", "maas.publish.child"),
    environ: Mapping[str, str] = os.environ,
    model: str = "",
) -> Finding | Raced:
    """Runs one job in a process of its own. Blocks; call it in a thread.

    Args:
        job: what to do.
        settings: bounds.
        emit: hears of progress while the child works.
        command: arguments to the interpreter.
        environ: of this process; little of it is passed on.
        model: the name under which what it prints is logged.

    Returns:
        What the child found; of a kind of its own choosing, since the model may speak for it.

    Raises:
        MaasError: the child's own, or INVALID_ARGUMENT where the file crashed it,
            DEADLINE_EXCEEDED or RESOURCE_EXHAUSTED where it met a bound.
    """
    with _own_folder() as home:
        child = subprocess.Popen(
            # -P: the child's folder must not be searched for modules.
            [sys.executable, "-P", "-s", *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=home,
            env=sandbox_environment(environ, home),
            start_new_session=True,
            close_fds=True,
        )
        heard = Watched(bytearray(), bytearray())
        try:
            _send(child, job)
            written = (Path(home), Path(job.artifact), Path(job.work))
            bounds = Bounds(settings.inspect_s, settings.inspect_bytes, written, 2 * job.file_bytes)
            _listen(child, heard, bounds, emit)
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
            for line in _lines(heard)[-LOGGED_LINES:]:
                log.info("%s", _plain(line), extra={"model": model})
        return _result(child, heard)


@contextlib.contextmanager
def _own_folder() -> Iterator[str]:
    """A temporary folder, removed whatever the child has made of it."""
    home = tempfile.mkdtemp(prefix="maas-publish-")
    try:
        yield home
    finally:
        remove_tree(Path(home))


def _send(child: subprocess.Popen[bytes], job: Job | RaceJob) -> None:
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
        next_look = next_measure = 0.0
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
                _check_usage(child.pid, bounds)
            if now >= next_measure:
                next_measure = now + FOLDERS_S
                _check_folders(child.pid, bounds)


def _check_usage(pid: int, bounds: Bounds) -> None:
    used = [usage_of(process) for process in family_of(pid)]
    if sum(one.memory_bytes for one in used) > bounds.resident_bytes:
        raise MaasError(
            ErrorKind.RESOURCE_EXHAUSTED,
            f"examining the model took more than {bounds.resident_bytes // MIB} MiB; "
            "publish a smaller model, or raise publish.inspect_bytes",
        )
    if sum(one.threads for one in used) > MOST_THREADS:
        raise MaasError(
            ErrorKind.RESOURCE_EXHAUSTED,
            f"the model started more than {MOST_THREADS} threads while it was examined; "
            "publish one that starts fewer",
        )


def _check_folders(pid: int, bounds: Bounds) -> None:
    if sum(map(folder_bytes, bounds.folders)) + unlinked_bytes(pid) > bounds.folder_bytes:
        raise MaasError(
            ErrorKind.RESOURCE_EXHAUSTED,
            f"examining the model wrote more than {bounds.folder_bytes // MIB} MiB of files; "
            "publish a smaller model",
        )


def _hear(heard: Watched, emit: Emit) -> None:
    try:
        messages = split_frames(heard.frames)
    except (ValueError, RecursionError, msgspec.DecodeError) as error:
        raise invalid("the model made its reader speak nonsense; save it again") from error
    for message in messages:
        heard.events += 1
        if heard.events > MOST_EVENTS:
            raise invalid("the model made its reader report without end; save it again")
        if isinstance(message, Progress):
            # Not a number is below nothing and above nothing: max takes its first argument then.
            fraction = min(max(0.0, message.fraction), 1.0)
            emit(_plain(message.stage[:LONGEST_STAGE]), _plain(message.message), fraction)
        elif not isinstance(message, Bound):
            heard.outcome = message
        elif heard.sandbox is None:
            heard.sandbox = message.sandbox  # the first word is the reader's own


def _result(child: subprocess.Popen[bytes], heard: Watched) -> Finding | Raced:
    outcome = heard.outcome
    if isinstance(outcome, Finding | Raced):
        return msgspec.structs.replace(outcome, sandbox=heard.sandbox or ())
    if isinstance(outcome, Failure):
        raise MaasError(_kind(outcome.kind), _plain(outcome.message))
    lines = _lines(heard)
    last = f": {one_sentence(lines[-1], 160)}" if lines else ""
    code = child.returncode
    how = f"died with {_signal_name(-code)}" if code < 0 else f"died with exit code {code}"
    raise invalid(f"the model's reader {how} while examining it{last}; save the model again")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _plain(text: str) -> str:
    """What the child says, on one line: the model may have put the words into its mouth."""
    return "".join(c if c.isprintable() else " " for c in text[:LONGEST_WORDS])


def _kind(text: str) -> ErrorKind:
    try:
        return ErrorKind(text)
    except ValueError:
        return ErrorKind.INVALID_ARGUMENT


def _lines(heard: Watched) -> list[str]:
    return heard.words.decode("utf-8", "replace").strip().splitlines()
