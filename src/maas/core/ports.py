"""The plugin interface: what a runtime, an engine and a fleet are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

from msgspec import Struct

from maas.core.identity import ModelRef
from maas.core.messages import CallContext, InferCall, InferReply, ModelView
from maas.core.signature import Signature
from maas.core.tensor import Tensors


class Artifact(Struct, frozen=True):
    """A published version's files, read-only.

    Args:
        path: the folder that holds them.
        entry: the file within it that the runtime opens.
        format: one of the runtime's `formats`.
        signatures: what publishing found and proved.
    """

    path: str
    entry: str
    format: str
    signatures: dict[str, Signature]

    @property
    def file(self) -> Path:
        """The entry file."""
        return Path(self.path) / self.entry


class Resources(Struct, frozen=True):
    """What loading may take, an upper bound. `memory_bytes` is resident memory."""

    memory_bytes: int


class Device(Struct, frozen=True):
    """Where to load: `cpu`, and how many threads one call may use."""

    kind: str = "cpu"
    threads: int = 1


class Servable(Protocol):
    """A loaded version. Synchronous: the host owns the thread, and calls it from one at a time.

    One that waits for something else than this machine's processor may have an attribute
    `concurrency`: it is called from so many threads at once. One whose work another server does has
    `remote`, which is true: it is loaded without being called, since that server may be away.
    """

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """Its signatures by name."""
        ...

    def infer(self, signature: str, inputs: Tensors) -> Tensors:
        """Runs one call (or one batch of a batched signature).

        Raises:
            MaasError: INVALID_ARGUMENT where the model itself refuses the values.
        """
        ...

    def close(self) -> None:
        """Gives memory and threads back; called once."""
        ...


class Runtime(Protocol):
    """One framework. Its module imports the framework inside `load`, never at its own import.

    Attributes:
        confined: whether what it loads can carry code, so that it serves in the sandbox for life.
    """

    name: str
    platform: str
    formats: frozenset[str]
    host: Literal["shared", "dedicated"]
    confined: bool

    def estimate(self, artifact: Artifact) -> Resources:
        """An upper bound of what `load` will hold."""
        ...

    def load(self, artifact: Artifact, device: Device) -> Servable:
        """Loads a version.

        Raises:
            MaasError: FAILED_PRECONDITION with the reason, where it cannot be loaded.
        """
        ...


@runtime_checkable
class Accelerated(Protocol):
    """What a runtime has besides that needs more than its package: a device and its driver.

    Attributes:
        device: what it computes on, such as `cuda`. Its memory is not measured.
    """

    device: str

    def lacking(self) -> str:
        """What is not there, and how to get it; empty where it can serve.

        Asked wherever engines are chosen among, so it opens nothing.
        """
        ...


class Engine(Protocol):
    """What answers calls. Gate and Meter wrap one and are one."""

    def resolve(self, ref: ModelRef, context: CallContext) -> ModelView:
        """Says which version a reference means now.

        Raises:
            MaasError: NOT_FOUND for an unknown model, version or alias, PERMISSION_DENIED,
                UNAVAILABLE where no version serves.
        """
        ...

    async def infer(self, call: InferCall) -> InferReply:
        """Answers one prediction.

        Raises:
            MaasError: DEADLINE_EXCEEDED, UNAVAILABLE, RESOURCE_EXHAUSTED, or the model's own.
        """
        ...
