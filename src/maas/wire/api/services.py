"""What the routes of the control API need, as the composition root hands it over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from litestar.di import NamedDependency
from litestar.params import SkipValidation

from maas.access import Authenticator
from maas.admin.deployments import Deployments
from maas.admin.jobs import Jobs
from maas.core.records import ImportRecord
from maas.registry import Registry
from maas.settings import LimitSettings


@dataclass(frozen=True, slots=True)
class ApiServices:
    """The parts behind the routes.

    Args:
        registry: what exists.
        deployments: what is loaded.
        jobs: publish jobs.
        authenticator: of the control plane; it requires a key.
        limits: of uploads.
        imports: what was found in a folder that is watched, if one is.
        load_s: how long a version may take to be loaded when something waits for it.
        unload_s: how long a deletion waits for calls in flight before it leaves files behind.
        heartbeat_s: silence on an event stream after which a comment is sent.
    """

    registry: Registry
    deployments: Deployments
    jobs: Jobs
    authenticator: Authenticator
    limits: LimitSettings
    imports: Callable[[], tuple[ImportRecord, ...]] = tuple
    load_s: float = 300.0
    unload_s: float = 60.0
    heartbeat_s: float = 10.0


Services = NamedDependency[SkipValidation[ApiServices]]
"""How a handler asks for them: `services: Services`."""
