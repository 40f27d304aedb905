"""Every service's methods, joined."""

from __future__ import annotations

from maas.wire.grpc import oip, reflection, tfserving
from maas.wire.grpc.health import Health
from maas.wire.grpc.rpc import Rpcs

HEALTH = "grpc.health.v1.Health"


def rpcs() -> Rpcs:
    """The methods by path; one table for each ingress, since ModelInfer remembers."""
    services = (
        oip.SERVICE,
        tfserving.PREDICTION,
        tfserving.MODEL,
        HEALTH,
        *(reflection.service_name(version) for version in reflection.VERSIONS),
    )
    return {
        **oip.rpcs(),
        **tfserving.rpcs(),
        **Health(services).rpcs(),
        **reflection.rpcs(services),
    }
