"""Every service's methods, joined."""

from __future__ import annotations

from maas.wire.grpc import oip
from maas.wire.grpc.rpc import Rpcs


def rpcs() -> Rpcs:
    """The methods by path; one table for each ingress, since ModelInfer remembers."""
    return {**oip.rpcs()}
