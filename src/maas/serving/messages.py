"""What control and the other processes tell each other, over the control socket.

Each message is a u32 length (little-endian) and a msgpack struct tagged with its name. Every
ingress and host keeps one connection to control and connects again when it is lost.
"""

from __future__ import annotations

import struct

import msgspec
from msgspec import Struct

from maas.core.errors import ErrorKind
from maas.core.statistics import VersionStatistics
from maas.telemetry.series import Series

LENGTH = struct.Struct("<I")
MAX_MESSAGE = 16 << 20


class Hello(Struct, frozen=True, tag="hello"):
    """First word of a process: who it is, and which incarnation of a host."""

    kind: str
    id: str
    pid: int
    incarnation: int = 0


class Ack(Struct, frozen=True, tag="ack"):
    """It holds this plan and these keys now."""

    epoch: str
    number: int
    keys: int


class Ready(Struct, frozen=True, tag="ready"):
    """A version is loaded, warmed up and has answered its proving sample."""

    name: str
    version: int
    memory_bytes: int
    load_s: float


class Failed(Struct, frozen=True, tag="failed"):
    """A version could not be loaded."""

    name: str
    version: int
    kind: ErrorKind
    reason: str


class Unloaded(Struct, frozen=True, tag="unloaded"):
    """A version is gone from its host."""

    name: str
    version: int


class Want(Struct, frozen=True, tag="want"):
    """A caller asks for a version that is not loaded."""

    name: str
    version: int


class Lost(Struct, frozen=True, tag="lost"):
    """A host's connection broke while these versions had calls in flight."""

    host: str
    incarnation: int
    in_flight: tuple[tuple[str, int], ...]


class Overdue(Struct, frozen=True, tag="overdue"):
    """A call of that version is a grace past its deadline and its host has not answered."""

    host: str
    incarnation: int
    name: str
    version: int


class Ending(Struct, frozen=True, tag="ending"):
    """A host is about to end because its model's own process has; the reason says how."""

    incarnation: int
    reason: str


class Stats(Struct, frozen=True, tag="stats"):
    """Everything a process has counted, cumulative."""

    series: tuple[Series, ...]


class Changed(Struct, frozen=True, tag="changed"):
    """Control to all: these are the newest plan and keys; read them and acknowledge."""

    epoch: str
    number: int
    keys: int


class StatisticsOf(Struct, frozen=True, tag="statistics"):
    """What versions have done: of one model, of one version, or of everything.

    Args:
        name: the model's; empty for all.
        version: its number; 0 for all.
    """

    name: str = ""
    version: int = 0


class LoadModel(Struct, frozen=True, tag="load"):
    """Undo an unloading, and wait until the model serves.

    Args:
        name: the model's.
        timeout_s: how long to wait.
    """

    name: str
    timeout_s: float


class UnloadModel(Struct, frozen=True, tag="unload"):
    """Take a model off the memory, keep it published, and wait until it is gone.

    Args:
        name: the model's.
        timeout_s: how long to wait.
    """

    name: str
    timeout_s: float


class PointModel(Struct, frozen=True, tag="point"):
    """Load a model, with a version as its default and with these aliases and no others.

    Args:
        name: the model's.
        version: for unversioned calls.
        aliases: alias → version.
        timeout_s: how long to wait.
    """

    name: str
    version: int
    aliases: dict[str, int]
    timeout_s: float


Question = StatisticsOf | LoadModel | UnloadModel | PointModel


class Ask(Struct, frozen=True, tag="ask"):
    """An ingress asks control, which answers with Told of the same number."""

    id: int
    question: Question


class Counted(Struct, frozen=True, tag="counted"):
    """The answer to StatisticsOf."""

    versions: tuple[VersionStatistics, ...]


class Done(Struct, frozen=True, tag="done"):
    """What was asked for has been done."""


class Refused(Struct, frozen=True, tag="refused"):
    """What was asked for cannot be had, as a `MaasError` says it."""

    kind: ErrorKind
    message: str


Reply = Counted | Done | Refused


class Recount(Struct, frozen=True, tag="recount"):
    """Control to a host: say Stats now."""


class Told(Struct, frozen=True, tag="told"):
    """Control's answer to Ask."""

    id: int
    reply: Reply


FromProcess = Hello | Ack | Ready | Failed | Unloaded | Want | Lost | Overdue | Ending | Stats | Ask
FromControl = Changed | Told | Recount

_encoder = msgspec.msgpack.Encoder()
_from_process = msgspec.msgpack.Decoder(FromProcess)
_from_control = msgspec.msgpack.Decoder(FromControl)


def encode(message: FromProcess | FromControl) -> bytes:
    """A message with its length before it."""
    data = _encoder.encode(message)
    return LENGTH.pack(len(data)) + data


def decode_from_process(data: bytes) -> FromProcess:
    """Reads what an ingress or a host said.

    Raises:
        ValueError: it is no message.
    """
    try:
        message: FromProcess = _from_process.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"not a message: {error}") from None
    return message


def decode_from_control(data: bytes) -> FromControl:
    """Reads what control said.

    Raises:
        ValueError: it is no message.
    """
    try:
        message: FromControl = _from_control.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"not a message: {error}") from None
    return message
