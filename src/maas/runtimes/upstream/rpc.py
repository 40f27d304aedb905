"""gRPC to another server: one checked address, a deadline for each call, bounded answers.

The name is resolved and checked here, and the channel is made to the address itself, with the
name's certificate asked for: gRPC resolves nothing. A channel that fails is thrown away, so that
the next call looks again.
"""

from __future__ import annotations

import ipaddress
import os
import threading
from pathlib import Path
from typing import Any

from maas.core.errors import ErrorKind, MaasError
from maas.core.upstreams import UpstreamTarget
from maas.runtimes.upstream.errors import from_code, nonsense, silent
from maas.runtimes.upstream.network import Network
from maas.settings import UpstreamSettings

NOT_CONNECTED = ("failed to connect", "connections to all", "socket closed", "connection re")
"""How grpcio's own words for a broken connection begin; they hold addresses."""


class Rpc:
    """A channel to one server.

    Args:
        target: whose host is called.
        settings: times and sizes.
        network: what may be connected to.
        key: sent as a bearer token; empty for none.

    Raises:
        MaasError: FAILED_PRECONDITION where grpcio is not installed.
    """

    def __init__(
        self,
        target: UpstreamTarget,
        settings: UpstreamSettings,
        network: Network,
        key: str = "",
    ):
        try:
            import grpc
        except ImportError as error:
            raise MaasError(
                ErrorKind.FAILED_PRECONDITION,
                "gRPC upstreams need grpcio, which is not installed here; install "
                "maas-server[grpc], or publish the upstream's REST port",
            ) from error
        self._grpc: Any = grpc
        self._target = target
        self._settings = settings
        self._network = network
        self._metadata = (("authorization", f"Bearer {key}"),) if key else ()
        self._lock = threading.Lock()
        self._channel: Any = None

    def call(self, method: str, request: bytes) -> bytes:
        """One unary call.

        Args:
            method: its full name, `/package.Service/Method`.
            request: the message's bytes.

        Returns:
            The answer's bytes.

        Raises:
            MaasError: UNAVAILABLE, DEADLINE_EXCEEDED; an `UpstreamError` for what the server says.
        """
        channel = self._connected()
        try:
            answer: bytes = channel.unary_unary(method)(
                request, timeout=self._settings.call_s, metadata=self._metadata
            )
        except self._grpc.RpcError as error:
            raise self._error(channel, error) from error
        return answer

    def close(self) -> None:
        """Closes the channel."""
        with self._lock:
            channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()

    def _connected(self) -> Any:
        with self._lock:
            if self._channel is None:
                self._channel = self._open()
            return self._channel

    def _open(self) -> Any:
        target = self._target
        addresses = [
            ipaddress.ip_address(text.partition("%")[0])
            for text in self._network.addresses(target.host, target.port)
        ]
        # One target holds addresses of one family.
        same = [each for each in addresses if each.version == addresses[0].version]
        if addresses[0].version == 4:
            where = "ipv4:" + ",".join(f"{each}:{target.port}" for each in same)
        else:
            where = "ipv6:" + ",".join(f"[{each}]:{target.port}" for each in same)
        options = [
            ("grpc.default_authority", target.authority),
            ("grpc.max_receive_message_length", self._settings.answer_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.enable_http_proxy", 0),
            ("grpc.enable_retries", 0),
            ("grpc.service_config_disable_resolution", 1),
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.min_reconnect_backoff_ms", 200),
            ("grpc.initial_reconnect_backoff_ms", 200),
            ("grpc.max_reconnect_backoff_ms", 2000),
        ]
        if not target.tls:
            return self._grpc.insecure_channel(where, options)
        options.append(("grpc.ssl_target_name_override", target.host))
        roots = os.environ.get("SSL_CERT_FILE")
        trusted = Path(roots).read_bytes() if roots else None
        return self._grpc.secure_channel(
            where, self._grpc.ssl_channel_credentials(trusted), options
        )

    def _error(self, channel: Any, error: Any) -> MaasError:
        code, words = error.code().name, error.details() or ""
        if code == "UNAVAILABLE":
            with self._lock:
                # Calls under way keep theirs; the next one looks the name up again.
                if self._channel is channel:
                    self._channel = None
            if words.lower().startswith(NOT_CONNECTED):
                return silent("it cannot be connected to")
        if code == "DEADLINE_EXCEEDED" and words == "Deadline Exceeded":
            return MaasError(
                ErrorKind.DEADLINE_EXCEEDED,
                f"the upstream did not answer within {self._settings.call_s:g} s "
                "(setting upstream.call_s)",
            )
        if code == "RESOURCE_EXHAUSTED" and "larger than max" in words:
            return nonsense(
                f"it is longer than {self._settings.answer_bytes} bytes (setting "
                "upstream.answer_bytes)"
            )
        return from_code(code, words)
