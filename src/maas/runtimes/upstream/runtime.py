"""The runtime `upstream`: a version is a URL, and loading it opens no more than a client."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Literal, Protocol

from maas.core.errors import ErrorKind, MaasError
from maas.core.ports import Artifact, Device, Resources
from maas.core.signature import Signature
from maas.core.tensor import Tensors
from maas.core.upstreams import UpstreamTarget
from maas.runtimes.upstream.document import Document, read_document
from maas.runtimes.upstream.network import Network, Resolve, resolve_host
from maas.runtimes.upstream.servable import UpstreamServable
from maas.settings import UpstreamSettings

MIB = 1 << 20
FORMAT = "upstream"


class Upstream(Protocol):
    """One model of another server, in that server's protocol."""

    def describe(self) -> Document:
        """What the server says of its model.

        Raises:
            MaasError: the server's own, or INVALID_ARGUMENT for a model that is not served here.
        """
        ...

    def infer(self, signature: Signature, inputs: Tensors) -> Tensors:
        """One call.

        Raises:
            MaasError: the server's own, as ours.
        """
        ...

    def close(self) -> None:
        """Closes the connections."""
        ...


class UpstreamRuntime:
    """Serves `upstream` artifacts; they are URLs, so many share one host.

    Args:
        settings: what may be called, with which keys, for how long.
        environ: holds the keys that the settings name.
        resolve: gives a host's addresses.
    """

    name = "upstream"
    platform = "upstream"
    formats = frozenset({FORMAT})
    host: Literal["shared", "dedicated"] = "shared"
    confined = False

    def __init__(
        self,
        settings: UpstreamSettings = UpstreamSettings(),  # noqa: B008 - frozen
        environ: Mapping[str, str] = os.environ,
        resolve: Resolve = resolve_host,
    ):
        self._settings = settings
        self._environ = environ
        self._network = Network(settings.networks, resolve)

    def estimate(self, artifact: Artifact) -> Resources:
        """48 MiB: the libraries of both transports, and their connections."""
        return Resources(memory_bytes=48 * MIB)

    def load(self, artifact: Artifact, device: Device) -> UpstreamServable:
        """Makes the client; nothing is connected to before the first call.

        Raises:
            MaasError: FAILED_PRECONDITION where the file, a library or a key is missing.
        """
        try:
            document = read_document(artifact.file)
            upstream = self.open(document)
        except (OSError, MaasError) as error:
            reason = error.message if isinstance(error, MaasError) else "its file cannot be read"
            raise MaasError(ErrorKind.FAILED_PRECONDITION, reason) from error
        return UpstreamServable(
            upstream,
            artifact.signatures,
            document.rows,
            self._settings.calls,
            url=document.upstream,
        )

    def open(self, document: Document) -> Upstream:
        """Makes a client of the document's server.

        Raises:
            MaasError: INVALID_ARGUMENT for a URL that cannot be read, FAILED_PRECONDITION.
        """
        target = document.target
        key = self._key(target)
        if target.grpc:
            from maas.runtimes.upstream.oip_grpc import OipGrpc
            from maas.runtimes.upstream.rpc import Rpc
            from maas.runtimes.upstream.tf_grpc import TfGrpc

            rpc = Rpc(target, self._settings, self._network, key)
            return (OipGrpc if target.protocol == "oip" else TfGrpc)(rpc, document)
        from maas.runtimes.upstream.oip_rest import OipRest
        from maas.runtimes.upstream.rest import Rest
        from maas.runtimes.upstream.tf_rest import TfRest

        rest = Rest(target, self._settings, self._network, key)
        return (OipRest if target.protocol == "oip" else TfRest)(rest, document)

    def _key(self, target: UpstreamTarget) -> str:
        """The key for that server and no other, or empty.

        Raises:
            MaasError: FAILED_PRECONDITION for a variable that holds none.
        """
        for entry in self._settings.keys:
            origin, _, variable = entry.partition("=")
            if origin.lower() != target.origin:
                continue
            key = self._environ.get(variable, "").strip()
            if not key or not key.isascii() or not key.isprintable():
                raise MaasError(
                    ErrorKind.FAILED_PRECONDITION,
                    "the setting upstream.keys names a variable for this upstream that holds no "
                    "key; set it in the server's environment",
                )
            return key
        return ""
