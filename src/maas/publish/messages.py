"""What the publish pipeline and its child say to each other, as length-prefixed msgpack."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import BinaryIO

import msgspec
from msgspec import Struct

from maas.core.generation import GenerativeSpec
from maas.core.records import EngineTiming, Parity
from maas.core.signature import Signature

Emit = Callable[[str, str, float], None]
"""Hears of progress: stage, message, fraction of the whole job (0 to 1). Stages: detect, scan,
inspect, lower, prove, time, commit."""

MOST_BYTES = 4 << 20
"""Of one frame: small texts take thirty times their bytes when they are read."""
_LENGTH = struct.Struct("<I")


class Job(Struct, frozen=True):
    """What the child is to do. All paths lie in the staging folder.

    Args:
        format: as detected; see `Detected`.
        source: the published file, or the published folder.
        entry: the model's file in the folder; empty for a single file.
        sample: rows given by the publisher, or empty.
        sample_name: what the publisher called that file.
        code: a folder of modules published with `--code`, or empty.
        artifact: the folder to write what will be served into.
        work: a folder for samples and answers, gone when the job ends.
        samples: rows to prove on.
        threads: threads one call will have where it serves.
        trust: whether formats that carry code may be opened.
        engine: the runtime asked for, or empty.
        cpu_s: processor seconds it may use.
        file_bytes: the largest file it may write.
        quantize: as the publisher asked, or empty.
        context_tokens: as the publisher asked, or 0.
    """

    format: str
    source: str
    entry: str
    sample: str
    sample_name: str
    code: str
    artifact: str
    work: str
    samples: int
    threads: int
    trust: bool
    engine: str
    cpu_s: int
    file_bytes: int
    quantize: str = ""
    context_tokens: int = 0


class Progress(Struct, frozen=True, tag="progress"):
    """One call of `Emit`."""

    stage: str
    message: str
    fraction: float


class Bound(Struct, frozen=True, tag="bound"):
    """The child's first word: what binds it, a sentence each."""

    sandbox: tuple[str, ...]


class Finding(Struct, frozen=True, tag="finding"):
    """What was found, chosen and proved; the files to serve are in the artifact folder.

    Args:
        engine: the runtime that will serve it.
        format: of the artifact, one of the runtime's.
        entry: the file in the artifact folder that the runtime opens.
        sandbox: what bound the process that found it, a sentence each.
        generative: what is known of a language model; None for any other.
        linked: files that are served as they were published: their names in the artifact folder,
            where they are yet to be put, and in the published one; empty for a published file.
    """

    engine: str
    format: str
    entry: str
    signatures: dict[str, Signature]
    lowered: bool
    reason: str
    written_with: dict[str, str]
    read_with: dict[str, str]
    parity: Parity | None
    batch_note: str
    timings: tuple[EngineTiming, ...]
    warnings: tuple[str, ...]
    sandbox: tuple[str, ...] = ()
    generative: GenerativeSpec | None = None
    linked: dict[str, str] = {}


class RaceJob(Struct, frozen=True):
    """What the second child is to do: choose among the engines for an ONNX form.

    Args:
        format: as detected; what was published as ONNX is its own reference.
        finding: what the first child says; it may have run hostile code, so it is not believed.
        artifact: the folder of the files to serve.
        work: the folder of the samples and answers.
        engines: runtimes to try, by name.
        engine: the one asked for, or empty.
        threads: threads one call will have where it serves.
        cpu_s: processor seconds it may use.
        file_bytes: the largest file it may write.
    """

    format: str
    finding: Finding
    artifact: str
    work: str
    engines: tuple[str, ...]
    engine: str
    threads: int
    cpu_s: int
    file_bytes: int


class Raced(Struct, frozen=True, tag="raced"):
    """Which engine won, and what was proved with it.

    Args:
        engine: the runtime that will serve.
        signatures: the finding's, batched only where that was proved again.
        reason: the finding's, with why this engine.
        batch_note: as the finding's.
        timings: of every engine that could run the model.
        read_with: versions of the engines.
        sandbox: what bound the process that raced them.
    """

    engine: str
    signatures: dict[str, Signature]
    reason: str
    batch_note: str
    timings: tuple[EngineTiming, ...]
    read_with: dict[str, str]
    sandbox: tuple[str, ...] = ()


class Failure(Struct, frozen=True, tag="failure"):
    """A `MaasError` on its way to the parent."""

    kind: str
    message: str


Message = Bound | Progress | Finding | Raced | Failure


def write_message(stream: BinaryIO, message: Message) -> None:
    """Writes one frame."""
    body = msgspec.msgpack.encode(message)
    stream.write(_LENGTH.pack(len(body)) + body)
    stream.flush()


def split_frames(buffer: bytearray) -> list[Message]:
    """Takes the complete frames off the front of a buffer.

    Raises:
        ValueError: for a frame over `MOST_BYTES` or one that is no `Message`.
    """
    messages: list[Message] = []
    while len(buffer) >= _LENGTH.size:
        (length,) = _LENGTH.unpack_from(buffer)
        if length > MOST_BYTES:
            raise ValueError("a frame is too long")
        end = _LENGTH.size + length
        if len(buffer) < end:
            break
        messages.append(msgspec.msgpack.decode(bytes(buffer[_LENGTH.size : end]), type=Message))
        del buffer[:end]
    return messages
