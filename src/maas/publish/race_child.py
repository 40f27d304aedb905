"""The process that tries engines on an ONNX form: `python -m maas.publish.race_child`.

    stdin: one frame, the job   →   scan, prove, probe, time   →   stdout: frames

A second child, since the first one may have run the model's own code: this one holds engines only,
in the same sandbox, and cannot write what will be served.
"""

from __future__ import annotations

import os
import sys
from functools import partial

import msgspec

from maas.core.ports import Accelerated
from maas.publish.child import OPEN_FILES, outcome_of
from maas.publish.messages import Bound, RaceJob, write_message
from maas.publish.race import race
from maas.runtimes.plugins import runtime_for
from maas.sandbox import Confinement, confine

GPU_FILES = 1024


def main() -> int:
    """Reads one job, writes what came of it."""
    frames = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    job = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=RaceJob)
    write_message(frames, bind_hands(job))
    write_message(frames, outcome_of(partial(race, job, runtime_for), frames))
    return 0


def bind_hands(job: RaceJob) -> Bound:
    """Puts this process into the sandbox; it reads the two folders and writes neither."""
    read, write = (job.artifact, job.work), (os.environ["TMPDIR"],)
    # A GPU is spoken to through its driver's files, and CUDA opens a good many of them.
    gpu = any(isinstance(runtime_for(engine), Accelerated) for engine in job.engines)
    limits = Confinement(
        read, write, job.cpu_s, job.file_bytes, GPU_FILES if gpu else OPEN_FILES, gpu
    )
    return Bound(confine(limits))


if __name__ == "__main__":
    raise SystemExit(main())
