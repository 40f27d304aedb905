"""What control answers to an ingress that asks on behalf of a caller of the data plane."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, Iterable

from maas.admin.deployments import Deployments
from maas.admin.pointing import point
from maas.admin.repository import load_model, unload_model
from maas.core.errors import ErrorKind, MaasError
from maas.core.identity import ServableId
from maas.core.statistics import VersionStatistics
from maas.registry import Registry
from maas.serving.messages import (
    Counted,
    Done,
    LoadModel,
    PointModel,
    Question,
    Refused,
    Reply,
    StatisticsOf,
)

log = logging.getLogger("maas.admin")

RECOUNT_S = 0.25
"""How long hosts may take to say what they have counted, for statistics that are up to date."""


class Answers:
    """Answers questions. Whether their caller may ask has been decided where the call came in.

    Args:
        registry: what exists.
        deployments: what is loaded.
        versions: every version there is, as the manager knows them at any time.
        recount: has the hosts say what they have counted, waiting so many seconds at most.
        statistics: what versions have done.
    """

    def __init__(
        self,
        registry: Registry,
        deployments: Deployments,
        versions: Collection[ServableId],
        recount: Callable[[float], Awaitable[None]],
        statistics: Callable[[Iterable[ServableId]], tuple[VersionStatistics, ...]],
    ):
        self._registry = registry
        self._deployments = deployments
        self._versions = versions
        self._recount = recount
        self._statistics = statistics

    async def __call__(self, question: Question) -> Reply:
        """The answer; what cannot be had is `Refused`, never raised."""
        try:
            return await self._answer(question)
        except MaasError as error:
            return Refused(error.kind, error.message)
        except Exception:
            log.exception("a question of an ingress could not be answered")
            return Refused(
                ErrorKind.INTERNAL, "the control process failed on this request; see its log"
            )

    async def _answer(self, question: Question) -> Reply:
        if isinstance(question, StatisticsOf):
            await self._recount(RECOUNT_S)
            wanted = [
                one
                for one in sorted(self._versions)
                if question.name in ("", one.name) and question.version in (0, one.version)
            ]
            return Counted(self._statistics(wanted))
        name, timeout_s = question.name, question.timeout_s
        if isinstance(question, PointModel):
            version, aliases = question.version, question.aliases
            await point(self._registry, self._deployments, name, version, aliases, timeout_s)
        elif isinstance(question, LoadModel):
            await load_model(self._registry, self._deployments, name, timeout_s)
        else:
            await unload_model(self._registry, self._deployments, name, timeout_s)
        return Done()
