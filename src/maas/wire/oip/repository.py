"""What the repository, statistics and configuration calls do, whichever protocol they came in.

REST's handlers and gRPC's services call these and write the answers in their own form.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from maas.access.roles import Action, check_allowed
from maas.core.errors import ErrorKind, MaasError
from maas.core.identity import ModelRef, ServableId, check_name
from maas.core.messages import CallContext, Principal
from maas.core.states import ServableState
from maas.core.statistics import RepositoryEntry, VersionStatistics
from maas.dialects.oip.config import ModelConfig, model_config
from maas.dialects.oip.repository import check_parameters
from maas.serving.messages import Counted, LoadModel, StatisticsOf, UnloadModel
from maas.serving.router import Router
from maas.wire.exchange import Server

ANSWER_S = 5.0
"""How long control may take for what it knows by heart."""
SLACK_S = 1.0
"""How much longer than the caller the connection to control waits, which has the better reason."""
ON_DEMAND = "it is loaded when it is called by its number"


def config_of(server: Server, ref: ModelRef, context: CallContext) -> ModelConfig:
    """The configuration of the version that a reference means now.

    Raises:
        MaasError: the engine's own.
    """
    view = server.engine.resolve(ref, context)
    statuses = server.router.statuses(view.servable.name)
    versions = [status.servable.version for status in reversed(statuses)]
    return model_config(view, versions, server.settings.serving.batch_rows)


async def statistics_of(
    server: Server, ref: ModelRef | None, context: CallContext
) -> tuple[VersionStatistics, ...]:
    """What versions have done since the server started.

    Args:
        server: the data plane.
        ref: a model, for all of its versions, or one version; None for every version there is.
        context: of the call.

    Raises:
        MaasError: the engine's own for a reference that means nothing; UNAVAILABLE where control
            does not answer.
    """
    asked = StatisticsOf()
    if ref is not None:
        server.router.statuses(ref.name)
        named = ref.version is not None or ref.alias is not None
        version = server.engine.resolve(ref, context).servable.version if named else 0
        asked = StatisticsOf(ref.name, version)
    reply = await server.ask(asked, min(ANSWER_S, _left(context)))
    assert isinstance(reply, Counted)
    return reply.versions


def repository_index(router: Router, *, ready: bool = False) -> tuple[RepositoryEntry, ...]:
    """Every version there is, by name and number.

    Args:
        router: what knows the plan.
        ready: only those that answer calls.
    """
    entries = []
    for name, model in sorted(router.plan.models.items()):
        for number, version in sorted(model.versions.items()):
            if ready and version.state is not ServableState.AVAILABLE:
                continue
            reason = version.reason
            if version.state is ServableState.END and not reason:
                reason = ON_DEMAND
            entries.append(RepositoryEntry(ServableId(name, number), version.state, reason))
    return tuple(entries)


async def load_model(
    server: Server, name: str, context: CallContext, parameters: Iterable[str] = ()
) -> None:
    """Loads a model's default version, where it is not loaded, and waits until it answers calls.

    Args:
        server: the data plane.
        name: the model's.
        context: of the call; its key must be one that may publish.
        parameters: names of the parameters that came with the request.

    Raises:
        MaasError: UNAUTHENTICATED, PERMISSION_DENIED, NOT_FOUND; UNIMPLEMENTED for parameters that
            would change the model; why it does not load; DEADLINE_EXCEEDED.
    """
    check_manager(context.principal)
    check_parameters(parameters)
    left = _left(context)
    await server.ask(LoadModel(check_name(name), left), left + SLACK_S)


async def unload_model(
    server: Server, name: str, context: CallContext, parameters: Iterable[str] = ()
) -> None:
    """Takes a model off the memory and waits until it is gone; it stays published.

    Args:
        server: the data plane.
        name: the model's.
        context: of the call; its key must be one that may publish.
        parameters: names of the parameters that came with the request.

    Raises:
        MaasError: UNAUTHENTICATED, PERMISSION_DENIED, NOT_FOUND, DEADLINE_EXCEEDED.
    """
    check_manager(context.principal)
    check_parameters(parameters)
    left = _left(context)
    await server.ask(UnloadModel(check_name(name), left), left + SLACK_S)


def check_manager(principal: Principal) -> None:
    """Lets through who may change what is loaded: never a caller without a key.

    Raises:
        MaasError: UNAUTHENTICATED, PERMISSION_DENIED.
    """
    if not principal.key_id:
        raise MaasError(
            ErrorKind.UNAUTHENTICATED,
            "loading and unloading needs a key that may publish, also where predictions need "
            "none; send it as 'Authorization: Bearer KEY'",
        )
    check_allowed(principal, Action.PUBLISH)


def _left(context: CallContext) -> float:
    return max(context.deadline - time.monotonic(), 0.0)
