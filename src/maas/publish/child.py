"""The process that opens what was published: `python -m maas.publish.child`.

    stdin: one frame, the job   →   scan, inspect, lower, prove, time   →   stdout: frames

It enters the sandbox before it opens anything of the model. The parent (`child_process`) gave it a
session, an environment and a folder of its own, and watches its memory and its clock. What the
model's libraries print goes to stderr.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import BinaryIO, TypeVar

import msgspec

from maas.core.errors import ErrorKind, MaasError
from maas.publish.engines import GGUF, LANGUAGE
from maas.publish.messages import (
    Bound,
    Emit,
    Failure,
    Finding,
    Job,
    Progress,
    write_message,
)
from maas.runtimes.wording import one_sentence
from maas.sandbox import Confinement, confine, denial

OPEN_FILES = 256
Outcome = TypeVar("Outcome")
Examine = Callable[[Job, Emit], Finding]
EXAMINERS: Mapping[str, str] = MappingProxyType(
    {
        "gguf": "maas.publish.gguf_examine:examine_gguf",
        "huggingface": "maas.publish.hf_examine:examine_huggingface",
        "keras": "maas.publish.keras_examine:examine_keras",
        "keras-h5": "maas.publish.keras_examine:examine_keras",
        "lightgbm": "maas.publish.boosters_examine:examine_lightgbm",
        "mlflow": "maas.publish.mlflow_examine:examine_mlflow",
        "onnx": "maas.publish.onnx_examine:examine_onnx",
        "openvino-ir-llm": "maas.publish.ir_examine:examine_ir",
        "pickle": "maas.publish.pickle_examine:examine_pickle",
        "pt2": "maas.publish.torch_examine:examine_pt2",
        "python": "maas.publish.python_examine:examine_python",
        "savedmodel": "maas.publish.savedmodel_examine:examine_savedmodel",
        "skops": "maas.publish.sklearn_examine:examine_skops",
        "torchscript": "maas.publish.torch_examine:examine_torchscript",
        "triton": "maas.publish.triton_examine:examine_triton",
        "xgboost": "maas.publish.boosters_examine:examine_xgboost",
    }
)
"""What examines each format of `Detected`, as `module:function`; imported when its turn comes."""


def main() -> int:
    """Reads one job, writes what came of it."""
    frames = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    job = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Job)
    write_message(frames, bind_hands(job))
    write_message(frames, outcome_of(partial(examine, job), frames))
    return 0


def examine(job: Job, emit: Emit) -> Finding:
    """Takes a detected model to what will be served.

    Raises:
        MaasError: one sentence that says what is wrong with it.
    """
    module, function = EXAMINERS[job.format].split(":")
    work: Examine = getattr(importlib.import_module(module), function)
    return work(job, emit)


def outcome_of(work: Callable[[Emit], Outcome], frames: BinaryIO) -> Outcome | Failure:
    """Does the work of a child; progress is written as it is made.

    Args:
        work: what to do.
        frames: where progress goes.

    Returns:
        What came of it, or why nothing did, in one sentence.
    """

    def emit(stage: str, message: str, fraction: float) -> None:
        write_message(frames, Progress(stage, message, fraction))

    try:
        return work(emit)
    except MaasError as error:
        return Failure(error.kind, error.message)
    except MemoryError:
        return Failure(ErrorKind.RESOURCE_EXHAUSTED, "memory ran out while the model was examined")
    except RecursionError:
        return Failure(ErrorKind.INVALID_ARGUMENT, "the model is nested too deeply to be opened")
    except OSError as error:
        sys.excepthook(type(error), error, error.__traceback__)
        refused = denial(error)
        if refused:
            return Failure(
                ErrorKind.INVALID_ARGUMENT,
                f"examining the model failed ({error.strerror}): {refused}",
            )
        return Failure(
            ErrorKind.RESOURCE_EXHAUSTED,
            f"a file could not be written while the model was examined ({error.strerror})",
        )
    except Exception as error:  # noqa: BLE001  (its trace goes to stderr, which the parent logs)
        sys.excepthook(type(error), error, error.__traceback__)
        return Failure(
            ErrorKind.INTERNAL, f"examining the model failed: {one_sentence(error, 160)}"
        )


def bind_hands(job: Job) -> Bound:
    """Puts this process into the sandbox, before anything of the model is read.

    It may read what was published and write its artifact, its work folder and its own temporary
    one. Memory, threads and the clock are the parent's to watch; it kills the whole process group.

    Returns:
        What binds it, to be sent before anything else: later words may be the model's.
    """
    given = (job.source, job.code, job.sample)
    own = (job.artifact, job.work, os.environ["TMPDIR"])
    # OpenVINO opens a GGUF for writing, too; the parent sees to it that nothing is written.
    opened = (job.source,) if job.format == GGUF else ()
    return Bound(
        confine(
            Confinement(
                tuple(path for path in given if path),
                (*own, *opened),
                job.cpu_s,
                job.file_bytes,
                OPEN_FILES,
                listens=job.format in LANGUAGE,  # llama.cpp insists on it
            )
        )
    )


if __name__ == "__main__":
    raise SystemExit(main())
