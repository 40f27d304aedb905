"""The plugin interface: what a runtime, an engine and a fleet are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Protocol

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
    """A loaded version. Synchronous: the host owns the thread, and calls it from one at a time."""

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
