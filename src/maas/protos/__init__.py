"""Messages of the gRPC protocols, compiled from the `.proto` files here by `scripts/protos`.

They live in a descriptor pool of their own: TensorFlow, tritonclient or kserve in the same process
define messages of the same names, and the default pool takes each name once.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

from google.protobuf import (  # type: ignore[import-untyped]
    descriptor_pb2,
    descriptor_pool,
    message_factory,
)
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from maas.core.errors import invalid

DESCRIPTORS = "descriptors.binpb"


@cache
def pool() -> descriptor_pool.DescriptorPool:
    """The private pool, with every file in it, Google's own (Any, wrappers) included."""
    found = descriptor_pool.DescriptorPool()
    for file in file_set().file:
        found.Add(file)
    return found


@cache
def file_set() -> descriptor_pb2.FileDescriptorSet:
    """The files as `protoc` wrote them, each after those that it imports."""
    return descriptor_pb2.FileDescriptorSet.FromString(
        files(__name__).joinpath(DESCRIPTORS).read_bytes()
    )


@cache
def message(name: str) -> Any:
    """The class of a message, by its full name: `inference.ModelInferRequest`.

    Classes are made from descriptors, so no type checker knows their fields.

    Raises:
        KeyError: there is none of that name.
    """
    return message_factory.GetMessageClass(pool().FindMessageTypeByName(name))


def parse(kind: Any, data: bytes | memoryview) -> Any:
    """Reads a message.

    Args:
        kind: its class.
        data: serialised.

    Raises:
        MaasError: INVALID_ARGUMENT where the bytes are no such message.
    """
    try:
        return kind.FromString(data)
    except DecodeError:
        raise invalid(f"the bytes are no {kind.DESCRIPTOR.full_name} message") from None
