"""The process that opens what was published: `python -m maas.publish.child`.

    stdin: one frame, the job   →   scan, inspect, lower, prove, time   →   stdout: frames

It binds its own hands before it reads the job: no new privileges, no core, bounded processor time
and file sizes. The parent (`child_process`) gave it a session, an environment and a folder of its
own, and watches its memory and its clock. What the model's libraries print goes to stderr.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from typing import BinaryIO

import msgspec

from maas.core.errors import ErrorKind, MaasError
from maas.publish.messages import (
    Emit,
    Failure,
    Finding,
    Job,
    Progress,
    write_message,
)
from maas.runtimes.wording import one_sentence

PR_SET_PDEATHSIG = 1
PR_SET_NO_NEW_PRIVS = 38
OPEN_FILES = 256


def main() -> int:
    """Reads one job, writes what came of it."""
    frames = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    job = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Job)
    bind_hands(job)
    write_message(frames, _outcome(job, frames))
    return 0


def examine(job: Job, emit: Emit) -> Finding:
    """Takes a detected model to what will be served.

    Raises:
        MaasError: one sentence that says what is wrong with it.
    """
    if job.format == "onnx":
        from maas.publish.onnx_examine import examine_onnx

        return examine_onnx(job, emit)
    from maas.publish.sklearn_examine import examine_skops
    from maas.runtimes.skops_types import require_sklearn

    require_sklearn()
    return examine_skops(job, emit)


def _outcome(job: Job, frames: BinaryIO) -> Finding | Failure:
    def emit(stage: str, message: str, fraction: float) -> None:
        write_message(frames, Progress(stage, message, fraction))

    try:
        return examine(job, emit)
    except MaasError as error:
        return Failure(error.kind, error.message)
    except MemoryError:
        return Failure(ErrorKind.RESOURCE_EXHAUSTED, "memory ran out while the model was examined")
    except RecursionError:
        return Failure(ErrorKind.INVALID_ARGUMENT, "the model is nested too deeply to be opened")
    except OSError as error:
        return Failure(
            ErrorKind.RESOURCE_EXHAUSTED,
            f"a file could not be written while the model was examined ({error.strerror})",
        )
    except Exception as error:  # noqa: BLE001  (its trace goes to stderr, which the parent logs)
        sys.excepthook(type(error), error, error.__traceback__)
        return Failure(
            ErrorKind.INTERNAL, f"examining the model failed: {one_sentence(error, 160)}"
        )


def bind_hands(job: Job) -> None:
    """Takes away what reading a model does not need. Linux; elsewhere only the limits.

    RLIMIT_NPROC is left alone: it counts all of the user's processes and threads, so a number
    that stops a fork bomb would also stop a server on a busy account. The parent kills the whole
    process group, and the kernel kills this process when the parent's thread ends.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (job.cpu_s, job.cpu_s + 5))
    resource.setrlimit(resource.RLIMIT_FSIZE, (job.file_bytes, job.file_bytes))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    files = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write beyond the limit is an OSError
    if sys.platform == "linux":
        prctl = ctypes.CDLL(None, use_errno=True).prctl
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


if __name__ == "__main__":
    raise SystemExit(main())
